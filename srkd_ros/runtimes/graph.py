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


def table_names(model: PointTransformer) -> list[str]:
    """The tables that the network reads, finest level first."""
    config, spec = model.config, model.geometry_spec
    names: list[str] = []
    for level, wanted in enumerate(spec.levels):
        names += [f"neighbors{level}_{size}" for size in wanted.kernel_sizes]
        if level:
            names.append(f"children{level}")
        if level < len(spec.levels) - 1:
            names.append(f"parents{level}")
        for order in wanted.orders:
            names += [f"patches{level}_{order}", f"slots{level}_{order}"]
        if wanted.orders and config.rope_base is not None:
            stages = [(config.encoder_channels, config.encoder_heads, config.encoder_attention, config.encoder_depths)]
            if level < len(config.decoder_channels):
                stages.append(
                    (config.decoder_channels, config.decoder_heads, config.decoder_attention, config.decoder_depths)
                )
            dims = {c[level] // h[level] for c, h, attention, depth in stages if attention[level] and depth[level]}
            names += [f"rotary{level}_{dim}" for dim in sorted(dims)]
    return names


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
