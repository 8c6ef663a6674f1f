# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Geometry as named tables: the integer inputs of an exported graph, and the way back for tracing one.

Names end in the level's number and, after an underscore, in what tells several tables of a level apart:
neighbors0_5 (kernel size), parents0, children1, patches3_hilbert and slots3_hilbert (curve order), rotary3_18 (head
dimension). A graph is for one cloud, so patches are always full and there are no masks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from srkd_ros.geometry.levels import Geometry, GeometrySpec, Level
from srkd_ros.geometry.patches import Patches

_NAME = re.compile(r"(neighbors|parents|children|patches|slots|rotary)(\d+)(?:_(.+))?")


def split_name(name: str) -> tuple[str, int, str]:
    """Kind, level and suffix ("" if none) of a table's name; ValueError for another name."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} does not name a table of the geometry")
    return match[1], int(match[2]), match[3] or ""


def stored_table(geometry: Geometry, name: str, rope_base: float | None) -> Tensor:
    """One table of a single cloud's geometry (made with tables="neighbors"), of the type it was made in.

    Shapes: neighbors [V, K], parents [V], children [V, 8], patches [P, W], slots [V], rotary [2, V, D // 2]. A missing
    neighbour is V, a missing child the number of voxels of the finer level.
    """
    kind, number, suffix = split_name(name)
    level = geometry.levels[number]
    if kind == "rotary":
        assert rope_base is not None
        return level.rotary(int(suffix), rope_base)
    if kind == "neighbors":
        found: Tensor | None = level.neighbors[int(suffix)]
    elif kind == "patches":
        found = level.patches[suffix].table
    elif kind == "slots":
        found = level.patches[suffix].slot
    else:
        found = level.parents if kind == "parents" else level.children
    assert found is not None
    return found


def named_tables(geometry: Geometry, names: Iterable[str], rope_base: float | None) -> dict[str, Tensor]:
    """The tables of those names, contiguous, in their order; int32, or float32 for rotary."""
    tables = {name: stored_table(geometry, name, rope_base) for name in names}
    return {
        name: (values if values.is_floating_point() else values.to(torch.int32)).contiguous()
        for name, values in tables.items()
    }


def table_dimensions(name: str) -> dict[int, str]:
    """Names of a table's dynamic dimensions: voxelsL, and for the patches of level L, patchesL and widthL."""
    kind, number, _ = split_name(name)
    if kind == "patches":
        return {0: f"patches{number}", 1: f"width{number}"}
    return {1 if kind == "rotary" else 0: f"voxels{number}"}


def geometry_of(tables: Mapping[str, Tensor], spec: GeometrySpec, rope_base: float | None) -> Geometry:
    """Inverse of named_tables, with what it has: enough for a network's forward pass, for tracing."""
    nothing = torch.empty(0)
    levels = [Level(nothing, nothing, []) for _ in spec.levels]
    for name, values in tables.items():
        kind, number, suffix = split_name(name)
        level = levels[number]
        if kind == "neighbors":
            level.neighbors[int(suffix)] = values
        elif kind == "parents":
            level.parents = values
        elif kind == "children":
            level.children = values
        elif kind == "patches":
            level.patches[suffix] = Patches(values, tables[f"slots{number}_{suffix}"], None)
        elif kind == "rotary":
            assert rope_base is not None
            level._rotary[int(suffix), rope_base] = values
    return Geometry(levels, spec)
