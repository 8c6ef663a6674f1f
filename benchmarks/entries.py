# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""All entries, in the order of the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import geometry, growth, messages, networks, node, segmenting, training
from benchmarks.jobs import Job, Settings


@dataclass(frozen=True)
class Entry:
    """A benchmark by name."""

    title: str
    jobs: Callable[[Settings], list[Job]]


ENTRIES: dict[str, Entry] = {
    "decode": Entry("PointCloud2 to arrays", messages.decode_jobs),
    "encode": Entry("Labels to PointCloud2", messages.encode_jobs),
    "voxelize": Entry("Points to voxels", geometry.voxelize_jobs),
    "levels": Entry("Voxels to level tables", geometry.level_jobs),
    "network": Entry("Network: voxel features and tables to logits", networks.network_jobs),
    "inference": Entry("Voxels to logits: level tables and network", networks.inference_jobs),
    "segmenter": Entry("Segmenter: points to labels", segmenting.segmenter_jobs),
    "message": Entry("Message to message inside the node, without transport", segmenting.message_jobs),
    "node": Entry("Node: published to received, across processes", node.jobs),
    "training": Entry("Training step", training.jobs),
    "growth": Entry("Growth with the number of points", growth.jobs),
}
SCRIPTS = ("transport", "soak", "runtimes", "floor", "memory", "ablation", "agreement")
"""Modules of this folder with options of their own; they take long, and write pages of their own."""
