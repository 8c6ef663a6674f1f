# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Triangle soups with a class, reflectivity and surface kind per triangle, and the primitives to build them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

LAMBERT, GLASS, RETRO = 0, 1, 2
"""Kinds of surface: matt; glass, which seldom returns anything; retroreflective (signs, number plates)."""


@dataclass(frozen=True)
class Mesh:
    """T triangles with what the sensor and the label file need to know of each."""

    triangles: np.ndarray  # float32 [T, 3, 3], metres
    raw_ids: np.ndarray  # uint32 [T]: SemanticKITTI id, instance in the upper 16 bits
    reflectivity: np.ndarray  # float32 [T], 0..1
    kind: np.ndarray  # uint8 [T]

    def __len__(self) -> int:
        return len(self.triangles)

    def placed(self, x: float, y: float, yaw: float = 0.0, z: float = 0.0, scale: float = 1.0) -> Mesh:
        """Scaled, turned about z by yaw (radians), then moved."""
        c, s = np.cos(yaw) * scale, np.sin(yaw) * scale
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, scale]], np.float32)
        return replace(self, triangles=self.triangles @ turn + np.array([x, y, z], np.float32))

    def labelled(self, raw_id: int, instance: int = 0) -> Mesh:
        """All triangles given one raw id and instance."""
        return replace(self, raw_ids=np.full(len(self), raw_id | instance << 16, np.uint32))


def make(triangles: np.ndarray, raw_id: int, reflectivity: float | np.ndarray, kind: int = LAMBERT) -> Mesh:
    """A mesh of one class and kind."""
    count = len(triangles)
    return Mesh(
        np.ascontiguousarray(triangles, np.float32),
        np.full(count, raw_id, np.uint32),
        np.full(count, reflectivity, np.float32),
        np.full(count, kind, np.uint8),
    )


def join(parts: Sequence[Mesh]) -> Mesh:
    """All triangles of all parts, in order."""
    if not parts:
        return make(np.empty((0, 3, 3), np.float32), 0, 0.0)
    return Mesh(
        np.concatenate([p.triangles for p in parts]),
        np.concatenate([p.raw_ids for p in parts]),
        np.concatenate([p.reflectivity for p in parts]),
        np.concatenate([p.kind for p in parts]),
    )


def quads(corners: np.ndarray) -> np.ndarray:
    """Two triangles for each quad: [Q, 4, 3] to [2Q, 3, 3], interleaved."""
    return corners[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3, 3)


_BOX_FACES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def box(low: Sequence[float], high: Sequence[float], raw_id: int, reflectivity: float, kind: int = LAMBERT) -> Mesh:
    """An axis-aligned box between two corners."""
    return hexahedron((low[0], high[0]), (low[1], high[1]), low[2], high[2], raw_id, reflectivity, kind)


def hexahedron(
    x: tuple[float, float],
    y: tuple[float, float],
    bottom: float,
    top: float,
    raw_id: int,
    reflectivity: float,
    kind: int = LAMBERT,
    x_top: tuple[float, float] | None = None,
    y_top: tuple[float, float] | None = None,
) -> Mesh:
    """A box whose top rectangle may differ from its bottom: car cabins, hipped roofs, gables (y_top a line)."""
    x_top, y_top = x_top or x, y_top or y
    v = np.array(
        [
            ((x_top if k else x)[i], (y_top if k else y)[j], (bottom, top)[k])
            for i in (0, 1)
            for j in (0, 1)
            for k in (0, 1)
        ],
        np.float32,
    )
    return make(quads(v[_BOX_FACES]), raw_id, reflectivity, kind)


def tube(
    start: ArrayLike,
    end: ArrayLike,
    radius: float,
    raw_id: int,
    reflectivity: float,
    end_radius: float | None = None,
    sides: int = 8,
    kind: int = LAMBERT,
) -> Mesh:
    """A tapered cylinder with its two caps, from start to end."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    (x, y, z), length = b - a, math.dist(a, b)
    x, y, z = x / length, y / length, z / length
    # Two unit vectors across the axis: u level (or along x for an upright axis), v = axis x u.
    level = math.hypot(x, y)
    ux, uy = (y / level, -x / level) if level > 0.01 else (1.0, 0.0)
    across = np.array([[ux, uy, 0.0], [-z * uy, z * ux, x * uy - y * ux]])
    circle, faces = _tube_pattern(sides)
    ring = circle @ across
    vertices = np.concatenate([a + radius * ring, b + (radius if end_radius is None else end_radius) * ring, [a, b]])
    return make(vertices[faces], raw_id, reflectivity, kind)


@cache
def _tube_pattern(sides: int) -> tuple[np.ndarray, np.ndarray]:
    """The unit circle [sides, 2], and the triangles of wall and caps over low ring, high ring, two centres."""
    angle = np.arange(sides) * (2 * np.pi / sides)
    low = np.arange(sides)
    after, high = np.roll(low, -1), low + sides
    wall = np.concatenate([np.stack([low, after, after + sides], 1), np.stack([low, after + sides, high], 1)])
    caps = [np.stack([np.full(sides, 2 * sides + k), low + k * sides, after + k * sides], 1) for k in (0, 1)]
    return np.stack([np.cos(angle), np.sin(angle)], 1), np.concatenate([wall, *caps])


def leaves(
    rng: np.random.Generator,
    centres: np.ndarray,
    radii: np.ndarray,
    count: int,
    size: float,
    raw_id: int,
    reflectivity: float,
) -> Mesh:
    """Random small facets in ellipsoidal clumps: porous foliage. centres, radii: [C, 3]; count facets in all."""
    which = rng.integers(len(centres), size=count)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    # The cube root fills the ball evenly; the lower power moves leaves outwards, where the light is.
    place = centres[which] + radii[which] * direction * rng.random((count, 1)) ** 0.25
    shape = rng.normal(scale=size * 0.6, size=(count, 3, 3))
    shade = reflectivity * rng.uniform(0.6, 1.3, count)
    return make(place[:, None] + shape, raw_id, shade)
