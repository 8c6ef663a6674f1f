# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""A training step with and without SRKD's terms, against what cannot be saved: teacher forward and student step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.jobs import Job, Settings, Skip
from benchmarks.models import cloud_of, network, student_file
from benchmarks.timing import Case, Group
from srkd_ros import student as student_format

BATCH, VOXEL_SIZE = 2, 0.2
TEACHER, STUDENT = "litept-s", "nano"
SUM = "teacher forward and student step"


def jobs(settings: Settings) -> list[Job]:
    name = f"{BATCH} x os1-64, {VOXEL_SIZE} m, {TEACHER} to {STUDENT}"
    return [Job("training", name, partial(steps, settings), seconds=30.0)]


def steps(settings: Settings) -> Group:
    """Augmentation, voxels, tables, forward, losses, backward, optimiser; the loader is not in it."""
    try:
        from srkd_train.batches import collate, prepare
        from srkd_train.config import DistillConfig, DistillLossConfig, KlConfig, TeacherConfig, TrainConfig
        from srkd_train.distiller import Distiller, Supervised
        from srkd_train.loading import RunSampler
        from srkd_train.teacher import Teacher
    except ImportError as error:
        raise Skip(f"needs {error.name} (pip install 'srkd_ros[train]')") from error
    warnings.filterwarnings("ignore", message=".*self.log.*")
    device = torch.device(settings.device)
    _, manifest = student_format.load(student_file(STUDENT, VOXEL_SIZE))
    raw = collate([_scan(manifest) for _ in range(BATCH)], [1000.0] * BATCH, [(0, 0, i) for i in range(BATCH)], 0)
    raw = raw.to(device)
    sampler = RunSampler(BATCH, BATCH, 1000, 0)
    teacher = Teacher(TeacherConfig(str(student_file(TEACHER, VOXEL_SIZE))), device, manifest.preprocessing)

    supervised = Supervised(TrainConfig(), network(STUDENT), manifest, sampler)
    kl = Distiller(
        DistillConfig(losses=DistillLossConfig(kl=KlConfig(0.3))), network(STUDENT), manifest, sampler, teacher
    )
    full = Distiller(DistillConfig(losses=_all_terms()), network(STUDENT), manifest, sampler, teacher)
    student_step = _step(supervised, raw)
    batch = prepare(raw, manifest.preprocessing, supervised.model.geometry_spec)

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
        ],
        SUM,
        {"points": len(raw.xyz), "voxels": len(batch.features)},
    )


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


def _scan(manifest: student_format.Manifest) -> Any:
    from srkd_train.datasets import Scan

    cloud = cloud_of("os1-64")
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
