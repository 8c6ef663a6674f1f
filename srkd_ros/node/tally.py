# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Tally: everything the node counts about its clouds, shared by the thread that receives and the one that labels."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from srkd_ros.node.stream import Latencies, LossDetector, Rate, stamp_latency


@dataclass
class Arrival:
    """A cloud as it came in."""

    message: Any
    received: float  # time.perf_counter()


@dataclass
class Tally:
    """Counters and meters of one activation. Each field has one writer; readers take it as it is."""

    received: Rate = field(default_factory=Rate)
    published: Rate = field(default_factory=Rate)
    replaced: Rate = field(default_factory=Rate)  # dropped because a newer cloud came
    refused: Rate = field(default_factory=Rate)  # malformed
    failed: Rate = field(default_factory=Rate)  # errors of ours, out of memory included
    idle: int = 0  # not labelled because nobody subscribes
    latencies: Latencies = field(default_factory=Latencies)
    loss: LossDetector = field(default_factory=LossDetector)  # as the stamps tell
    lost: Rate = field(default_factory=Rate)  # as the middleware tells, where it does
    since: float = field(default_factory=time.perf_counter)
    last_error: str = ""
    stamp_note: str = ""  # why the latency from the stamp is unknown
    frame: str = ""
    layout: tuple[tuple[str, int], ...] = ()  # names and types of the fields
    frames: set[str] = field(default_factory=set)  # in this layout
    wanted_field: str | None = None  # the parameter intensity_field; None before the first cloud
    intensity_field: str | None = None
    points: int = 0
    voxels: int = 0
    unlabelled: float = 0.0  # share of the last cloud

    def missing(self, now: float, reliable: bool = False) -> float:
        """Share of the clouds that never arrived lately, by the stamps or by the middleware, whichever saw more.

        A reliable connection delivers what was sent, so gaps in the stamps are a driver's that pauses or is triggered.
        """
        by_stamps = None if reliable else self.loss.result()
        lost, received = self.lost.per_second(now), self.received.per_second(now)
        by_middleware = lost / (lost + received) if lost else 0.0
        return max(by_middleware, 0.0 if by_stamps is None else by_stamps.share)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the latest cloud's fields."""
        return tuple(name for name, _ in self.layout)

    def arrived(self, message: Any, now: float) -> None:
        """Count a message."""
        self.received.tick(now)
        stamp = message.header.stamp
        self.loss.add(stamp.sec * 10**9 + stamp.nanosec)
        self.frame = message.header.frame_id

    def labelled(
        self, message: Any, labelled: Any, timings: dict[str, float], clock: int, simulated: bool, now: float
    ) -> None:
        """Count a cloud whose labels (srkd_ros.node.work.Labelled) are published, `clock` being the node's, in ns."""
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        from_stamp, self.stamp_note = stamp_latency(clock, stamp, simulated)
        self.latencies.add(timings if from_stamp is None else {**timings, "from the stamp": from_stamp})
        self.points, self.voxels = len(labelled.labels), labelled.voxels
        self.unlabelled = float((labelled.labels == 255).mean()) if len(labelled.labels) else 0.0
        if len(labelled.labels):
            self.intensity_field = labelled.intensity_field
        self.published.tick(now)
