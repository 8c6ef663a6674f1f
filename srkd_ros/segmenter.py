# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Segmenter: arrays in, labels out. The whole of a student's use, without ROS."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srkd_ros.errors import CloudError, ModelError
from srkd_ros.geometry import build_geometry
from srkd_ros.intensity import IntensityScale
from srkd_ros.labels import UNLABELLED, LabelSet
from srkd_ros.preprocess import NetworkInput, network_input
from srkd_ros.runtimes import Runtime, open_runtime
from srkd_ros.student import Manifest, file_hash

STAGES = ("preprocess", "geometry", "network", "postprocess")


@dataclass
class Segmentation:
    """Labels of a cloud, one to one with its points."""

    labels: np.ndarray  # uint8 [N], class id; 255 where the point is not finite or out of the model's range
    confidence: np.ndarray  # float32 [N], softmax probability of the label; 0 where there is none
    timings: dict[str, float]  # stage -> milliseconds
    voxels: int  # voxels that the network saw


class Segmenter:
    """Labels clouds with a student: `Segmenter.load("student.safetensors")(xyz, intensity)`."""

    def __init__(self, runtime: Runtime, path: Path, model_hash: str, intensity_scale: str | float = "auto") -> None:
        self._runtime = runtime
        self._intensity = IntensityScale(intensity_scale)
        self.path = path
        self.model_hash = model_hash

    @classmethod
    def load(
        cls,
        path: str | Path,
        runtime: str = "auto",
        device: str = "auto",
        intensity_scale: str | float = "auto",
        precision: str = "auto",
    ) -> Segmenter:
        """Load a student file (.safetensors) or its exported graph (.onnx).

        `intensity_scale` is the raw intensity that counts as 1.0, or "auto" (see IntensityScale); `precision` is that
        of matrix products: fp32, bf16, fp16, or "auto" for the device's usual one (see open_runtime).

        Raises ModelError for a file that cannot be used, ConfigError for a setting, MissingPackageError for a runtime
        that is not installed.
        """
        return cls(open_runtime(path, runtime, device, precision), Path(path), file_hash(path), intensity_scale)

    @property
    def manifest(self) -> Manifest:
        return self._runtime.manifest

    @property
    def labels(self) -> LabelSet:
        return self.manifest.labels

    @property
    def runtime(self) -> str:
        return self._runtime.name

    @property
    def runtime_reason(self) -> str:
        return self._runtime.reason

    @property
    def device(self) -> torch.device:
        return self._runtime.device

    @property
    def precision(self) -> str:
        """Of the matrix products: fp32, bf16 or fp16."""
        return self._runtime.precision

    @property
    def intensity_scale(self) -> str | float:
        """The setting: "auto" or the raw intensity that counts as 1.0."""
        return self._intensity.setting

    @intensity_scale.setter
    def intensity_scale(self, setting: str | float) -> None:
        self._intensity = IntensityScale(setting)

    @property
    def resolved_intensity_scale(self) -> float | None:
        """The scale in use; None while "auto" has seen no cloud."""
        return self._intensity.resolved

    def reset_stream(self) -> None:
        """Another sensor or bag begins: forget the intensity scale that "auto" found."""
        self._intensity.reset()

    def warm_up(self, points: int = 120_000) -> None:
        """Label a made-up cloud, so that the first real one does not pay for allocations and kernel selection.

        It has no more points than the runtime is made for. ModelError if the network gives no numbers.
        """
        limit = self._runtime.points
        xyz = _room(min(points, limit or points), min(self.manifest.preprocessing.max_range, 50.0))
        zeros = np.zeros(len(xyz), np.float32)
        scale = self._intensity
        self._intensity = IntensityScale(1.0)
        try:
            result = self(xyz, zeros, dict.fromkeys(self.manifest.preprocessing.features, zeros))
            if result.voxels and not result.confidence.any():
                cure = "" if self.precision == "fp32" else f", perhaps for {self.precision}: try precision fp32"
                raise ModelError(f"{self.path}: its network computes no numbers{cure}")
        except CloudError:
            if limit is None:
                raise  # otherwise an engine's profile does not hold this cloud, which says nothing about real ones
        finally:
            self._intensity = scale

    @torch.inference_mode()
    def __call__(
        self,
        xyz: np.ndarray,
        intensity: np.ndarray | None = None,
        extra: Mapping[str, np.ndarray] | None = None,
        intensity_full_scale: float | None = None,
    ) -> Segmentation:
        """Label points [N, 3] (metres, sensor frame) with raw intensity [N] or None.

        `extra` holds further features [N] by name for models that have them (colour, normals); `intensity_full_scale`
        is that of an integer intensity field. Any N, any values: points without a prediction get 255 and confidence 0.
        CloudError if shapes do not fit or a feature of the model is missing.
        """
        clock = _Clock(self.device)
        given = self._network_input(xyz, intensity, extra, intensity_full_scale)
        clock.lap("preprocess")
        if len(given.kept) == 0:
            nothing = np.full(len(xyz), UNLABELLED, np.uint8), np.zeros(len(xyz), np.float32)
            return Segmentation(*nothing, clock.timings(), 0)

        geometry = build_geometry(given.voxels, self._runtime.geometry_spec)
        clock.lap("geometry")
        logits = self._runtime.logits(given.features, geometry)
        clock.lap("network")
        best, label = torch.softmax(logits.float(), 1).max(1)
        sound = best.isfinite()  # half precision may overflow
        best, label = best.masked_fill(~sound, 0), label.masked_fill(~sound, UNLABELLED)
        of_points = [t.index_select(0, given.voxels.point_to_voxel) for t in (label.to(torch.uint8), best)]
        labels, confidence = _spread(of_points, given.kept, len(xyz), (UNLABELLED, 0))
        clock.lap("postprocess")
        return Segmentation(labels, confidence, clock.timings(), len(logits))

    @torch.inference_mode()
    def probabilities(
        self,
        xyz: np.ndarray,
        intensity: np.ndarray | None = None,
        extra: Mapping[str, np.ndarray] | None = None,
        intensity_full_scale: float | None = None,
    ) -> np.ndarray:
        """Probabilities float32 [N, classes] of points given as to a call; zeros where there is no prediction."""
        given = self._network_input(xyz, intensity, extra, intensity_full_scale)
        probabilities = np.zeros((len(xyz), len(self.labels)), np.float32)
        if len(given.kept):
            logits = self._runtime.logits(given.features, build_geometry(given.voxels, self._runtime.geometry_spec))
            of_points = torch.softmax(logits.float(), 1).index_select(0, given.voxels.point_to_voxel)
            probabilities[given.kept.cpu().numpy()] = of_points.cpu().numpy()
        return probabilities

    def _network_input(
        self,
        xyz: np.ndarray,
        intensity: np.ndarray | None,
        extra: Mapping[str, np.ndarray] | None,
        intensity_full_scale: float | None,
    ) -> NetworkInput:
        _check(xyz, intensity)
        scaled = None if intensity is None else self._intensity(intensity, intensity_full_scale)
        return network_input(
            self._tensor(xyz),
            None if scaled is None else self._tensor(scaled),
            self.manifest.preprocessing,
            {name: self._tensor(values) for name, values in (extra or {}).items()},
            intensity_default=self.manifest.statistics.intensity.get("0.5", 0.0),
        )

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        array = np.ascontiguousarray(values, np.float32)
        if not array.flags.writeable:  # torch warns about read-only memory; a message's buffer often is
            array = array.copy()
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":  # from pageable memory the copy would keep this thread
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)


def _room(points: int, reach: float) -> np.ndarray:
    """About `points` points float32 [N, 3] of 64 beams on ground and walls: as many voxels a level as a scan has."""
    columns = max(points // 64, 1)
    generator = np.random.default_rng(0)
    elevation = np.linspace(-0.4, 0.25, 64)[:, None]
    azimuth = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    wall = generator.uniform(5, reach, 36)[(azimuth * 36 / (2 * np.pi)).astype(int)]
    ground = 1.7 / np.maximum(-np.sin(elevation), 1e-3)
    distance = np.minimum(wall, ground) + generator.normal(0, 0.02, (64, columns))
    directions = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation))
    axes = [np.broadcast_to(distance * direction, distance.shape) for direction in directions]
    return np.stack(axes, -1).reshape(-1, 3).astype(np.float32)


def _spread(values: Sequence[Tensor], kept: Tensor, count: int, fill: Sequence[int]) -> list[np.ndarray]:
    """Values [K] of the points `kept`, each as an array [count] with `fill` elsewhere."""
    if not kept.is_cuda:
        arrays = [np.full(count, f, v.numpy().dtype) for v, f in zip(values, fill, strict=True)]
        for array, of_kept in zip(arrays, values, strict=True):
            array[kept.numpy()] = of_kept.numpy()
        return arrays
    on_host = []
    for of_kept, f in zip(values, fill, strict=True):
        whole = of_kept.new_full((count,), f).index_copy_(0, kept, of_kept)
        on_host.append(torch.empty(count, dtype=whole.dtype, pin_memory=True).copy_(whole, non_blocking=True))
    torch.cuda.current_stream(kept.device).synchronize()  # once; not the device: another thread may be recording
    return [tensor.numpy().copy() for tensor in on_host]  # pinned memory is scarce, and results may be kept


class _Clock:
    """Lap times in milliseconds; every stage is present, 0 if it did not run. A GPU keeps its own: nobody waits."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[tuple[str, Any]] = [("", self._now())]

    def lap(self, stage: str) -> None:
        self._marks.append((stage, self._now()))

    def timings(self) -> dict[str, float]:
        timings = dict.fromkeys(STAGES, 0.0)
        for (_, begin), (stage, end) in itertools.pairwise(self._marks):
            if self._device.type == "cuda":
                end.synchronize()
            timings[stage] = begin.elapsed_time(end) if self._device.type == "cuda" else (end - begin) * 1e3
        return timings

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


def _check(xyz: np.ndarray, intensity: np.ndarray | None) -> None:
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        raise CloudError(f"xyz has shape {xyz.shape}; expected [N, 3]")
    if intensity is not None and intensity.shape != (len(xyz),):
        raise CloudError(f"intensity has shape {intensity.shape}; expected [{len(xyz)}], one for each point")
