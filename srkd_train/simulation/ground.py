# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The ground: a painted grid in street coordinates (s along, d to the left, h up), and the warp that bends streets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from srkd_train.simulation.mesh import Mesh, join, make, quads

ROAD, PARKING, SIDEWALK, OTHER_GROUND, MARKING, TERRAIN = 40, 44, 48, 49, 60, 72
REFLECTIVITY = {ROAD: 0.16, PARKING: 0.2, SIDEWALK: 0.3, OTHER_GROUND: 0.25, MARKING: 0.65, TERRAIN: 0.42}
CURB = 0.12  # metres


@dataclass(frozen=True)
class Warp:
    """Street coordinates to the world: the centre line swings and climbs gently (radius of curvature over 100 m)."""

    swing: float  # metres
    wavelength: float  # metres
    phase: float
    climb: float  # metres over the same wavelength
    cross_fall: float  # metres per metre

    def height(self, s: np.ndarray, d: np.ndarray) -> np.ndarray:
        k = 2 * np.pi / self.wavelength
        rolling = np.maximum(np.abs(d) - 12.0, 0.0) * 0.03 * np.sin(0.045 * s + 2.0 * self.phase + np.sign(d))
        return self.climb * np.sin(k * s + 1.7 * self.phase) + self.cross_fall * d + rolling

    def heading(self, s: np.ndarray) -> np.ndarray:
        k = 2 * np.pi / self.wavelength
        return np.arctan(self.swing * k * np.cos(k * s + self.phase))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Street points [..., 3] (s, d, h) to world points, float64."""
        s, d, h = np.moveaxis(np.asarray(points, np.float64), -1, 0)
        k = 2 * np.pi / self.wavelength
        yaw = self.heading(s)
        x = s - d * np.sin(yaw)
        y = self.swing * np.sin(k * s + self.phase) + d * np.cos(yaw)
        return np.stack([x, y, h + self.height(s, d)], -1)

    def mesh(self, mesh: Mesh) -> Mesh:
        return replace(mesh, triangles=self(mesh.triangles).astype(np.float32))


class Ground:
    """Rectangles painted one over another; turned into cells of one label and height each, with curbs between."""

    def __init__(self, s: tuple[float, float], d: tuple[float, float], label: int, height: float = 0.0) -> None:
        self.extent = (*s, *d)
        self.patches: list[tuple[float, float, float, float, int, float]] = [(*s, *d, label, height)]

    def paint(self, s: tuple[float, float], d: tuple[float, float], label: int, height: float = 0.0) -> None:
        self.patches.append((min(s), max(s), min(d), max(d), label, height))

    def mesh(self, rng: np.random.Generator, step: float = 2.5) -> Mesh:
        """Cells no longer than step, so that the warp shows; rough where the label is terrain."""
        s0, s1, d0, d1 = self.extent
        patch = np.array(self.patches)
        s_lines = np.unique(np.clip(np.concatenate([patch[:, :2].ravel(), np.arange(s0, s1, step)]), s0, s1).round(3))
        d_lines = np.unique(np.clip(np.concatenate([patch[:, 2:4].ravel(), np.arange(d0, d1, step)]), d0, d1).round(3))
        s_mid, d_mid = (s_lines[1:] + s_lines[:-1]) / 2, (d_lines[1:] + d_lines[:-1]) / 2
        label = np.empty((len(s_mid), len(d_mid)), np.int64)
        height = np.empty(label.shape)
        for a, b, c, d, name, z in self.patches:
            rows, columns = slice(*np.searchsorted(s_mid, (a, b))), slice(*np.searchsorted(d_mid, (c, d)))
            label[rows, columns], height[rows, columns] = name, z

        s_grid, d_grid = np.meshgrid(s_lines, d_lines, indexing="ij")
        phase = rng.uniform(0, 6.28, 4)
        rough = 0.04 * np.sin(0.9 * s_grid + phase[0]) * np.sin(0.8 * d_grid + phase[1])
        rough = rough + 0.05 * np.sin(0.31 * s_grid + phase[2]) + 0.03 * rng.normal(size=s_grid.shape)
        share = np.where(label == TERRAIN, 1.0, 0.04)
        corner = np.empty((*label.shape, 4, 3))  # corners in order: (s0,d0) (s1,d0) (s1,d1) (s0,d1)
        for i, (p, q) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1))):
            cut = (slice(p, p + label.shape[0]), slice(q, q + label.shape[1]))
            corner[..., i, 0], corner[..., i, 1] = s_grid[cut], d_grid[cut]
            corner[..., i, 2] = height + share * rough[cut]

        shade = np.zeros(100)
        for name, value in REFLECTIVITY.items():
            shade[name] = value
        wear = rng.uniform(0.8, 1.2, label.shape)
        top = make(quads(corner.reshape(-1, 4, 3)), 0, np.repeat((shade[label] * wear).ravel(), 2))
        top = replace(top, raw_ids=np.repeat(label.ravel(), 2).astype(np.uint32))
        return join([top, *(self._risers(label, height, corner, axis) for axis in (0, 1))])

    @staticmethod
    def _risers(label: np.ndarray, height: np.ndarray, corner: np.ndarray, axis: int) -> Mesh:
        """Upright quads between neighbouring cells of different height or label, in the higher cell's label."""
        low, high = ((slice(None, -1), slice(None)), (slice(1, None), slice(None)))
        edge_a, edge_b = (1, 2), (0, 3)  # s: the far side of one cell meets the near side of the next
        if axis == 1:
            low, high = low[::-1], high[::-1]
            edge_a, edge_b = (3, 2), (0, 1)
        step = (label[low] != label[high]) | (height[low] != height[high])
        a, b = corner[low][step], corner[high][step]
        wall = np.stack([a[:, edge_a[0]], a[:, edge_a[1]], b[:, edge_b[1]], b[:, edge_b[0]]], 1)
        name = np.where(height[low] >= height[high], label[low], label[high])[step]
        mesh = make(quads(wall), 0, 0.3)
        return replace(mesh, raw_ids=np.repeat(name, 2).astype(np.uint32))
