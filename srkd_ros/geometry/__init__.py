# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Integers first: voxels, space-filling curves, neighbour tables and patches, as torch operations on any device."""

from srkd_ros.geometry.levels import Geometry, GeometrySpec, Level, LevelSpec, build_geometry
from srkd_ros.geometry.voxels import Voxels, voxel_mean, voxelize, voxels_from_grid

__all__ = [
    "Geometry",
    "GeometrySpec",
    "Level",
    "LevelSpec",
    "Voxels",
    "build_geometry",
    "voxel_mean",
    "voxelize",
    "voxels_from_grid",
]
