# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What the published recipes do to a cloud before the network: it has to travel with their weights."""

from __future__ import annotations

from dataclasses import dataclass

from srkd_ros.errors import ConfigError
from srkd_ros.labels import LabelSet
from srkd_ros.student import Preprocessing

# The originals use every point. Here, a point nearer than a centimetre is an empty return that the driver put at the
# origin, and 200 m is beyond what the sensors of these datasets see.
_MIN_RANGE, _MAX_RANGE = 0.01, 200.0
_XYZI = ("x", "y", "z", "intensity")
_COLOR_NORMAL = ("red", "green", "blue", "nx", "ny", "nz")


@dataclass(frozen=True)
class Recipe:
    """Preprocessing of one dataset in Pointcept's and LitePT's configurations."""

    name: str
    labels: str  # the shipped label set of its classes
    preprocessing: Preprocessing
    intensity_scale: float  # raw value of the dataset that counts as 1.0
    notes: str = ""
    sensor_height: float | None = None  # metres from the ground to the origin of the points; None: not on streets


def _lidar(name: str, labels: str, intensity_scale: float, sensor_height: float, notes: str = "") -> Recipe:
    preprocessing = Preprocessing(0.05, _MIN_RANGE, _MAX_RANGE, _XYZI, voxel_feature="first")
    return Recipe(name, labels, preprocessing, intensity_scale, notes, sensor_height)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        _lidar(
            "nuscenes", "nuscenes", 255.0, 1.84, "trained on intensity / 255, single sweeps, points in the sensor frame"
        ),
        _lidar("semantickitti", "semantickitti", 1.0, 1.73, "trained on intensity as stored, 0 to 1"),
        _lidar(
            "waymo",
            "waymo22",
            1.0,
            0.0,
            "trained on tanh(intensity) and points in the vehicle frame, z = 0 at the ground: tell the node its "
            "sensor_height",
        ),
        Recipe(
            "scannet",
            "scannet20",
            Preprocessing(0.02, 0.0, 1000.0, _COLOR_NORMAL, voxel_feature="first"),
            1.0,
            "colour in 0..1 and unit normals, origin in the middle of a room's floor; no intensity",
        ),
    )
}


def recipe_for(name: str, labels: LabelSet, in_channels: int) -> Recipe:
    """The recipe of this name, or for "auto" the label set's; ConfigError if there is none or its features do not fit.

    A head trained on another dataset's classes needs the recipe named.
    """
    if name == "auto":
        name = next((r.name for r in RECIPES.values() if r.labels == labels.name), "auto")
    if name not in RECIPES:
        said = f"no recipe goes with label set {labels.name!r}" if name == "auto" else f"no recipe {name!r}"
        raise ConfigError(f"{said}; name one with --recipe: {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    features = recipe.preprocessing.features
    if len(features) != in_channels:
        fitting = [r.name for r in RECIPES.values() if len(r.preprocessing.features) == in_channels]
        hint = f"; --recipe {' or '.join(fitting)} would fit" if fitting else ""
        raise ConfigError(
            f"recipe {name!r} has {len(features)} input features ({', '.join(features)}), the checkpoint's stem takes "
            f"{in_channels}{hint}"
        )
    return recipe
