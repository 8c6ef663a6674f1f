# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The log times of a topic's messages, from a bag's indexes: a recording of 100 GB is not read to be counted."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from rosbags.rosbag1 import Reader as Reader1

_MAGIC = b"\x89MCAP0\r\n"


def indexed_times(path: Path, topic: str) -> np.ndarray | None:
    """Sorted log times (ns, int64) of a rosbag2 folder, a .mcap, .db3 or .bag; None where an index is missing."""
    files = [p for p in path.iterdir() if p.suffix in _READERS] if path.is_dir() else [path]
    try:
        times = [np.asarray(_READERS[file.suffix](file, topic), np.int64) for file in files]
    except (OSError, ValueError, struct.error, sqlite3.Error):
        return None
    return np.sort(np.concatenate(times)) if times else None


def _mcap(path: Path, topic: str) -> list[int]:
    """Source: the MCAP specification, records Footer, Channel, Chunk Index and Message Index."""
    times: list[int] = []
    with path.open("rb") as file:
        file.seek(-37, 2)
        opcode, _, summary, _, _, magic = struct.unpack("<BQQQI8s", file.read())
        if opcode != 0x02 or magic != _MAGIC or not summary:
            raise ValueError("no summary")
        file.seek(summary)
        channels, places = set(), []
        for opcode, record in _records(file):
            if opcode == 0x04:
                number, _, length = struct.unpack_from("<HHI", record)
                if record[8 : 8 + length].decode() == topic:
                    channels.add(number)
            elif opcode == 0x08:
                (size,) = struct.unpack_from("<I", record, 32)
                places += list(struct.iter_unpack("<HQ", record[36 : 36 + size]))
        for number, place in places:
            if number in channels:
                file.seek(place)
                _, record = next(_records(file))
                times += struct.unpack_from(f"<{(len(record) - 6) // 8}Q", record, 6)[::2]  # times and offsets in turn
    return times


def _records(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Records from here to the footer."""
    while True:
        opcode, length = struct.unpack("<BQ", file.read(9))
        if opcode == 0x02:
            return
        yield opcode, file.read(length)


def _sqlite(path: Path, topic: str) -> list[int]:
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        query = "SELECT timestamp FROM messages JOIN topics ON topic_id = topics.id WHERE topics.name = ?"
        return [time for (time,) in database.execute(query, (topic,))]
    finally:
        database.close()


def _bag1(path: Path, topic: str) -> list[int]:
    with Reader1(path) as reader:
        return [entry.time for c in reader.connections if c.topic == topic for entry in reader.indexes[c.id]]


_READERS = {".mcap": _mcap, ".db3": _sqlite, ".bag": _bag1}
