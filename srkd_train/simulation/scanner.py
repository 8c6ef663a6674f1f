# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""One sweep of a sensor in a town: rays cast by Embree, then detection, noise and intensity. A sweep is one instant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from srkd_ros.errors import MissingPackageError
from srkd_train.simulation.mesh import GLASS, RETRO, Mesh
from srkd_train.simulation.sensors import Sensor
from srkd_train.simulation.town import Town

GLASS_RETURNS = 0.12  # share of rays on glass that come back from it at all
GRAZING = 0.01  # least cosine of incidence that counts, for intensity


@dataclass(frozen=True)
class SimulatedScan:
    """An organised sweep in the sensor frame. Rays without a return are zeros at the origin with raw id 0."""

    xyz: np.ndarray  # float32 [H, W, 3], metres
    intensity: np.ndarray  # float32 [H, W], 1.0 = white target seen squarely; retroreflectors saturate at 1
    raw_ids: np.ndarray  # uint32 [H, W], SemanticKITTI ids, instance in the upper 16 bits
    pose: np.ndarray  # float64 [4, 4], sensor to world
    time: float  # seconds

    @property
    def returned(self) -> np.ndarray:
        """bool [H, W]"""
        return np.asarray(self.xyz.any(-1))


class Caster:
    """Triangles in an Embree tree. geometry: one static mesh; build once, cast often."""

    def __init__(self, mesh: Mesh, origin: np.ndarray) -> None:
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise MissingPackageError("the simulation needs embreex: pip install 'embreex>=4.4,<5' (x86-64)") from error
        self.mesh, self.origin = mesh, origin
        self.scene: Any = EmbreeScene()
        if len(mesh):
            TriangleMesh(self.scene, np.ascontiguousarray(mesh.triangles - origin.astype(np.float32)))

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First hits: triangle int32 [R] (-1: none), range float32 [R], cosine of incidence float32 [R]."""
        rays = len(origins)
        if not len(self.mesh):
            return np.full(rays, -1, np.int32), np.full(rays, np.inf, np.float32), np.ones(rays, np.float32)
        hit = self.scene.run(origins, directions, output=True)
        normal = hit["Ng"]
        cosine = np.abs(np.einsum("ij,ij->i", normal, directions)) / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
        return hit["primID"], np.where(hit["primID"] >= 0, hit["tfar"], np.inf), cosine


def simulate_scan(
    town: Town, sensor: Sensor, time: float = 0.0, seed: int = 0, height: float = 1.73, pose: np.ndarray | None = None
) -> SimulatedScan:
    """The sweep at a time (seconds): everything that moves where it is then, the sensor at town.pose(time, height).

    pose (float64 [4, 4], sensor to world) puts the sensor elsewhere. The same arguments give the same bytes.
    """
    pose = town.pose(time, height) if pose is None else pose
    if town.caster is None:
        town.caster = Caster(town.static, np.zeros(3))
    moving = town.moving(time)
    return cast_scan([(town.caster, town.static), (Caster(moving, np.zeros(3)), moving)], sensor, pose, time, seed)


def cast_scan(
    scenes: list[tuple[Caster, Mesh]], sensor: Sensor, pose: np.ndarray, time: float = 0.0, seed: int = 0
) -> SimulatedScan:
    """The sweep of a sensor at a pose among meshes, nearest hit of all. Random numbers depend on seed alone."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x5CA7]))
    directions = sensor.directions()
    flat = directions.reshape(-1, 3)
    world = np.ascontiguousarray(flat @ pose[:3, :3].T.astype(np.float32))
    origins = np.broadcast_to(pose[:3, 3].astype(np.float32), world.shape).copy()

    rays = len(world)
    distance, cosine = np.full(rays, np.inf, np.float32), np.ones(rays, np.float32)
    raw_ids, reflectivity, kind = np.zeros(rays, np.uint32), np.zeros(rays, np.float32), np.zeros(rays, np.uint8)
    behind = rng.random(rays) > GLASS_RETURNS
    for caster, mesh in scenes:
        triangle, r, c = caster.cast(origins, world)
        nearer = np.flatnonzero(r < distance)
        hit = triangle[nearer]
        distance[nearer], cosine[nearer] = r[nearer], c[nearer]
        raw_ids[nearer], reflectivity[nearer], kind[nearer] = mesh.raw_ids[hit], mesh.reflectivity[hit], mesh.kind[hit]

    # Received power falls with the square of range; half of what a 10 % target returns at its rated range is seen.
    # The root: rough ground and walls send back far more at grazing angles than Lambert's law says.
    cosine = np.sqrt(np.maximum(cosine, GRAZING))
    shine = np.where(kind == RETRO, 20.0, 1.0).astype(np.float32) * reflectivity * cosine
    finite = np.where(np.isfinite(distance), distance, 1e6)
    margin = np.log(np.maximum(shine, 1e-6) / 0.1) + 2 * np.log(sensor.range_at_10_percent / finite)
    seen = rng.random(rays) < 1 / (1 + np.exp(-np.clip(4.0 * margin, -50, 50)))
    seen &= rng.random(rays) >= sensor.dropout
    seen &= ~((kind == GLASS) & behind) & (finite > sensor.range_min) & (finite < sensor.range_max)

    # Weak returns are noisier: the range error grows up to threefold towards the limit of detection.
    sigma = sensor.sigma * (1 + 2 * np.exp(-np.clip(margin, 0, 20)))
    measured = finite + sigma * rng.standard_normal(rays)
    gain = 1 + 0.05 * np.sin(np.arange(sensor.rings) * 12.9898)  # beams are never quite alike
    speckle = np.repeat(gain, sensor.columns) * np.exp(0.12 * rng.standard_normal(rays))
    intensity = np.clip(shine**0.8 / (1 + (finite / 60.0) ** 2) * speckle, 0.0, 1.0)

    grid = (sensor.rings, sensor.columns)
    xyz = np.where(seen[:, None], flat * measured[:, None], 0.0).astype(np.float32)
    return SimulatedScan(
        xyz.reshape(*grid, 3),
        np.where(seen, intensity, 0.0).astype(np.float32).reshape(grid),
        np.where(seen, raw_ids, 0).astype(np.uint32).reshape(grid),
        pose,
        time,
    )
