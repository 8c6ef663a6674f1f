# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Datasets made of datasets: several as one, and one without its unreadable scans."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from srkd_ros.errors import ConfigError, DataError
from srkd_train.datasets import Scan, ScanDataset


class Concat:
    """Several datasets with the same classes, one after the other; intensities are scaled to 0..1 on the way.

    Unlabelled ones (bags) may be among them: their scans keep labels of None.
    """

    def __init__(self, datasets: Sequence[ScanDataset]) -> None:
        """ConfigError if there is none, or their classes differ."""
        if not datasets:
            raise ConfigError("no datasets to put together")
        self.datasets = list(datasets)
        self.labels = datasets[0].labels
        self.intensity_scale = 1.0
        for other in datasets[1:]:
            if other.labels.names != self.labels.names:
                raise ConfigError(
                    f"label sets {self.labels.name!r} and {other.labels.name!r} differ in their classes: give both the "
                    f"same labels"
                )
        self._ends = list(accumulate(len(d) for d in datasets))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Scan:
        index = range(len(self))[index]
        place = bisect_right(self._ends, index)
        dataset = self.datasets[place]
        scan = dataset[index - (self._ends[place - 1] if place else 0)]
        if scan.intensity is None or dataset.intensity_scale == 1.0:
            return scan
        scale = dataset.intensity_scale or guess_intensity_scale(scan)
        return replace(scan, intensity=scan.intensity / np.float32(scale))


class SkipBad:
    """A dataset whose unreadable scans are replaced by the next readable ones, named in `bad` and so counted."""

    def __init__(self, dataset: ScanDataset) -> None:
        self.dataset = dataset
        self.labels = dataset.labels
        self.intensity_scale = dataset.intensity_scale
        self.bad: dict[int, str] = {}  # index to what was wrong with it, of this process

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Scan:
        """DataError only if no scan at all can be read."""
        index = range(len(self))[index]
        for step in range(len(self)):
            place = (index + step) % len(self)
            if place in self.bad:
                continue
            try:
                return self.dataset[place]
            except DataError as error:
                self.bad[place] = str(error)
        raise DataError(f"not one of {len(self)} scans can be read; the first: {next(iter(self.bad.values()))}")


def guess_intensity_scale(scan: Scan) -> float:
    """1, 255 or 65535: the smallest that nearly all intensities of a scan stay below. For drivers unknown."""
    if scan.intensity is None or len(scan.intensity) == 0:
        return 1.0
    highest = float(np.quantile(scan.intensity, 0.999))
    return 1.0 if highest <= 1 else 255.0 if highest <= 255 else 65535.0
