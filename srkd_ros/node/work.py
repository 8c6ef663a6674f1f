# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Work: a loaded student with the settings in force. It turns a PointCloud2 into labels and into the output clouds."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srkd_ros import pointcloud2
from srkd_ros.errors import CloudError
from srkd_ros.labels import UNLABELLED
from srkd_ros.node.drift import InputMonitor
from srkd_ros.node.frames import Pose, mounting
from srkd_ros.node.settings import Settings
from srkd_ros.runtimes import choose_device
from srkd_ros.segmenter import Segmenter

_FLOATS = {7: "f4", 8: "f8"}  # sensor_msgs/PointField FLOAT32, FLOAT64


@dataclass
class Labelled:
    """A cloud's labels after `min_confidence`, and how they came about."""

    labels: np.ndarray  # uint8 [N]
    confidence: np.ndarray  # float32 [N]
    timings: dict[str, float]  # stage -> milliseconds
    voxels: int
    intensity_field: str | None


@dataclass(frozen=True)
class Work:
    """Never changed once made: the worker takes it as a whole, so model and settings always fit each other."""

    segmenter: Segmenter
    settings: Settings
    monitor: InputMonitor
    pose: Pose | None  # from the sensor's (or the target) frame to the one of training
    hidden: np.ndarray = field(repr=False)  # bool [256], the classes that `filtered` leaves out

    @classmethod
    def make(cls, segmenter: Segmenter, settings: Settings) -> Work:
        """ConfigError if the settings do not fit the student, such as an unknown class in filter_classes."""
        hidden = np.zeros(256, bool)
        for name in settings.filter_classes:
            hidden[segmenter.labels.index(name)] = True
        pose = mounting(segmenter.manifest, settings.sensor_rpy, settings.sensor_height)
        return cls(segmenter, settings, InputMonitor(segmenter.manifest), pose, hidden)

    def label(self, message: Any, to_target: Pose | None) -> Labelled:
        """Label a PointCloud2. `to_target` turns the message's frame into the target frame, if there is one."""
        start = time.perf_counter()
        settings, segmenter = self.settings, self.segmenter
        features = segmenter.manifest.preprocessing.features
        cloud = pointcloud2.read(message, settings.intensity_field if "intensity" in features else "")
        others = [name for name in features if name not in ("x", "y", "z", "intensity")]
        extra = {name: pointcloud2.read_field(message, name).astype(np.float32) for name in others}
        xyz = cloud.xyz
        for pose in (to_target, self.pose):
            if pose is not None:
                xyz = pose(xyz)
        timings = {"read": (time.perf_counter() - start) * 1e3}
        result = segmenter(xyz, cloud.intensity, extra or None, cloud.intensity_full_scale)
        timings.update(result.timings)

        start = time.perf_counter()
        scale = segmenter.resolved_intensity_scale or 1.0
        if len(xyz):
            self.monitor.add(xyz, cloud.intensity, scale)
        labels = result.labels
        if settings.min_confidence > 0:
            labels = np.where(result.confidence < settings.min_confidence, np.uint8(UNLABELLED), labels)
        timings["check"] = (time.perf_counter() - start) * 1e3
        return Labelled(labels, result.confidence, timings, result.voxels, cloud.intensity_field)

    def segmented(self, message: Any, labelled: Labelled, to_target: Pose | None) -> Any:
        """The cloud for `segmented`; in the target frame if the settings say so."""
        palette = self.segmenter.labels.palette
        keep = self.settings.keep_input_fields
        out = pointcloud2.write(message, labelled.labels, labelled.confidence, palette, keep)
        if to_target is not None and self.settings.transform_output:
            move(out, to_target)
            out.header = copy.deepcopy(out.header)  # it is the input's own
            out.header.frame_id = self.settings.target_frame
        return out

    def filtered(self, message: Any, labelled: Labelled) -> Any:
        """The input without the classes in `filter_classes`; points without a label stay."""
        return pointcloud2.select(message, ~self.hidden[labelled.labels])


def move(message: Any, pose: Pose) -> None:
    """Transform the x, y and z of a cloud in place; CloudError if one is an integer, which would cut it off."""
    points = message.width * message.height
    columns = []
    for name in ("x", "y", "z"):
        f = next(f for f in message.fields if f.name == name)
        if f.datatype not in _FLOATS:
            raise CloudError(
                f"transform_output: field {name!r} of the cloud holds integers, which cannot take moved coordinates; "
                "set keep_input_fields to false"
            )
        dtype = np.dtype(_FLOATS[f.datatype]).newbyteorder(">" if message.is_bigendian else "<")
        columns.append(np.ndarray(points, dtype, message.data, f.offset, message.point_step))
    moved = pose(np.stack(columns, 1).astype(np.float32))
    for i, column in enumerate(columns):
        column[:] = moved[:, i]


def timed(stage: str, timings: dict[str, float], function: Callable[[], Any]) -> Any:
    """Call a function and add its milliseconds to a stage."""
    start = time.perf_counter()
    result = function()
    timings[stage] = timings.get(stage, 0.0) + (time.perf_counter() - start) * 1e3
    return result


def load(path: Path, runtime: str, device: str, precision: str, settings: Settings) -> Work:
    """Load a student and label a made-up cloud: on a GPU of full size, on a CPU just to start its threads."""
    with _own_stream(choose_device(device)):
        segmenter = Segmenter.load(path, runtime, device, settings.intensity_scale, precision)
        work = Work.make(segmenter, settings)
        if segmenter.device.type == "cpu":
            segmenter.warm_up(5_000)
        else:
            for _ in range(2):  # the second of a size is recorded, which the first live cloud need not wait for
                segmenter.warm_up()
    return work


@contextlib.contextmanager
def _own_stream(device: torch.device) -> Iterator[None]:
    """On a GPU clouds of the student that still runs do not queue up behind the trials of the new one."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    with torch.cuda.device(device), torch.cuda.stream(stream):
        yield
    stream.synchronize()
