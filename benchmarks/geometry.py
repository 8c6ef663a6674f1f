# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Voxels, and the tables of all levels, against torch.unique, a numpy key and spconv's rulebooks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks import clouds, peers
from benchmarks.jobs import Job, Settings
from benchmarks.models import CLOUDS, OURS, QUICK, cloud_of, geometry_spec, kernels_available
from benchmarks.timing import Case, Group, one_thread, torch_alone, torch_only
from srkd_ros.geometry import build_geometry, voxelize


def voxelize_jobs(settings: Settings) -> list[Job]:
    return [
        Job("voxelize", f"{name}, {size} m", partial(voxels_of, name, size, settings), quick=name in QUICK)
        for name, size in CLOUDS
    ]


def level_jobs(settings: Settings) -> list[Job]:
    wanted = [(name, size, "nano") for name, size in CLOUDS]
    wanted += [("hdl-32e", 0.05, "litept-s"), ("hdl-32e", 0.05, "ptv3")]
    return [
        Job(
            "levels",
            f"{name}, {size} m, {preset}",
            partial(levels_of, name, size, preset, settings),
            quick=name in (*QUICK, "hdl-32e"),
        )
        for name, size, preset in wanted
    ]


def voxels_of(name: str, size: float, settings: Settings) -> Group:
    """Returns float32 [N, 3] to voxels, and the voxel of each point."""
    points = cloud_of(name).returns
    xyz = clouds.tensor(points, settings.device)
    ours = Case(OURS, lambda: voxelize(xyz, size))
    cases = [
        ours,
        one_thread(ours),
        *([torch_alone(ours)] if kernels_available(settings.device) else []),
        Case("torch.unique(dim=0)", lambda: peers.voxels_by_unique(xyz, size), quick=False),
        Case("numpy.unique of a key", lambda: peers.voxels_by_key(points, size), quick=False),
    ]
    return Group(cases, OURS, {"points": len(points), "voxels": len(ours.run().code)})


def levels_of(name: str, size: float, preset: str, settings: Settings) -> Group:
    """Voxels to the tables that a network's layers read."""
    spec = geometry_spec(preset, settings.device)
    voxels = voxelize(clouds.tensor(cloud_of(name).returns, settings.device), size)
    ours = Case(OURS, lambda: build_geometry(voxels, spec))
    group = Group([ours, one_thread(ours)], OURS, {"voxels": len(voxels.code)})
    if kernels_available(settings.device):
        with torch_only():
            plain = geometry_spec(preset, settings.device)
        group.cases.append(torch_alone(Case(OURS, lambda: build_geometry(voxels, plain))))
    if (reason := peers.spconv_missing(settings.device)) is not None:
        group.skipped = {peers.SPCONV: reason}
        return group
    made = build_geometry(voxels, spec).levels
    kernels = [level.kernel_sizes for level in spec.levels]

    def theirs() -> Any:
        with torch.inference_mode():
            return peers.coarser_grids(voxels, len(made)), peers.spconv_rulebooks(made, kernels)

    group.cases.append(Case("torch.unique and spconv rulebooks", theirs, threads=1, quick=False))
    return group
