# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The network alone, and voxels to logits with everything that takes, against spconv's and onnxruntime's kernels."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from benchmarks import clouds, peers
from benchmarks.jobs import Job, Settings
from benchmarks.models import (
    CLOUDS,
    OURS,
    QUICK,
    bf16_available,
    cloud_of,
    kernels_available,
    network,
    onnx_file,
    student_file,
)
from benchmarks.timing import Case, Group, one_thread, torch_alone, torch_only
from srkd_ros.errors import SrkdError
from srkd_ros.geometry import Voxels, build_geometry, voxelize
from srkd_ros.native import without_kernels
from srkd_ros.runtimes import open_runtime

LARGE = ("litept-s", "ptv3-half", "ptv3")


def network_jobs(settings: Settings) -> list[Job]:
    found = [
        Job(
            "network",
            f"{name}, {size} m, nano",
            partial(forward, name, size, "nano", settings),
            seconds=3.0,
            quick=name in QUICK,
        )
        for name, size in CLOUDS
    ]
    for preset in LARGE:
        build = partial(forward, "hdl-32e", 0.05, preset, settings)
        found.append(Job("network", f"hdl-32e, 0.05 m, {preset}", build, seconds=5.0, quick=preset == "litept-s"))
    return found


def inference_jobs(settings: Settings) -> list[Job]:
    return [
        Job("inference", "120k, 0.2 m, nano", partial(inference, "120k", 0.2, "nano", settings), seconds=5.0),
        *(
            Job(
                "inference",
                f"hdl-32e, 0.05 m, {preset}",
                partial(inference, "hdl-32e", 0.05, preset, settings),
                seconds=20.0,
            )
            for preset in LARGE
        ),
    ]


def forward(name: str, size: float, preset: str, settings: Settings) -> Group:
    """Voxel features and tables to logits."""
    voxels, features = _input(name, size, settings)

    def case(method: str, file: Path, name: str = "torch", precision: str = "auto") -> Case:
        runtime = open_runtime(file, name, settings.device, precision)
        geometry = build_geometry(voxels, runtime.geometry_spec)
        run = torch.inference_mode()(lambda: runtime.logits(features, geometry))
        return Case(method, run, torchs=runtime.name == "torch" or settings.device == "cpu")

    file = student_file(preset, size)
    group = Group([case(OURS, file)], OURS, {"voxels": len(features)})
    if bf16_available(settings.device) and not settings.quick:
        group.cases.append(case(f"{OURS}, bf16", file, precision="bf16"))
    if kernels_available(settings.device) and not settings.quick:
        with torch_only():
            group.cases.append(torch_alone(case(OURS, file)))
    if preset != "nano":
        return group
    group.cases.append(one_thread(group.cases[0]))
    if settings.quick:
        return group
    path, reason = onnx_file(preset, size)
    if path is None:
        group.skipped = {"onnxruntime": reason}
        return group
    try:
        group.cases.append(case("onnxruntime", path, "onnx"))
    except SrkdError as error:  # onnxruntime without CUDA
        group.skipped = {"onnxruntime": str(error)}
    return group


def inference(name: str, size: float, preset: str, settings: Settings) -> Group:
    """Voxels and their features to logits: level tables and network.

    The peer is the same network with spconv's convolutions and rulebooks in place of ours, attention and linear maps by
    torch; z-order tables are ours, so it is no slower than the original implementations. With two or more threads
    spconv's CPU kernels write over each other: its one-thread time is that of a right answer.
    """
    voxels, features = _input(name, size, settings)
    runtime = open_runtime(student_file(preset, size), "torch", settings.device)

    @torch.inference_mode()
    def ours() -> torch.Tensor:
        return runtime.logits(features, build_geometry(voxels, runtime.geometry_spec))

    case = Case(OURS, ours)
    group = Group([case, one_thread(case)], OURS, {"voxels": len(features)})
    if (reason := peers.spconv_missing(settings.device)) is not None:
        group.skipped = {peers.SPCONV: reason}
        return group
    peer = peers.SpconvNetwork(network(preset))

    @torch.inference_mode()
    def theirs() -> torch.Tensor:
        with without_kernels():
            return peer(features, voxels)

    group.cases.append(Case(f"{peers.SPCONV}, one thread", theirs, threads=1, quick=False))
    if torch.get_num_threads() > 1 and preset != "nano":
        group.cases.append(Case(f"{peers.SPCONV}, all threads, wrong", theirs, quick=False))
    _check_same(ours(), theirs)
    return group


def _check_same(ours: torch.Tensor, theirs: object) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    difference = float((theirs() - ours).abs().max() / ours.abs().max())  # type: ignore[operator]
    torch.set_num_threads(threads)
    if difference > 1e-2:
        raise AssertionError(f"spconv's network computes something else: {difference:.1e} relative")


def _input(name: str, size: float, settings: Settings) -> tuple[Voxels, torch.Tensor]:
    """Voxels of a cloud's returns, and random features [V, 4]."""
    voxels = voxelize(clouds.tensor(cloud_of(name).returns, settings.device), size)
    features = torch.randn(len(voxels.code), 4, generator=torch.Generator().manual_seed(0))
    return voxels, features.to(settings.device)
