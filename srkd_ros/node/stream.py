# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What a stream of clouds tells about itself: rate, latency percentiles, clouds lost on the way, plausible stamps."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

STALE_SECONDS = 60.0  # a latency beyond this is no latency: the stamps come from another clock


class Rate:
    """Events a second over the last `window` seconds. Times are monotonic seconds. Thread-safe."""

    def __init__(self, window: float = 5.0) -> None:
        self._window = window
        self._times: deque[float] = deque()
        self._lock = threading.Lock()
        self.total = 0
        self.last: float | None = None

    def tick(self, now: float) -> None:
        with self._lock:
            self.total += 1
            self.last = now
            self._times.append(now)
            self._forget(now)

    def per_second(self, now: float) -> float:
        """0 once the window is empty; from two events on, events over the time they span and the silence since."""
        with self._lock:
            self._forget(now)
            if len(self._times) < 2:
                return len(self._times) / self._window
            mean_gap = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
            silence = now - self._times[-1]
            if silence > 2 * mean_gap:  # the stream has stopped or stumbled: count the silence too
                return len(self._times) / max(now - self._times[0], 1e-9)
            return 1 / max(mean_gap, 1e-9)

    def _forget(self, now: float) -> None:
        while self._times and now - self._times[0] > self._window:
            self._times.popleft()


class Latencies:
    """Percentiles by stage over the last `size` clouds, milliseconds. Thread-safe."""

    def __init__(self, size: int = 300) -> None:
        self._size = size
        self._values: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, timings: dict[str, float]) -> None:
        with self._lock:
            for stage, milliseconds in timings.items():
                self._values.setdefault(stage, deque(maxlen=self._size)).append(milliseconds)

    def percentiles(self) -> dict[str, tuple[float, float, float]]:
        """Stage -> (p50, p95, p99), in the order in which the stages were first seen."""
        with self._lock:
            values = {stage: np.array(v) for stage, v in self._values.items()}
        return {stage: tuple(np.percentile(v, (50, 95, 99)).tolist()) for stage, v in values.items()}


@dataclass(frozen=True)
class Loss:
    """Of `expected` clouds in the window, `lost` never arrived; the stream has one every `period` seconds."""

    expected: int
    lost: int
    period: float

    @property
    def share(self) -> float:
        return self.lost / max(self.expected, 1)


class LossDetector:
    """Finds clouds that were sent and never arrived by gaps in the stamps, which a driver sets at a steady rate.

    The period is the shortest usual gap, since under heavy loss most gaps are longer than one period.
    """

    MINIMUM = 20  # gaps needed before anything is said

    def __init__(self, window: int = 100) -> None:
        self._gaps: deque[float] = deque(maxlen=window)
        self._last: int | None = None
        self._lock = threading.Lock()

    def add(self, stamp: int) -> None:
        """Stamp of a cloud that arrived, nanoseconds. Time that stands still or goes backwards starts anew."""
        with self._lock:
            gap = 0 if self._last is None else stamp - self._last
            if gap < 0:
                self._gaps.clear()
            elif gap > 0:
                self._gaps.append(gap * 1e-9)
            self._last = stamp

    def result(self) -> Loss | None:
        """None while there are too few clouds, or if their stamps follow no rate."""
        with self._lock:
            gaps = np.array(self._gaps)
        if len(gaps) < self.MINIMUM:
            return None
        shortest = np.quantile(gaps, 0.1)
        period = float(np.median(gaps[gaps < 1.5 * shortest]))
        multiples = np.maximum(np.rint(gaps / period), 1)
        if np.quantile(np.abs(gaps / period - multiples), 0.9) > 0.2:
            return None  # stamps set by a busy computer, not by the sensor's clock
        pauses = multiples > 50  # the bag was paused or the sensor off: nothing was lost
        expected = int(multiples[~pauses].sum())
        return Loss(expected, expected - int(np.count_nonzero(~pauses)), period)


def stamp_latency(now: int, stamp: int, simulated: bool) -> tuple[float | None, str]:
    """Milliseconds from the stamp to now (both nanoseconds, the node's clock), or None and why it cannot be told.

    Never negative and never the difference of two unrelated clocks.
    """
    if stamp <= 0:
        return None, "the clouds carry no stamp"
    if simulated and now == 0:
        return None, "use_sim_time is set and nothing publishes /clock (play the bag with --clock)"
    seconds = (now - stamp) * 1e-9
    if seconds < 0:
        clock = "/clock" if simulated else "this machine's clock"
        cure = "play stamps and clock from one bag" if simulated else "synchronise the sensor's clock (PTP or NTP)"
        return None, f"the stamps are {duration(-seconds)} ahead of {clock}: {cure}"
    if seconds > STALE_SECONDS:
        cure = (
            "the clock is of another recording"
            if simulated
            else "a bag is played without --clock and use_sim_time:=true, or the sensor stamps with its own clock"
        )
        return None, f"the stamps are {duration(seconds)} old: {cure}"
    return seconds * 1e3, ""


def duration(seconds: float) -> str:
    """A length of time for people: 3.2 ms, 4.1 s, 2.0 h, 14 days."""
    for limit, unit, name in ((1, 1e-3, "ms"), (120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if abs(seconds) < limit:
            return f"{seconds / unit:.1f} {name}"
    return f"{math.floor(seconds / 86400)} days"
