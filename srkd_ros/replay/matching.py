# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The message of a topic that has a cloud's stamp: its truth, or what the live node made of it."""

from __future__ import annotations

from srkd_ros.replay.messages import stamp_of
from srkd_ros.replay.storage import Record, Storage

_JUMP = 10**9  # ns: a next message so far ahead may have a stamp from a clock that was set


class ByStamp:
    """Reads in step with stamps that go forwards. Where a clock was set, it makes an index of the topic once."""

    def __init__(self, storage: Storage, topic: str) -> None:
        self._storage, self._topic = storage, topic
        self._records = storage.messages({topic})
        self._at: tuple[int, Record] | None = None  # the message read last
        self._asked: int | None = None
        self._times: dict[int, int] | None = None  # stamp -> log time

    def __call__(self, stamp: int) -> Record | None:
        back = self._asked is not None and stamp < self._asked
        self._asked = stamp
        if self._times is None and not back:
            while (self._at is None or self._at[0] < stamp) and self._read():
                pass
            if self._at is None or self._at[0] <= stamp + _JUMP:
                return self._at[1] if self._at is not None and self._at[0] == stamp else None
        if self._times is None:
            self._times = self._index()
        time = self._times.get(stamp)
        if time is None:
            return None
        if self._at is None or self._at[1].log_time > time:
            self._records, self._at = self._storage.messages({self._topic}, time), None
        while (self._at is None or self._at[0] != stamp) and self._read():
            pass
        return self._at[1] if self._at is not None and self._at[0] == stamp else None

    def _read(self) -> bool:
        record = next(self._records, None)
        if record is not None:
            self._at = stamp_of(record), record
        return record is not None

    def _index(self) -> dict[int, int]:
        times: dict[int, int] = {}
        for record in self._storage.messages({self._topic}):
            times.setdefault(stamp_of(record), record.log_time)
        return times
