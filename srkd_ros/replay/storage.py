# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Bag files as streams of raw messages: rosbag2 (mcap, sqlite3) and ROS 1, whole or damaged, at constant memory."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2

from srkd_ros.errors import DataError
from srkd_ros.replay.salvage import Damage, scan_bag1, scan_mcap

BAG_SUFFIXES = (".mcap", ".db3", ".bag")


class Record(NamedTuple):
    """One message as stored. `log_time`: ns, when the recorder wrote it."""

    topic: str
    msgtype: str  # as ROS 2 writes it: sensor_msgs/msg/PointCloud2
    log_time: int
    data: bytes | memoryview
    ros1: bool


@dataclass
class Topic:
    name: str
    msgtype: str
    count: int


class Storage(Protocol):
    """A bag. `damage` is None, or one line that says where reading had to end (known after reading)."""

    path: Path
    topics: dict[str, Topic]
    seconds: float  # between the first and the last message

    @property
    def damage(self) -> str | None: ...

    def messages(self, topics: Collection[str], start: int | None = None) -> Iterator[Record]:
        """Messages of these topics in the order of log time, from `start` (ns of log time) on."""
        ...


class Whole:
    """A bag with its index, read by rosbags. Damage met on the way ends the stream and is kept in `damage`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: str | None = None
        self._ros1 = path.suffix == ".bag"
        with self._open() as reader:
            self.topics = {
                name: Topic(name, info.msgtype or "", info.msgcount) for name, info in sorted(reader.topics.items())
            }
            self.seconds = max(0, reader.duration) * 1e-9 if reader.message_count else 0.0

    def _open(self) -> Any:
        return Reader1(self.path) if self._ros1 else Reader2(self.path)

    def messages(self, topics: Collection[str], start: int | None = None) -> Iterator[Record]:
        delivered = 0
        try:
            with self._open() as reader:
                connections = [c for c in reader.connections if c.topic in topics]
                if not connections:
                    return
                for connection, time, data in reader.messages(connections, start=start):
                    yield Record(connection.topic, connection.msgtype, time, data, self._ros1)
                    delivered += 1
        except GeneratorExit:
            raise
        except Exception as error:  # rosbags, sqlite and the decompressors each have errors of their own
            self.damage = f"{self.path}: damaged after {delivered} messages ({_line(error)})"


class Salvaged:
    """A bag without a usable end: read from its beginning up to the damage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: str | None = None
        self.topics: dict[str, Topic] = {}
        times: list[int] = []
        for topic, msgtype, time, _ in self._scan():
            self.topics.setdefault(topic, Topic(topic, msgtype, 0)).count += 1
            times = [min(times[0], time), max(times[1], time)] if times else [time, time]
        self.seconds = (times[1] - times[0]) * 1e-9 if times else 0.0

    def _scan(self) -> Iterator[tuple[str, str, int, bytes]]:
        scan = {".mcap": scan_mcap, ".db3": _scan_sqlite, ".bag": scan_bag1}[self.path.suffix]
        try:
            yield from scan(self.path)
        except Damage as damage:
            self.damage = f"{self.path}: {damage}"

    def messages(self, topics: Collection[str], start: int | None = None) -> Iterator[Record]:
        for topic, msgtype, time, data in self._scan():
            if topic in topics and (start is None or time >= start):
                yield Record(topic, msgtype, time, data, self.path.suffix == ".bag")


@dataclass
class Parts:
    """A recording in several files whose metadata.yaml is missing or does not fit: the files, one after the other."""

    path: Path
    parts: list[Storage]
    topics: dict[str, Topic] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in self.parts:
            for t in part.topics.values():
                self.topics.setdefault(t.name, Topic(t.name, t.msgtype, 0)).count += t.count
        self.seconds = sum(part.seconds for part in self.parts)

    @property
    def damage(self) -> str | None:
        return "; ".join(part.damage for part in self.parts if part.damage) or None

    def messages(self, topics: Collection[str], start: int | None = None) -> Iterator[Record]:
        for part in self.parts:
            yield from part.messages(topics, start)


def open_bag(path: Path) -> Storage:
    """Open a rosbag2 folder, a .mcap or .db3 file or a ROS 1 .bag; DataError in one line if nothing in it is readable.

    Several files of a folder without metadata.yaml count as one recording, in the order of the numbers in their names.
    """
    if path.name == "metadata.yaml":
        path = path.parent
    try:
        return Whole(path)
    except Exception as error:
        reason = _line(error)
    if path.is_file() and path.suffix not in BAG_SUFFIXES:
        raise DataError(f"{path}: not a bag; one is a {', '.join(BAG_SUFFIXES)} file or a folder with metadata.yaml")
    files = [path] if path.is_file() else sorted((p for p in path.iterdir() if p.suffix in BAG_SUFFIXES), key=_natural)
    parts: list[Storage] = []
    for file in files:
        try:
            parts.append(Whole(file))
        except Exception:
            parts.append(Salvaged(file))
    parts = [part for part in parts if part.topics]
    if not parts:
        raise DataError(f"{path}: not a readable bag ({reason})")
    return parts[0] if path.is_file() else Parts(path, parts)


def is_bag(path: Path) -> bool:
    """Whether a path looks like a recording (and not like a dataset folder)."""
    if path.is_dir():
        return (path / "metadata.yaml").exists() or any(p.suffix in (".mcap", ".db3") for p in path.iterdir())
    return path.suffix in BAG_SUFFIXES or path.name == "metadata.yaml"


def _scan_sqlite(path: Path) -> Iterator[tuple[str, str, int, bytes]]:
    delivered = 0
    try:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            database.execute("PRAGMA writable_schema=ON")  # else SQLite refuses a file shorter than its header says
            topics = {i: (name, kind) for i, name, kind in database.execute("SELECT id, name, type FROM topics")}
            for topic, time, data in database.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY rowid"):
                yield (*topics[topic], time, data)
                delivered += 1
        finally:
            database.close()
    except (sqlite3.Error, KeyError) as error:
        raise Damage(f"damaged after {delivered} messages ({_line(error)})") from error


def _natural(path: Path) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 160 else text[:157] + "..."
