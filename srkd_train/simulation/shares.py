# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Share of every class in a folder of SemanticKITTI layout: `python -m srkd_train.simulation.shares FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from srkd_ros.errors import DataError, SrkdError
from srkd_ros.labels import LabelSet


def class_shares(folder: Path, labels: LabelSet) -> tuple[np.ndarray, np.ndarray]:
    """By class, "ignored" last: share of all points, float64 [C + 1]; sequences that have it, int64 [C + 1]."""
    counts = []
    for sequence in sorted((folder / "sequences").glob("[0-9]*")):
        raw = [np.fromfile(path, "<u4") for path in sorted(sequence.glob("labels/*.label"))]
        if raw:
            ids = np.minimum(labels.from_raw(np.concatenate(raw) & 0xFFFF), len(labels))
            counts.append(np.bincount(ids, minlength=len(labels) + 1))
    if not counts:
        raise DataError(f"{folder} holds no sequences/*/labels/*.label; name a folder of SemanticKITTI layout")
    table = np.array(counts)
    return table.sum(0) / table.sum(), (table > 0).sum(0)


def main() -> int:
    labels = LabelSet.load("semantickitti")
    if len(sys.argv) != 2:
        print(f"usage: python -m {__spec__.name} FOLDER", file=sys.stderr)
        return 2
    try:
        shares, sequences = class_shares(Path(sys.argv[1]), labels)
    except SrkdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, share, count in zip((*labels.names, "(ignored)"), shares, sequences, strict=True):
        print(f"{name:15s} {100 * share:8.3f} %  in {count} sequences")
    return 0


if __name__ == "__main__":
    sys.exit(main())
