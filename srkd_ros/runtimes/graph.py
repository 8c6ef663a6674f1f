# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What the runtimes of exported graphs share: the names of inputs and outputs, and the geometry they need."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from srkd_ros.errors import ModelError
from srkd_ros.geometry import GeometrySpec
from srkd_ros.geometry.tables import split_name
from srkd_ros.network import PointTransformer, PointTransformerConfig

FEATURES = "features"  # float32 [voxels0, C]
LOGITS = "logits"  # float32 [voxels0, classes]
PRECISION_KEY = "srkd_precision"  # metadata: "fp32" or "fp16", what the graph's weights are


def graph_spec(config: PointTransformerConfig) -> GeometrySpec:
    """The geometry that a graph of this network reads: convolutions by neighbour tables."""
    with torch.device("meta"):  # no memory, no initialisation
        spec = PointTransformer(config).geometry_spec
    return dataclasses.replace(spec, tables="neighbors")


def check_inputs(names: Sequence[str], spec: GeometrySpec, path: str | Path) -> list[str]:
    """The names of the tables among a graph's inputs; ModelError if this program does not know one."""
    tables = [name for name in names if name != FEATURES]
    try:
        known = all(split_name(name)[1] < len(spec.levels) for name in tables) and len(tables) < len(names)
    except ValueError:
        known = False
    if not known:
        raise ModelError(f"{path}: not a graph of this program's version; export the student again")
    return tables
