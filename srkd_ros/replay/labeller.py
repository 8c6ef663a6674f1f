# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Where the labels of a cloud come from: a student that runs here, or what the live node published."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from srkd_ros import pointcloud2
from srkd_ros.errors import CloudError
from srkd_ros.replay.matching import ByStamp
from srkd_ros.replay.messages import CLOUD_TYPE, decode, typestore
from srkd_ros.replay.source import CloudRecord
from srkd_ros.replay.storage import Storage
from srkd_ros.segmenter import Segmenter


@dataclass
class Labelled:
    """The labels of one cloud and how long they took."""

    labels: np.ndarray  # uint8 [N]
    confidence: np.ndarray  # float32 [N]
    timings: dict[str, float]  # stage -> ms
    voxels: int = 0
    encoded: bytes | memoryview = b""  # the `segmented` message, serialised


class Labeller(Protocol):
    def __call__(self, cloud: CloudRecord, message: Any, points: Any) -> Labelled | None:
        """`message` is the cloud's PointCloud2, `points` what pointcloud2.read made of it. None: it has no labels."""
        ...


class Offline:
    """Labels with a student in this process, every cloud, as fast as it goes."""

    def __init__(self, segmenter: Segmenter, encode: bool = True) -> None:
        self.segmenter = segmenter
        self._encode = encode
        features = segmenter.manifest.preprocessing.features
        self._extra = [name for name in features if name not in ("x", "y", "z", "intensity")]

    def __call__(self, cloud: CloudRecord, message: Any, points: Any) -> Labelled:
        begin = time.perf_counter()
        extra = {name: pointcloud2.read_field(message, name).astype(np.float32) for name in self._extra}
        result = self.segmenter(points.xyz, points.intensity, extra, points.intensity_full_scale)
        labelled = Labelled(result.labels, result.confidence, dict(result.timings), result.voxels)
        if self._encode:
            start = time.perf_counter()
            out = pointcloud2.write(message, result.labels, result.confidence, self.segmenter.labels.palette)
            labelled.encoded = typestore().serialize_cdr(out, CLOUD_TYPE)
            labelled.timings["encode"] = (time.perf_counter() - start) * 1e3
        labelled.timings["total"] = (time.perf_counter() - begin) * 1e3
        return labelled


class Live:
    """Labels that the node published and a recorder kept, matched by stamp. Clouds that were dropped have none."""

    def __init__(self, recording: Storage, topic: str, latency: dict[int, float]) -> None:
        """`latency`: stamp -> ms from publishing to receiving."""
        self.topic, self.latency = topic, latency
        self._find = ByStamp(recording, topic)

    def __call__(self, cloud: CloudRecord, message: Any, points: Any) -> Labelled | None:
        record = self._find(cloud.stamp)
        if record is None:
            return None
        out = decode(record)
        labels = pointcloud2.read_field(out, "label").astype(np.uint8)
        if len(labels) != len(points.xyz):
            raise CloudError(f"{self.topic}: {len(labels)} labels came back for a cloud of {len(points.xyz)} points")
        confidence = pointcloud2.read_field(out, "confidence").astype(np.float32)
        timings = {"end_to_end": self.latency[cloud.stamp]} if cloud.stamp in self.latency else {}
        return Labelled(labels, confidence, timings)
