# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""How far into a recording a cloud lies, even where the sensor's clock was set on the way."""

from __future__ import annotations

_MOST_AHEAD = 10 * 10**9  # ns by which a step between two stamps may exceed that between their log times


class Elapsed:
    """Nanoseconds since the first cloud, by the stamps; never goes back.

    Where stamps go back, or far ahead of the log times, the clock was set: there the log times say how long it took.
    """

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None
        self._value = 0

    def __call__(self, stamp: int, log_time: int) -> int:
        if self._last is not None:
            step, logged = stamp - self._last[0], max(0, log_time - self._last[1])
            self._value += step if 0 <= step <= logged + _MOST_AHEAD else logged
        self._last = stamp, log_time
        return self._value
