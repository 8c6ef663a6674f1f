# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The clouds of the inputs in order: bags of any kind and dataset folders, one topic, selected by time and count."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from srkd_ros.errors import DataError
from srkd_ros.replay.clock import Elapsed
from srkd_ros.replay.messages import CLOUD_TYPE, decode, stamp_of
from srkd_ros.replay.scan_folder import FolderInput, scan_folders
from srkd_ros.replay.storage import Record, Storage, is_bag, open_bag


@dataclass(frozen=True)
class CloudRecord:
    """A cloud before it is decoded."""

    index: int  # place among all clouds of the inputs, before any selection
    input: int  # which of the inputs
    stamp: int  # ns: header.stamp; the log time where that is 0
    log_time: int  # ns
    name: str  # of the file it came from ("08/000012"), "" in a bag
    record: Record
    elapsed: int = 0  # ns since the first cloud of its input (clock.Elapsed)
    backward: bool = False  # its stamp lies before that of the selected cloud before it

    def message(self) -> Any:
        """The PointCloud2 as a rosbags ROS 2 message, whatever it was stored as; CloudError if it does not decode."""
        return decode(self.record)


@dataclass(frozen=True)
class Selection:
    """Which clouds: seconds since an input's first cloud, every k-th, at most `limit`, and shard i of n (blocks)."""

    start: float = 0.0
    end: float = float("inf")
    every: int = 1
    limit: int | None = None
    shard: tuple[int, int] = (0, 1)

    def to_dict(self) -> dict[str, Any]:
        end = None if self.end == float("inf") else self.end
        return {**asdict(self), "end": end, "shard": "{}/{}".format(*self.shard)}


class Input(Protocol):
    """One recording or sequence."""

    path: Path
    topic: str
    count: int  # clouds it holds
    seconds: float

    @property
    def damage(self) -> str | None: ...

    def records(self, start: int | None = None) -> Iterator[tuple[Record, str]]: ...


class BagInput:
    """The clouds of one topic of a bag."""

    def __init__(self, storage: Storage, topic: str | None) -> None:
        self.storage, self.path = storage, storage.path
        self.topic = _choose_topic(storage, topic)
        self.count = storage.topics[self.topic].count
        self.seconds = storage.seconds

    @property
    def damage(self) -> str | None:
        return self.storage.damage

    def records(self, start: int | None = None) -> Iterator[tuple[Record, str]]:
        for record in self.storage.messages({self.topic}, start):
            yield record, ""


class Source:
    """All inputs, one after the other. Iterating yields the selected CloudRecords, again and again the same."""

    def __init__(self, inputs: Sequence[Input], selection: Selection | None = None) -> None:
        self.inputs = list(inputs)
        self.selection = selection or Selection()

    @property
    def count(self) -> int:
        return sum(i.count for i in self.inputs)

    @property
    def damage(self) -> list[str]:
        """What could not be read, a line for each input; complete after an iteration."""
        return [i.damage for i in self.inputs if i.damage]

    @property
    def block(self) -> range:
        """Indices of this shard. A cloud's index counts from the first cloud of the first input."""
        i, n = self.selection.shard
        return range(self.count * i // n, self.count * (i + 1) // n)

    def expected(self) -> int:
        """About how many clouds an iteration yields: what the progress bar says."""
        s, total, index = self.selection, 0.0, 0
        for source in self.inputs:
            mine = len(range(max(self.block.start, index), min(self.block.stop, index + source.count)))
            inside = min(s.end, source.seconds) - s.start
            share = 1.0 if source.seconds <= 0 else min(1.0, max(0.0, inside / source.seconds))
            total += mine * (1.0 if s.start == 0 and s.end >= source.seconds else share)
            index += source.count
        return min(int(np.ceil(total / s.every)), s.limit or 2**62)

    def __iter__(self) -> Iterator[CloudRecord]:
        return self.clouds()

    def clouds(self, first: int = 0, lead: int = 0, done: int = 0) -> Iterator[CloudRecord]:
        """The selected clouds of this shard with index >= `first`. `done` clouds count as taken from the limit.

        A run that resumes, or a shard, needs the cloud before its first one to compare it with: with `lead`, those of
        the last `lead` ns, and the last one in any case, come before it, newest first, as some may be unreadable.
        """
        s, block = self.selection, self.block
        first = max(first, block.start)
        before: deque[CloudRecord] = deque()
        for cloud in self._chosen(first):
            if cloud.index >= block.stop or (s.limit is not None and done >= s.limit):
                return
            while before and (not lead or (len(before) > 1 and cloud.elapsed - before[0].elapsed > lead)):
                before.popleft()
            if cloud.index < first:
                before.append(cloud)
                continue
            while before:
                leader = before.pop()
                if leader.input == cloud.input:
                    yield leader
            yield cloud
            done += 1

    def _chosen(self, begin: int) -> Iterator[CloudRecord]:
        """Every k-th cloud within the times; whole inputs before index `begin` are not opened."""
        s, index = self.selection, 0
        for number, source in enumerate(self.inputs):
            if index + source.count <= begin:
                index += source.count
                continue
            clock, last = Elapsed(), None
            for i, (record, name) in enumerate(source.records(), index):
                stamp = stamp_of(record)
                elapsed = clock(stamp, record.log_time)
                if elapsed * 1e-9 >= s.end:
                    break
                if elapsed * 1e-9 >= s.start and i % s.every == 0:
                    backward = last is not None and stamp < last
                    last = stamp
                    yield CloudRecord(i, number, stamp, record.log_time, name, record, elapsed, backward)
            index += source.count

    def again(self, index: int, number: int, stamp: int, log_time: int) -> CloudRecord | None:
        """Read one cloud of input `number` once more, without reading what lies before it; None if it is not there."""
        for record, name in self.inputs[number].records(start=log_time):
            if stamp_of(record) == stamp:
                return CloudRecord(index, number, stamp, record.log_time, name, record)
            if record.log_time > log_time + 10**9:
                break
        return None


def open_source(paths: Sequence[Path], topic: str | None = None, selection: Selection | None = None) -> Source:
    """Open bags and dataset folders. DataError in one line: missing, unreadable, no cloud, or several topics."""
    inputs: list[Input] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such bag or folder")
        if is_bag(path):
            bag = BagInput(open_bag(path), topic)
            topic = topic or bag.topic  # the following inputs have to have the same
            inputs.append(bag)
        elif path.is_dir():
            inputs += [FolderInput(folder) for folder in scan_folders(path)]
        else:
            raise DataError(f"{path}: not a bag (rosbag2 folder, .mcap, .db3, .bag) nor a dataset folder")
    return Source(inputs, selection)


def _choose_topic(storage: Storage, topic: str | None) -> str:
    clouds = [t for t in storage.topics.values() if t.msgtype == CLOUD_TYPE]
    filled = [t for t in clouds if t.count] or clouds
    if topic is not None:
        if topic not in storage.topics:
            raise DataError(f"{storage.path}: no topic {topic!r}; it has {_names(filled or storage.topics.values())}")
        if topic not in {t.name for t in clouds}:
            raise DataError(f"{storage.path}: {topic!r} is {storage.topics[topic].msgtype}, not a PointCloud2")
        return topic
    if not clouds:
        raise DataError(f"{storage.path}: no PointCloud2 topic; it has {_names(storage.topics.values())}")
    if len(filled) > 1:
        lines = "".join(f"\n  --topic {t.name}    ({t.count} clouds)" for t in filled)
        raise DataError(f"{storage.path}: {len(filled)} PointCloud2 topics; choose one:{lines}")
    return filled[0].name


def _names(topics: Any) -> str:
    return ", ".join(f"{t.name} ({t.msgtype.split('/')[-1]})" for t in topics) or "no topics at all"
