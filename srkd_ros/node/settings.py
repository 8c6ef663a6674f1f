# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The node's settings: every parameter with its default and description, checked, and which model file it names."""

from __future__ import annotations

import difflib
import itertools
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srkd_ros.errors import ConfigError, ModelError

MODEL_SUFFIXES = (".safetensors", ".onnx")
LISTED = 10_000  # entries of a folder that are looked at for the names of models


@dataclass(frozen=True)
class Parameter:
    """One parameter: default, description, bounds of a number, and whether it is fixed at start or while configured."""

    default: Any
    description: str
    bounds: tuple[float, float] | None = None
    fixed: bool = False  # set at start only
    configured: bool = False  # takes effect when the node is configured


PARAMETERS: dict[str, Parameter] = {
    "model": Parameter(
        "",
        "Student file (.safetensors or .onnx). At start any path; while running a name inside model_dir, "
        "loaded at once: a bad file is refused and the old model runs on.",
    ),
    "model_dir": Parameter(
        "",
        "Folder of the models that may be chosen while running. Empty: the folder of the model given at start.",
        fixed=True,
    ),
    "runtime": Parameter("auto", "What runs the network: auto, torch, onnx or tensorrt.", configured=True),
    "device": Parameter("auto", "auto (CUDA if there is one), cpu, cuda or cuda:N.", configured=True),
    "precision": Parameter(
        "auto",
        "Of the matrix products in torch: auto (fp32 on CPUs, fp16 on CUDA), fp32, bf16 or fp16. An .onnx has its own.",
        configured=True,
    ),
    "threads": Parameter(
        0,
        "CPU threads for the network; 0 leaves one core to ROS where there are four or more.",
        (0, 256),
        configured=True,
    ),
    "intensity_field": Parameter(
        "auto",
        "Field to read intensity from; auto takes the usual names (intensity, reflectivity, i, ...), empty none.",
    ),
    "intensity_scale": Parameter(
        "auto",
        "Raw intensity that counts as 1.0, such as 1, 255 or 65535; auto finds it from the field and the values.",
    ),
    "keep_input_fields": Parameter(False, "Whether `segmented` carries the input's own fields before the labels."),
    "filter_classes": Parameter(
        [""], "Names of the classes that `filtered` leaves out, such as [car, person]. [''] leaves out none."
    ),
    "min_confidence": Parameter(0.0, "Points with less confidence become 255, unlabelled; 0 keeps all.", (0.0, 1.0)),
    "target_frame": Parameter(
        "", "Upright frame that clouds are turned to before labelling, by tf2; empty: no tf2.", configured=True
    ),
    "transform_output": Parameter(
        False, "Whether `segmented` is published in the target frame instead of the input's own."
    ),
    "sensor_height": Parameter(
        -1.0,
        "Height of the sensor (or the target frame) above the ground, metres; negative: as in training.",
        (-1.0, 100.0),
    ),
    "sensor_rpy": Parameter(
        [0.0, 0.0, 0.0], "Roll, pitch, yaw in radians that turn the sensor's frame upright, for mountings without tf2."
    ),
    "autostart": Parameter(
        True, "Configure and activate at start; false leaves that to a lifecycle manager.", fixed=True
    ),
}


@dataclass(frozen=True)
class Settings:
    """Checked values of the parameters that may change while the node runs."""

    intensity_field: str
    intensity_scale: str | float
    keep_input_fields: bool
    filter_classes: tuple[str, ...]
    min_confidence: float
    target_frame: str
    transform_output: bool
    sensor_height: float
    sensor_rpy: tuple[float, float, float]


def check(values: Mapping[str, Any]) -> Settings:
    """Values of all parameters, as ROS gives them, to Settings; ConfigError names the first that is wrong."""
    for name in ("keep_input_fields", "transform_output", "autostart"):
        if not isinstance(values[name], bool):
            raise ConfigError(f"{name}: {values[name]!r} is neither true nor false")
    for name in ("model", "model_dir", "runtime", "device", "precision", "intensity_field", "target_frame"):
        if not isinstance(values[name], str):
            raise ConfigError(f"{name}: {values[name]!r} is no text; write it in quotes")
    _number("threads", values["threads"])
    return Settings(
        intensity_field=values["intensity_field"],
        intensity_scale=_scale(values["intensity_scale"]),
        keep_input_fields=values["keep_input_fields"],
        filter_classes=_names(values["filter_classes"]),
        min_confidence=_number("min_confidence", values["min_confidence"]),
        target_frame=values["target_frame"],
        transform_output=values["transform_output"],
        sensor_height=_number("sensor_height", values["sensor_height"]),
        sensor_rpy=_rpy(values["sensor_rpy"]),
    )


def unknown_names(given: Iterable[str]) -> list[str]:
    """A line for each given parameter that the node does not have; ROS ignores it without a word."""
    lines = []
    for name in sorted(given):
        if name not in PARAMETERS and name != "use_sim_time" and not name.startswith("qos_overrides."):
            near = difflib.get_close_matches(name, PARAMETERS, 1)
            lines.append(f"unknown parameter {name!r} is ignored" + (f"; did you mean {near[0]!r}?" if near else ""))
    return lines


def model_path(value: str, given: str, model_dir: str) -> Path:
    """The file that the parameter `model` means.

    `given` is its value at start: whoever starts the node may name any path. Any other value came over the network and
    is the name of a file inside `model_dir` (empty: the folder of `given`). ModelError if there is none.
    """
    if not value:
        raise ModelError("model: not set; start with -p model:=student.safetensors (with ros2 launch: model:=FILE)")
    start = Path(given).expanduser()
    folder = Path(model_dir).expanduser() if model_dir else start.parent if given else None
    if value != given:
        return _inside(value, folder)
    if folder is not None and not start.is_absolute() and not start.is_file() and (folder / start).is_file():
        return folder / start
    return start


def _inside(name: str, model_dir: Path | None) -> Path:
    """Engine files run what their maker compiled, so they are never taken by name; the runtime builds its own."""
    if model_dir is None:
        raise ModelError("model: no model_dir was given at start, so no model can be chosen by name")
    if Path(name).suffix not in MODEL_SUFFIXES:
        raise ModelError(f"model: {name!r} is neither a .safetensors nor an .onnx file")
    folder = model_dir.resolve()
    path = (folder / name).resolve()
    if Path(name).is_absolute() or folder not in path.parents:
        raise ModelError(f"model: {name!r} lies outside of model_dir {model_dir}")
    if not path.is_file():
        there = _models(path.parent if path.parent.is_dir() else folder, folder)
        raise ModelError(f"model: no {name!r} in {model_dir}; there are {', '.join(there[:20]) or 'no models'}")
    return path


def _models(where: Path, folder: Path) -> list[str]:
    """Names of the models in one folder and not below it, which may be all of a disk; a reader waits for the answer."""
    try:
        with os.scandir(where) as entries:
            names = [entry.name for entry in itertools.islice(entries, LISTED)]
    except OSError:
        return []
    return sorted((where / n).relative_to(folder).as_posix() for n in names if Path(n).suffix in MODEL_SUFFIXES)


def thread_count(setting: float, cores: int) -> int:
    """Threads for the network: as set, else all cores, less one for ROS where there are four or more."""
    return int(setting) if setting > 0 else cores - 1 if cores >= 4 else max(cores, 1)


def _number(name: str, value: Any) -> float:
    bounds = PARAMETERS[name].bounds
    assert bounds is not None
    whole = isinstance(PARAMETERS[name].default, int)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not bounds[0] <= value <= bounds[1]
        or (whole and value != int(value))
    ):
        raise ConfigError(f"{name}: {value!r} is not a {'whole ' * whole}number from {bounds[0]:g} to {bounds[1]:g}")
    return float(value)


def _scale(value: Any) -> str | float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if value != "auto" and not (number > 0 and math.isfinite(number)):
        raise ConfigError(f"intensity_scale: {value!r} is neither 'auto' nor a positive number such as 255")
    return "auto" if value == "auto" else number


def _names(value: Any) -> tuple[str, ...]:
    if value is None:  # what ROS makes of an empty list
        return ()
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise ConfigError(f"filter_classes: {value!r} is no list of class names")
    return tuple(v.strip() for v in value if v.strip())


def _rpy(value: Any) -> tuple[float, float, float]:
    try:
        roll, pitch, yaw = (float(v) for v in value)
    except (TypeError, ValueError):
        roll = pitch = yaw = math.nan
    if not all(math.isfinite(v) for v in (roll, pitch, yaw)):
        raise ConfigError(f"sensor_rpy: {value!r} is not three angles in radians")
    return roll, pitch, yaw
