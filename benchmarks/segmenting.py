# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The whole Segmenter, arrays to labels, and the node's own work, message to message, without transport."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from benchmarks.jobs import Job, Settings, Skip
from benchmarks.models import CLOUDS, QUICK, bf16_available, cloud_of, kernels_available, onnx_file, student_file
from benchmarks.timing import Case, Group, torch_alone, torch_only
from srkd_ros import Segmenter
from srkd_ros.errors import SrkdError


def segmenter_jobs(settings: Settings) -> list[Job]:
    wanted = [(name, size, "nano") for name, size in (*CLOUDS, ("rellis", 0.2))]
    wanted += [("hdl-32e", 0.05, "litept-s"), ("hdl-32e", 0.05, "ptv3")]
    return [
        Job(
            "segmenter",
            f"{name}, {size} m, {preset}",
            partial(segmenter, name, size, preset, settings),
            seconds=4.0,
            quick=name in QUICK,
        )
        for name, size, preset in wanted
    ]


def message_jobs(settings: Settings) -> list[Job]:
    return [
        Job(
            "message",
            f"{name}, {size} m, nano",
            partial(message, name, size, settings),
            seconds=4.0,
            quick=name in QUICK,
        )
        for name, size in CLOUDS
    ]


def segmenter(name: str, size: float, preset: str, settings: Settings) -> Group:
    """All points of a sweep, empty returns too, to labels and confidences."""
    cloud = _cloud(name)
    xyz, intensity = cloud.xyz, cloud.intensity
    loaded = Segmenter.load(student_file(preset, size), "torch", settings.device)
    voxels = loaded(xyz, intensity).voxels
    group = Group(
        [Case("torch", lambda: loaded(xyz, intensity), stages=lambda result: result.timings)],
        "torch",
        {"points": len(xyz), "voxels": voxels},
    )
    if bf16_available(settings.device) and not settings.quick:
        narrow = Segmenter.load(student_file(preset, size), "torch", settings.device, precision="bf16")
        group.cases.append(Case("torch, bf16", lambda: narrow(xyz, intensity), stages=lambda result: result.timings))
    if kernels_available(settings.device) and not settings.quick:
        with torch_only():
            plain = Segmenter.load(student_file(preset, size), "torch", settings.device)
        plainly = Case("torch", lambda: plain(xyz, intensity), stages=lambda result: result.timings)
        group.cases.append(torch_alone(plainly))
    if preset != "nano" or settings.quick:
        return group
    path, reason = onnx_file(preset, size)
    if path is None:
        group.skipped = {"onnxruntime": reason}
        return group
    try:
        graph = Segmenter.load(path, "onnx", settings.device)
    except SrkdError as error:  # onnxruntime without CUDA
        group.skipped = {"onnxruntime": str(error)}
        return group
    run, own = (lambda: graph(xyz, intensity)), settings.device == "cpu"
    group.cases.append(Case("onnxruntime", run, stages=lambda result: result.timings, torchs=own))
    return group


def message(name: str, size: float, settings: Settings) -> Group:
    """What the node does with a message from its callback to `publish`: read, segment, check, write."""
    from srkd_ros.node import settings as node_settings
    from srkd_ros.node.work import load

    cloud = cloud_of(name)
    incoming = cloud.message()
    parameters = {key: parameter.default for key, parameter in node_settings.PARAMETERS.items()}

    def case(method: str, precision: str) -> Case:
        checked = node_settings.check(parameters)
        work = load(student_file("nano", size), "torch", settings.device, precision, checked)

        def run() -> dict[str, float]:
            labelled = work.label(incoming, None)
            begin = time.perf_counter()
            work.segmented(incoming, labelled, None)
            return {**labelled.timings, "write": (time.perf_counter() - begin) * 1e3}

        return Case(method, run, stages=lambda timings: timings)

    group = Group([case("torch", "auto")], "torch", {"points": cloud.points})
    if bf16_available(settings.device) and not settings.quick:
        group.cases.append(case("torch, bf16", "bf16"))
    return group


def _cloud(name: str) -> Any:
    try:
        return cloud_of(name)
    except LookupError as error:
        raise Skip("no recorded scans here (set SRKD_TEST_DATA)") from error
