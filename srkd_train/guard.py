# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Steps whose loss or gradient is no number, or that have nothing to learn from: nothing of them stays."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srkd_ros.errors import SrkdError
from srkd_train.sharding import own_part

PATIENCE = 20  # such steps in a row before the run stops
UNSTABLE = (
    "begin again in another output with a lower optimizer.lr, or trainer.precision 32 (--init STUDENT keeps what an "
    "earlier run has learned)"
)
SPARSE = "see what the scans hold, and whether preprocessing.min_range, max_range and augment.sector leave enough of it"

WITHOUT_LABELS = (
    "leave out what has no labels (data.train), see whether data.labels is the label set of these scans, or distil "
    "from a teacher"
)


class StepGuard:
    """Remembers what a forward pass changes of a network, to put it back; counts the steps that were refused."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._kept: list[Tensor] = []
        self.in_a_row = 0
        self.skipped = 0

    @torch.no_grad()
    def begin(self) -> None:
        """Keep the running statistics of batch norms as they are before a batch."""
        buffers = list(self._model.buffers())
        if [b.shape for b in buffers] != [k.shape for k in self._kept]:
            self._kept = [torch.empty_like(b) for b in buffers]
        for kept, buffer in zip(self._kept, buffers, strict=True):
            kept.copy_(buffer)

    @torch.no_grad()
    def refuse(self, reason: str, patience: int, advice: str = UNSTABLE) -> str:
        """Undo the batch and return the line that says so; SrkdError after `patience` such steps in a row."""
        for kept, buffer in zip(self._kept, self._model.buffers(), strict=True):
            buffer.copy_(kept)
        self.in_a_row += 1
        self.skipped += 1
        if self.in_a_row >= patience:
            raise SrkdError(f"{reason}, {self.in_a_row} times in a row; {advice}")
        return f"{reason}: skipped"

    def passed(self) -> None:
        self.in_a_row = 0


def is_finite(tensors: list[Tensor]) -> bool:
    """Whether all of them, this process's parts of sharded ones, are numbers throughout. Waits for the device once."""
    numbers = [own_part(t.detach()) for t in tensors if t.is_floating_point()]
    return bool(torch.nn.utils.get_total_norm(numbers).isfinite())
