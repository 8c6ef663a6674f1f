# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""A robot's own recordings as unlabelled scans, each read when it is asked for: rosbag2 (mcap, sqlite3) and ROS 1."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2

from srkd_ros import pointcloud2
from srkd_ros.errors import CloudError, ConfigError, DataError
from srkd_ros.intensity import IntensityScale
from srkd_ros.labels import LabelSet
from srkd_ros.replay.source import CLOUD_TYPE, BagInput, decode
from srkd_ros.replay.storage import BAG_SUFFIXES, Record, Whole, open_bag
from srkd_train.datasets import Scan
from srkd_train.datasets.bag_times import indexed_times
from srkd_train.datasets.files import label_set, names

_OPEN_BAGS = 16  # kept open by a process; a folder may hold thousands
_PROBED = 8  # clouds that are looked at for the intensity scale


class UnreadableBag(DataError):
    """Bags so damaged that not one cloud can be had of them, whatever the topic. `bags`: a line for each."""

    def __init__(self, text: str, bags: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.bags = list(bags) or [text]

    @classmethod
    def all_of(cls, where: str, bags: Sequence[str]) -> UnreadableBag:
        several = f"{where}: not one of its {len(bags)} bags can be read; the first: " if len(bags) > 1 else ""
        return cls(several + bags[0], bags)


class BagDataset:
    """The PointCloud2 messages of one topic of one bag, or of all bags in a folder. `labels` only names the classes."""

    def __init__(
        self,
        root: str | Path,
        split: str = "all",
        labels: str | Path | LabelSet | None = None,
        topic: str | None = None,
        intensity_scale: float = 0.0,
        intensity_field: str = "auto",
        on_corrupt: Literal["refuse", "skip"] = "refuse",
    ) -> None:
        """Every `split` is the whole recording. `topic`: None if there is only one with clouds.

        `intensity_scale`: the raw intensity that counts as 1.0; 0 finds it from a few clouds, as the robot does.
        `on_corrupt`: of a bag that cannot be read, raise UnreadableBag, or leave it out and say why in `unreadable`.
        DataError if there is no bag, no cloud, or a choice of topics; UnreadableBag if not one bag can be read.
        """
        if on_corrupt not in ("refuse", "skip"):
            raise ConfigError(f"on_corrupt is {on_corrupt!r}; possible are 'refuse' and 'skip'")
        self.labels = label_set(labels, "semantickitti")
        self.intensity_field = intensity_field
        self._bags: list[_Bag] = []
        self.unreadable: list[str] = []  # a line for each bag left out
        for path in _bags(Path(root).expanduser()):
            try:
                self._bags.append(_Bag(path, topic))
            except UnreadableBag as error:
                if on_corrupt == "refuse":
                    raise
                self.unreadable.append(str(error))
                continue
            topic = self._bags[0].topic
        if not self._bags:
            raise UnreadableBag.all_of(str(root), self.unreadable)
        self._ends = list(accumulate(len(bag) for bag in self._bags))
        if not self._ends[-1]:
            raise DataError(f"{root}: not one cloud on {topic}")
        self.intensity_scale = float(intensity_scale) or self._probe()

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Scan:
        """DataError names the bag and the cloud that cannot be read, or that has no finite point."""
        return self._scan(range(len(self))[index])[0]

    def _scan(self, index: int) -> tuple[Scan, float | None]:
        place = int(np.searchsorted(self._ends, index, side="right"))
        bag = self._bags[place]
        number = index - (self._ends[place - 1] if place else 0)
        try:
            cloud = pointcloud2.read(decode(bag.record(number)), self.intensity_field)
        except CloudError as error:
            raise DataError(f"{bag.path}: cloud {number} of {bag.topic}: {error}") from error
        if not np.isfinite(cloud.xyz).all(1).any():
            raise DataError(f"{bag.path}: cloud {number} of {bag.topic} has no finite point")
        name = f"{bag.path.stem}/{number:06d}"
        return Scan(cloud.xyz, cloud.intensity, None, name), cloud.intensity_full_scale

    def _probe(self) -> float:
        scale = IntensityScale("auto")
        for index in np.linspace(0, len(self) - 1, min(len(self), _PROBED)).astype(int):
            try:
                scan, full_scale = self._scan(int(index))
            except DataError:
                continue  # it is reported when it is asked for
            if scan.intensity is not None:
                scale(scan.intensity, full_scale)
        return scale.resolved or 1.0


class _Bag:
    """The messages of one topic by number, in the order of log time."""

    # Readers of all bags, by process: a forked one must not share file positions.
    _open: ClassVar[dict[tuple[int, Path], Any]] = {}

    def __init__(self, path: Path, topic: str | None) -> None:
        self.path = path
        source = _input(path, topic)
        self.topic = source.topic
        whole = isinstance(source.storage, Whole)
        times = indexed_times(path, self.topic) if whole else None
        if times is None or len(times) != source.count:
            times = np.sort(np.array([record.log_time for record, _ in source.records()], np.int64))
        if not len(times) and source.damage:
            raise _without_clouds(source.damage)
        self._times = times
        self._damaged = None if whole and not source.damage else source

    def __len__(self) -> int:
        return len(self._times)

    def record(self, number: int) -> Record:
        """DataError if the bag is damaged there."""
        time = int(self._times[number])
        twin = number - int(np.searchsorted(self._times, time))  # how many messages of the same time come before
        try:
            for record in self._from(time):
                if twin == 0:
                    return record
                twin -= 1
            reason = "it is gone"
        except Exception as error:  # rosbags, sqlite and the decompressors each have errors of their own
            reason = _line(error)
        raise DataError(f"{self.path}: cloud {number} of {self.topic} cannot be read ({reason})")

    def _from(self, time: int) -> Any:
        """The messages of just this time."""
        if self._damaged is not None:  # slow: reads the bag from its beginning
            yield from (record for record, _ in self._damaged.records(start=time) if record.log_time == time)
            return
        reader = self._reader()
        connections = [c for c in reader.connections if c.topic == self.topic]
        for connection, at, data in reader.messages(connections, start=time, stop=time + 1):
            yield Record(self.topic, connection.msgtype, at, data, self.path.suffix == ".bag")

    def _reader(self) -> Any:
        key = (os.getpid(), self.path)
        if key not in self._open:
            for old in [k for k in self._open if k[0] != key[0]]:
                del self._open[old]  # of the process this one was forked from
            while len(self._open) >= _OPEN_BAGS:
                self._open.pop(next(iter(self._open))).close()
            reader: Any = Reader1(self.path) if self.path.suffix == ".bag" else Reader2(self.path)
            reader.open()
            self._open[key] = reader
        return self._open[key]


def _input(path: Path, topic: str | None) -> BagInput:
    try:
        storage = open_bag(path)
    except DataError as error:
        raise UnreadableBag(f"{error}; copy it again") from error
    except Exception as error:  # what damage makes of names and lengths
        raise UnreadableBag(f"{path}: not a readable bag ({_line(error)}); copy it again") from error
    wanted = [t for t in storage.topics.values() if t.msgtype == CLOUD_TYPE and topic in (None, t.name)]
    if storage.damage and not wanted:  # of a whole bag, BagInput says what else it has
        raise _without_clouds(storage.damage)
    filled = [t for t in wanted if t.count]
    if topic is None and len(filled) > 1:  # BagInput names an option of srkd-replay
        found = ", ".join(f"{t.name} ({t.count} clouds)" for t in filled)
        cure = "--data.options.topic for kind bag, --data.unlabelled_topic for data.unlabelled"
        raise DataError(f"{path}: {len(filled)} PointCloud2 topics: {found}; choose one ({cure})")
    return BagInput(storage, topic)


def _without_clouds(damage: str) -> UnreadableBag:
    return UnreadableBag(f"{damage}; no cloud lies before that; copy it again")


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


def _bags(root: Path) -> list[Path]:
    """`root` if it is a bag; else the bags in it: files, and folders with a metadata.yaml."""
    if not root.exists():
        raise DataError(f"{root}: no such bag or folder")
    if root.is_file() or (root / "metadata.yaml").is_file():
        return [root.parent if root.name == "metadata.yaml" else root]
    inside = [root / name for name in names(root)]
    bags = [p for p in inside if p.suffix in BAG_SUFFIXES or (p / "metadata.yaml").is_file()]
    if not bags:
        raise DataError(f"{root}: no bag in it (a folder with metadata.yaml, .mcap, .db3 or .bag)")
    return bags
