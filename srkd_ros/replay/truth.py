# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Where the truth of a cloud comes from: a folder of .label files, a field of the cloud, or a topic of equal stamps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from srkd_ros.errors import DataError
from srkd_ros.labels import UNLABELLED, LabelSet
from srkd_ros.replay.matching import ByStamp
from srkd_ros.replay.messages import decode
from srkd_ros.replay.scan_folder import FolderInput
from srkd_ros.replay.source import BagInput, CloudRecord, Source
from srkd_ros.replay.truth_ids import named_label_set, read_ids

LABEL_FIELD = "label"


class Truth(Protocol):
    """Labels of clouds. `ids` says what the numbers are: "raw" (as in label files) or "class" (ids of the model)."""

    kind: str
    source: str
    ids: str
    label_set: LabelSet | None  # the one that they belong to, where a dataset.yaml says it

    def __call__(self, cloud: CloudRecord, message: Any) -> np.ndarray | None:
        """Integers [N] for the N points of the cloud, or None where this cloud has no truth."""
        ...


class NoTruth:
    kind, source, ids = "none", "", "class"
    label_set: LabelSet | None = None

    def __call__(self, cloud: CloudRecord, message: Any) -> np.ndarray | None:
        return None


class FolderTruth:
    """SemanticKITTI label files: uint32 a point, the class in the lower 16 bits. By name for a dataset folder; for a
    bag the i-th file in the order of names belongs to the i-th cloud of the topic."""

    kind = "directory"

    def __init__(self, folder: Path, ids: str = "raw") -> None:
        self.source, self.ids = str(folder), ids
        self.files = sorted(
            next((f for p in ("sequences/*/labels", "*/labels", "labels", "") if (f := _label_files(folder, p))), [])
        )
        if not self.files:
            raise DataError(f"{folder}: no .label files in it (nor in labels/ or sequences/*/labels/)")
        self.label_set = named_label_set(self.files[0].parent)
        self._by_name = {f"{f.parent.parent.name}/{f.stem}": f for f in self.files}
        stems = [f.stem for f in self.files]
        self._by_stem = dict(zip(stems, self.files, strict=True)) if len(set(stems)) == len(stems) else {}

    def __call__(self, cloud: CloudRecord, message: Any) -> np.ndarray | None:
        file = self._file(cloud)
        if file is None:
            return None
        labels = np.fromfile(file, np.uint32) & 0xFFFF
        points = int(message.height) * int(message.width)
        if len(labels) != points:
            raise DataError(f"{file}: {len(labels)} labels for a cloud of {points} points: not the truth of this input")
        return labels

    def _file(self, cloud: CloudRecord) -> Path | None:
        if cloud.name:
            return self._by_name.get(cloud.name) or self._by_stem.get(cloud.name.split("/")[-1])
        return self.files[cloud.index] if cloud.index < len(self.files) else None


class FieldTruth:
    """A field of the cloud itself."""

    kind = "field"
    label_set: LabelSet | None = None

    def __init__(self, field: str, ids: str = "class") -> None:
        self.source, self.ids = field, ids

    def __call__(self, cloud: CloudRecord, message: Any) -> np.ndarray | None:
        return read_ids(message, self.source, f"--truth {self.source}")


class TopicTruth:
    """A PointCloud2 topic of the same bag with the same stamps and points, and a label field; both are read in step."""

    kind = "topic"
    label_set: LabelSet | None = None

    def __init__(self, source: Source, topic: str, field: str = LABEL_FIELD, ids: str = "class") -> None:
        self.source, self.ids = topic if field == LABEL_FIELD else f"{topic}:{field}", ids
        self._bags, self.topic, self.field = source.inputs, topic, field
        self._input = -1
        self._find: ByStamp | None = None

    def __call__(self, cloud: CloudRecord, message: Any) -> np.ndarray | None:
        if self._input != cloud.input:
            bag, self._input = self._bags[cloud.input], cloud.input
            self._find = ByStamp(bag.storage, self.topic) if isinstance(bag, BagInput) else None
        record = self._find(cloud.stamp) if self._find else None
        if record is None:
            return None
        labels = read_ids(decode(record), self.field, f"--truth {self.source}")
        points = int(message.height) * int(message.width)
        if len(labels) != points:
            raise DataError(f"{self.topic}: {len(labels)} labels for a cloud of {points} points: not its truth")
        return labels


def find_truth(text: str | None, source: Source, ids: str | None = None) -> Truth:
    """The truth that `--truth` names: an existing folder, TOPIC or TOPIC:FIELD of the bag, else a field of the clouds.

    None takes the labels/ of a dataset folder where there are some. `ids` ("raw" or "class") overrides what the
    numbers are: raw in label files, class ids (as this package publishes them) in fields and topics.
    """
    if text is None:
        folders = [i.path for i in source.inputs if isinstance(i, FolderInput) and (i.path / "labels").is_dir()]
        root = folders[0] if len(folders) == 1 else folders[0].parent if folders else None
        return FolderTruth(root, ids or "raw") if root else NoTruth()
    if Path(text).is_dir():
        return FolderTruth(Path(text), ids or "raw")
    topic, _, field = text.partition(":")
    bags = [i for i in source.inputs if isinstance(i, BagInput)]
    if bags and all(topic in bag.storage.topics for bag in bags):
        return TopicTruth(source, topic, field or LABEL_FIELD, ids or "class")
    if "/" in text:
        raise DataError(f"--truth {text}: neither a folder nor a topic of {source.inputs[0].path}")
    return FieldTruth(text, ids or "class")


def translation(source: LabelSet, target: LabelSet) -> np.ndarray:
    """uint8 [256]: class ids of one label set to those of another by name; classes the other lacks become 255."""
    table = np.full(256, UNLABELLED, np.uint8)
    for i, name in enumerate(source.names):
        if name in target.names:
            table[i] = target.index(name)
    return table


def _label_files(folder: Path, pattern: str) -> list[Path]:
    return [f for p in (folder.glob(pattern) if pattern else [folder]) for f in p.glob("*.label")]
