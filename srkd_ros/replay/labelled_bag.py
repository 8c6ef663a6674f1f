# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The labelled bag: rosbag2 (mcap) in parts, whole at every checkpoint, so that an interrupted run can go on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from srkd_ros.labels import LabelSet
from srkd_ros.replay.messages import CLOUD_TYPE
from srkd_ros.replay.results import replacing

LABEL_INFO_TYPE = "vision_msgs/msg/LabelInfo"
_METADATA_VERSION: Literal[8] = 8  # the newest that Humble's and Jazzy's rosbag2 both read
_MAX_QOS_TIME = QosTime(9223372036, 854775807)


@cache
def _typestore() -> Any:
    """ROS 2 Jazzy's types and vision_msgs/LabelInfo, which tells viewers the names of the classes."""
    store = get_typestore(Stores.ROS2_JAZZY)
    vision_class = "uint16 class_id\nstring class_name\n"
    label_info = "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n"
    store.register(get_types_from_msg(vision_class, "vision_msgs/msg/VisionClass"))
    store.register(get_types_from_msg(label_info, LABEL_INFO_TYPE))
    return store


class LabelledBag:
    """Writes `folder`/labelled. `parts` is the JSON-able state that a resumed run hands to a new LabelledBag."""

    def __init__(self, folder: Path, label_sets: Mapping[str, LabelSet], parts: Sequence[dict[str, Any]] = ()) -> None:
        """`label_sets`: cloud topic -> its classes. `parts`: of the run that is resumed; later files are dropped."""
        self.path = folder / "labelled"
        self.parts = list(parts)
        self._label_sets = label_sets
        self._scratch = folder / ".labelled"
        shutil.rmtree(self._scratch, ignore_errors=True)
        self.path.mkdir(exist_ok=True)
        kept = {part["relative_file_paths"][0] for part in self.parts}
        for file in self.path.glob("*.mcap"):
            if file.name not in kept:
                file.unlink()
        self._writer: Writer | None = None
        self._connections: dict[str, Any] = {}

    def write(self, topic: str, time: int, data: bytes | memoryview) -> None:
        """Append a serialised (CDR) PointCloud2 at log time `time` in ns."""
        if self._writer is None:
            self._begin(time)
        assert self._writer is not None
        self._writer.write(self._connections[topic], time, data)

    def _begin(self, time: int) -> None:
        self._writer = Writer(
            self._scratch / f"labelled_{len(self.parts)}", version=_METADATA_VERSION, storage_plugin=StoragePlugin.MCAP
        )
        self._writer.open()
        for topic, labels in self._label_sets.items():
            self._connections[topic] = self._writer.add_connection(topic, CLOUD_TYPE, typestore=_typestore())
            info = self._writer.add_connection(
                f"{topic.removesuffix('/segmented')}/label_info".replace("//", "/"),
                LABEL_INFO_TYPE,
                typestore=_typestore(),
                offered_qos_profiles=[_transient_local()],
            )
            if not self.parts:
                self._writer.write(info, time, _typestore().serialize_cdr(_label_info(labels, time), LABEL_INFO_TYPE))

    def checkpoint(self) -> list[dict[str, Any]]:
        """Close the part in progress, so that the bag on disk is whole. Returns `parts`."""
        if self._writer is not None:
            self._writer.close()
            folder, self._writer = self._writer.path, None
            part = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
            file = part["relative_file_paths"][0]
            os.replace(folder / file, self.path / file)
            shutil.rmtree(self._scratch, ignore_errors=True)
            self.parts.append(part)
            with replacing(self.path / "metadata.yaml") as stream:
                yaml.safe_dump({"rosbag2_bagfile_information": join(self.parts)}, stream, sort_keys=False)
        return self.parts

    close = checkpoint


class NoBag:
    """Stands in for the labelled bag with --no-bag."""

    parts: tuple[()] = ()

    def write(self, topic: str, time: int, data: bytes | memoryview) -> None: ...

    def checkpoint(self) -> list[dict[str, Any]]:
        return []

    close = checkpoint


def join(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The metadata of one recording from those of its parts."""
    start = min(p["starting_time"]["nanoseconds_since_epoch"] for p in parts)
    end = max(p["starting_time"]["nanoseconds_since_epoch"] + p["duration"]["nanoseconds"] for p in parts)
    topics: dict[str, Any] = {}
    for part in parts:
        for topic in part["topics_with_message_count"]:
            name = topic["topic_metadata"]["name"]
            before = topics[name]["message_count"] if name in topics else 0
            topics[name] = {**topic, "message_count": before + topic["message_count"]}
    return {
        **parts[0],
        "relative_file_paths": [p["relative_file_paths"][0] for p in parts],
        "duration": {"nanoseconds": end - start},
        "starting_time": {"nanoseconds_since_epoch": start},
        "message_count": sum(p["message_count"] for p in parts),
        "topics_with_message_count": list(topics.values()),
        "files": [file for p in parts for file in p["files"]],
    }


def _label_info(labels: LabelSet, time: int) -> Any:
    types = _typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=time // 10**9, nanosec=time % 10**9)
    vision_class = types["vision_msgs/msg/VisionClass"]
    return types[LABEL_INFO_TYPE](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=""),
        class_map=[vision_class(i, name) for i, name in enumerate(labels.names)] + [vision_class(255, "unlabelled")],
        threshold=0.0,
    )


def _transient_local() -> Qos:
    return Qos(
        QosHistory.KEEP_LAST,
        1,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL,
        _MAX_QOS_TIME,
        _MAX_QOS_TIME,
        QosLiveliness.AUTOMATIC,
        _MAX_QOS_TIME,
        False,
    )
