# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The order of scans in training, a function of (seed, batch number) alone: a run resumes at any batch exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

Key = tuple[int, int, int]
"""Seed, epoch, and index of a scan in its source."""


class RunSampler(Sampler):
    """All batches of a run in one sequence: batch number k holds the same scans however often the run was interrupted.

    Epoch e is a permutation drawn from (seed, e); rank r of R takes places r, r + R, ... of each global batch of
    R * batch_size scans, so that R processes see what one process with R times the batch size sees. An epoch's last
    batch is filled from the epoch's beginning.
    """

    def __init__(self, scans: int, batch_size: int, batches: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self.scans, self.batch_size, self.batches = scans, batch_size, batches
        self.seed, self.rank, self.ranks = seed, rank, ranks
        self.start = 0  # batches already done; set when a run is resumed

    @property
    def batches_per_epoch(self) -> int:
        return -(-self.scans // (self.batch_size * self.ranks))

    def __len__(self) -> int:
        return self.batches

    def epoch(self, batches_done: int) -> float:
        """Passes over the data after so many batches."""
        return batches_done / self.batches_per_epoch

    def batch(self, number: int) -> list[Key]:
        """Keys of this rank's scans in batch `number`."""
        epoch, place = divmod(number, self.batches_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.scans)
        size = self.batch_size * self.ranks
        rows = np.arange(place * size, (place + 1) * size)[self.rank :: self.ranks] % self.scans
        return [(self.seed, epoch, int(order[r])) for r in rows]

    def __iter__(self) -> Iterator[list[Key]]:
        for number in range(self.start, self.batches):
            yield self.batch(number)
