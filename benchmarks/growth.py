# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Time and memory against points, from 10,000 to a million, and their plot."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import clouds, peers
from benchmarks.jobs import Job, Settings
from benchmarks.models import student_file
from benchmarks.timing import Case, Group
from srkd_ros import Segmenter
from srkd_ros.geometry import build_geometry, voxelize
from srkd_ros.runtimes import open_runtime

POINTS = (10_000, 31_623, 100_000, 316_228, 1_000_000)
VOXEL_SIZE = 0.2
METHODS = ("voxelise", "voxelise, torch.unique(dim=0)", "level tables", "network (nano)", "Segmenter")


def jobs(settings: Settings) -> list[Job]:
    return [Job("growth", f"{points:,} points", partial(growth, points, settings), seconds=4.0) for points in POINTS]


def growth(points: int, settings: Settings) -> Group:
    """Returns of one street, seen by a sensor of finer and finer columns."""
    returns = clouds.of_size(points)
    xyz = clouds.tensor(returns, settings.device)
    path = student_file("nano", VOXEL_SIZE)
    runtime = open_runtime(path, "torch", settings.device)
    segmenter = Segmenter.load(path, "torch", settings.device)
    voxels = voxelize(xyz, VOXEL_SIZE)
    geometry = build_geometry(voxels, runtime.geometry_spec)
    features = torch.randn(len(voxels.code), 4, device=settings.device)
    runs = (
        lambda: voxelize(xyz, VOXEL_SIZE),
        lambda: peers.voxels_by_unique(xyz, VOXEL_SIZE),
        lambda: build_geometry(voxels, runtime.geometry_spec),
        torch.inference_mode()(lambda: runtime.logits(features, geometry)),
        lambda: segmenter(returns),
    )
    cases = [Case(method, run) for method, run in zip(METHODS, runs, strict=True)]
    return Group(cases, METHODS[-1], {"points": points, "voxels": len(voxels.code)})


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw the growth rows on log-log axes; False if there are none."""
    rows = [row for row in rows if row["benchmark"] == "growth"]
    if not rows:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, key, title in zip(panels, ("median_ms", "peak_mb"), ("median time, ms", "peak memory, MB"), strict=True):
        for method in METHODS:
            own = [row for row in rows if row["method"] == method and row[key]]
            dashed = "--" if "torch.unique" in method else "-"
            panel.plot([row["sizes"]["points"] for row in own], [row[key] for row in own], "o" + dashed, label=method)
        values = [row[key] for row in rows if row[key]]
        if values:
            low, high = min(POINTS), max(POINTS)
            panel.plot([low, high], [min(values), min(values) * high / low], ":", color="grey", label="linear")
        panel.set(xscale="log", yscale="log", xlabel="points", ylabel=title)
        panel.grid(True, which="both", alpha=0.25)
    panels[0].legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.png")
    try:
        FigureCanvasAgg(figure).print_png(str(temporary))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return True
