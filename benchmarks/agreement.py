# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""python -m benchmarks agreement: what is each term of SRKD still to teach a student that has been trained?

    python -m benchmarks agreement --teacher teacher.safetensors --students a.safetensors b.safetensors --data DATASET

Each term's value, at weight 1 and with the recipe's other settings, on whole scans that training has not seen; first
for a student's network before training, which shows how much of a value any training takes away. Features: the share of
the teacher's standardised decoder features that a linear map of the student's explains, fitted on every other batch and
measured on the rest. Same class: the share of voxels on which both decide alike.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor

from srkd_ros import student
from srkd_ros.errors import DataError, SrkdError
from srkd_ros.network import PointTransformer
from srkd_train import ranges
from srkd_train.batches import RawBatch, collate, prepare
from srkd_train.config import DistillConfig, DistillLossConfig, TeacherConfig
from srkd_train.datasets import open_dataset
from srkd_train.loading import evenly_spread, intensity_scale
from srkd_train.parsing import parse_config
from srkd_train.teacher import Teacher, check_labels
from srkd_train.terms import DistillationTerms

TERMS = tuple(term for term in ranges.TERMS if term != "feature")
COLUMNS = (*TERMS, "features", "same class")

console = Console(soft_wrap=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks agreement",
        description=(__doc__ or "").partition(": ")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--teacher", required=True, metavar="FILE")
    parser.add_argument("--students", required=True, nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--data", required=True, type=Path, metavar="DATASET")
    parser.add_argument("--kind", default="semantic_kitti", help="of dataset (default semantic_kitti)")
    parser.add_argument("--split", default="val", help="(default val)")
    parser.add_argument("--scans", type=int, default=32, help="evenly spread, in batches of two (default 32)")
    parser.add_argument(
        "--recipe", default="config/train/synthetic-distill.yaml", help="of the terms' settings (default %(default)s)"
    )
    given = parser.parse_args(arguments)
    try:
        recipe = parse_config(DistillConfig, ["--config", given.recipe], parser.prog, "")
        losses = settings(recipe.losses)
        scans = list(batches(given, student.load(given.students[0])[1]))
        rows = [("before training", measure(given.students[0], given.teacher, scans, losses, trained=False))]
        names = student.unique_names(given.students)
        rows += [(n, measure(f, given.teacher, scans, losses)) for n, f in zip(names, given.students, strict=True)]
    except (SrkdError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(rows), end="")
    return 0


def settings(losses: DistillLossConfig) -> DistillLossConfig:
    """The recipe's, with every term that has a value of its own at weight 1."""
    for name in TERMS:
        getattr(losses, name).weight = 1.0
    losses.feature.weight = 0.0  # its adapters are not in a student's file: `Reading` fits them
    return losses


def measure(
    file: Path, teacher_file: str, scans: Sequence[RawBatch], losses: DistillLossConfig, trained: bool = True
) -> dict[str, float]:
    """Values of COLUMNS for a student file, or for its network before training."""
    losses = copy.deepcopy(losses)  # of shallow networks other stages are compared
    tensors, manifest = student.load(file)
    teacher = Teacher(TeacherConfig(teacher_file), torch.device("cpu"), manifest.preprocessing)
    check_labels(manifest, teacher.manifest.labels, str(file), "compare students with their own teacher")
    torch.manual_seed(0)
    network = PointTransformer(manifest.network)
    if trained:
        network.load_state_dict(tensors)
    network.eval()
    widths, classes = manifest.network.decoder_channels, len(manifest.labels)
    stages = min(len(widths), len(teacher.widths))
    for relation in (losses.point_affinity, losses.voxel_affinity, losses.cross_sample):
        relation.stage = min(relation.stage, stages - 1)
    terms = DistillationTerms(losses, widths, teacher.widths, classes)
    reading = [Reading(widths[s], teacher.widths[s]) for s in range(stages)]
    sums: dict[str, list[float]] = {name: [] for name in COLUMNS if name != "features"}
    described = f"{file.parent.name}/{file.name}" if trained else "before training"
    for number, raw in enumerate(track(scans, description=described, console=console)):
        batch = prepare(raw, manifest.preprocessing, network.geometry_spec)
        with torch.no_grad():
            own = network.features(batch.features, batch.geometry)
            other = teacher(batch)
            for name, value in terms(own, other, batch).items():
                sums[name].append(float(value))
        same = own.logits.argmax(1) == other.logits.argmax(1)
        sums["same class"].append(float(same.double().mean()))
        for stage in range(stages):
            reading[stage].add(own.decoder[stage], other.decoder[stage], fit=number % 2 == 0)
    explained = float(np.mean([r.explained() for r in reading]))
    return {**{name: float(np.mean(values)) for name, values in sums.items()}, "features": explained}


def batches(given: argparse.Namespace, manifest: student.Manifest) -> Iterator[RawBatch]:
    """Pairs of scans from different places of the split."""
    dataset = open_dataset(given.kind, given.data, given.split)
    check_labels(manifest, dataset.labels, str(given.students[0]), "name a dataset of its classes")
    if len(dataset) < 4:
        raise DataError(f"{given.data}: {len(dataset)} scans in split {given.split!r}; it takes four")
    chosen = evenly_spread(len(dataset), min(max(4, given.scans // 2 * 2), len(dataset) // 2 * 2))
    half = len(chosen) // 2
    for i, pair in enumerate(zip(chosen[:half].tolist(), chosen[half:].tolist(), strict=True)):
        scans = [dataset[index] for index in pair]
        yield collate(scans, [intensity_scale(dataset, s) for s in scans], [(0, 0, index) for index in pair], seed=i)


class Reading:
    """How much of the teacher's features a linear map of the student's explains, by least squares."""

    def __init__(self, width: int, target: int) -> None:
        self.gram = torch.zeros(width + 1, width + 1, dtype=torch.float64)
        self.cross = torch.zeros(width + 1, target, dtype=torch.float64)
        self.held_out: list[tuple[Tensor, Tensor]] = []

    def add(self, x: Tensor, y: Tensor, fit: bool) -> None:
        """x [V, C] of the student, y [V, D] of the teacher, standardised here as the feature term does."""
        x = torch.cat([x, x.new_ones(len(x), 1)], 1).double()
        y = F.layer_norm(y.double(), y.shape[-1:])
        if fit:
            self.gram += x.t() @ x
            self.cross += x.t() @ y
        else:
            self.held_out.append((x, y))

    def explained(self) -> float:
        """1 - residual / variance on the rows that the map was not fitted on; nan without any."""
        if not self.held_out:
            return float("nan")
        ridge = 1e-6 * self.gram.diagonal().mean() * torch.eye(len(self.gram), dtype=torch.float64)
        weights = torch.linalg.solve(self.gram + ridge, self.cross)
        x, y = (torch.cat(parts) for parts in zip(*self.held_out, strict=True))
        return float(1 - (y - x @ weights).square().sum() / (y - y.mean(0)).square().sum())


def table(rows: Sequence[tuple[str, dict[str, float]]]) -> str:
    """Markdown, a row a student."""
    head = ["KL", "point affinity", "voxel affinity", "channel", "cross-sample", "features", "same class"]
    lines = ["| student | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    for name, values in rows:
        cells = [f"{values[c]:.3g}" if c in TERMS else f"{100 * values[c]:.1f} %" for c in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
