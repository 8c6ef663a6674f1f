# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""A training step with and without SRKD's terms, against what cannot be saved: teacher forward and student step."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.jobs import Job, Settings, Skip
from benchmarks.models import cloud_of, network, student_file
from benchmarks.timing import Case, Group
from srkd_ros import student as student_format

VOXEL_SIZE = 0.2
BATCHES = {"os1-64": 2, "vlp-16": 8}  # of eight scans each is related to seven others, as in the paper
TEACHER, STUDENT = "litept-s", "nano"
SUM = "teacher forward and student step"


def jobs(settings: Settings) -> list[Job]:
    return [
        Job(
            "training",
            f"{scans} x {sensor}, {VOXEL_SIZE} m, {TEACHER} to {STUDENT}",
            partial(steps, settings, sensor, scans),
            seconds=30.0,
        )
        for sensor, scans in BATCHES.items()
    ]


def steps(settings: Settings, sensor: str, scans: int) -> Group:
    """Augmentation, voxels, tables, forward, losses, backward, optimiser; and the loader by itself."""
    try:
        from srkd_train.batches import prepare
        from srkd_train.config import DistillConfig, DistillLossConfig, KlConfig, TeacherConfig, TrainConfig
        from srkd_train.distiller import Distiller, Supervised
        from srkd_train.loading import RunSampler
        from srkd_train.teacher import Teacher
    except ImportError as error:
        raise Skip(f"needs {error.name} (pip install 'srkd_ros[train]')") from error
    warnings.filterwarnings("ignore", message=".*self.log.*")
    device = torch.device(settings.device)
    _, manifest = student_format.load(student_file(STUDENT, VOXEL_SIZE))
    raw = _batch(sensor, scans, manifest, device)
    sampler = RunSampler(scans, scans, 1_000_000, 0)
    teacher = Teacher(TeacherConfig(str(student_file(TEACHER, VOXEL_SIZE))), device, manifest.preprocessing)

    supervised = Supervised(TrainConfig(), network(STUDENT), manifest, sampler)
    kl = Distiller(
        DistillConfig(losses=DistillLossConfig(kl=KlConfig(0.3))), network(STUDENT), manifest, sampler, teacher
    )
    full = Distiller(DistillConfig(losses=_all_terms()), network(STUDENT), manifest, sampler, teacher)
    student_step = _step(supervised, raw)
    batch = prepare(raw, manifest.preprocessing, supervised.model.geometry_spec)

    folder = tempfile.TemporaryDirectory()
    loader = _loader(Path(folder.name), sensor, scans)

    def both() -> None:
        teacher(batch)
        student_step()

    return Group(
        [
            Case("student step", student_step),
            Case("teacher forward", lambda: teacher(batch)),
            Case(SUM, both),
            Case("distillation step, KL alone", _step(kl, raw)),
            Case("distillation step, all terms", _step(full, raw)),
            Case("loader: a batch from files, one process", lambda: next(loader)),
        ],
        SUM,
        {"points": len(raw.xyz), "voxels": len(batch.features)},
        close=folder.cleanup,
    )


def full_step(student: str, sensor: str, scans: int, voxel_size: float, recompute: bool, device: str) -> tuple:
    """A distillation step of all terms as a function, and the voxels of its batch before augmentation."""
    from srkd_train.batches import prepare
    from srkd_train.config import DistillConfig, TeacherConfig
    from srkd_train.distiller import Distiller
    from srkd_train.loading import RunSampler
    from srkd_train.teacher import Teacher

    warnings.filterwarnings("ignore", message=".*self.log.*")
    on = torch.device(device)
    _, manifest = student_format.load(student_file(student, voxel_size))
    raw = _batch(sensor, scans, manifest, on)
    teacher = Teacher(TeacherConfig(str(student_file(TEACHER, voxel_size))), on, manifest.preprocessing)
    model = network(student)
    model.recompute = recompute
    sampler = RunSampler(scans, scans, 1_000_000, 0)
    module = Distiller(DistillConfig(losses=_all_terms()), model, manifest, sampler, teacher)
    voxels = len(prepare(raw, manifest.preprocessing, model.geometry_spec).features)
    return _step(module, raw), voxels


def _batch(sensor: str, scans: int, manifest: student_format.Manifest, device: torch.device) -> Any:
    from srkd_train.batches import collate

    return collate([_scan(sensor, manifest)] * scans, [1000.0] * scans, [(0, 0, i) for i in range(scans)], 0).to(device)


def _step(module: Any, raw: Any) -> Callable[[], None]:
    from srkd_train.augment import augment
    from srkd_train.batches import prepare

    module.to(raw.xyz.device).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)

    def step() -> None:
        batch = prepare(
            augment(raw, module.config.augment), module.manifest.preprocessing, module.model.geometry_spec, raw
        )
        terms = module.terms(module.model.features(batch.features, batch.geometry), batch)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()

    return step


def _loader(folder: Path, sensor: str, scans: int) -> Iterator[Any]:
    """Batches of the same scans without end, read from files in SemanticKITTI's layout in this process."""
    from srkd_train.datasets import open_dataset
    from srkd_train.loading import RunSampler, Source, training_loader

    cloud = cloud_of(sensor)
    points = np.column_stack([cloud.xyz.reshape(-1, 3), cloud.intensity.reshape(-1)]).astype(np.float32)
    for kind in ("velodyne", "labels"):
        (folder / "sequences" / "00" / kind).mkdir(parents=True)
    for number in range(scans):
        points.tofile(folder / "sequences" / "00" / "velodyne" / f"{number:06}.bin")
        cloud.labels.astype(np.uint32).tofile(folder / "sequences" / "00" / "labels" / f"{number:06}.label")
    source = Source([open_dataset("semantic_kitti", folder, "all")])
    return iter(training_loader(source, RunSampler(scans, scans, 1_000_000, 0), workers=0))


def _scan(sensor: str, manifest: student_format.Manifest) -> Any:
    from srkd_train.datasets import Scan

    cloud = cloud_of(sensor)
    ids = cloud.labels.reshape(-1) & np.uint32(0xFFFF)  # the upper half is the instance
    return Scan(cloud.xyz, cloud.intensity, manifest.labels.from_raw(ids), cloud.name)


def _all_terms() -> Any:
    from srkd_train.config import (
        AffinityConfig,
        ChannelConfig,
        CrossSampleConfig,
        DistillLossConfig,
        FeatureConfig,
        KlConfig,
    )

    return DistillLossConfig(
        kl=KlConfig(0.3),
        point_affinity=AffinityConfig(1.0),
        voxel_affinity=AffinityConfig(1.0),
        channel=ChannelConfig(1.0),
        cross_sample=CrossSampleConfig(0.1),
        feature=FeatureConfig(1.0),
    )
