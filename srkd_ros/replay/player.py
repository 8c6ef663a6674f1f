# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""player: publishes the clouds of a recording at the rate of the sensor, as a driver would.

    python -m srkd_ros.replay.player drive.mcap --topic /ouster/points --output-topic points --rate 1.0

Works on every input of srkd-replay, with no rosbag2 installed. Stamps stay those of the recording; a cloud without one
gets the time at which it was recorded.
"""

from __future__ import annotations

import argparse
import signal
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NoReturn

import rclpy
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import PointCloud2

from srkd_ros.errors import ConfigError, DataError, SrkdError
from srkd_ros.replay.arguments import ExamplesFirst, OneLine, factor, positive, seconds
from srkd_ros.replay.messages import CLOUD_TYPE, typestore
from srkd_ros.replay.source import CloudRecord, Selection, Source, open_source

_CLOCK_PERIOD = 0.01  # seconds between two messages on /clock
_LOOP_GAP = 0.1  # seconds between the last cloud and the first one of the next round


class Player(Node):
    """Publishes clouds; `log` gets a line "stamp monotonic_time" (both ns) for each."""

    def __init__(self, topic: str, clock: bool, best_effort: bool, log: IO[str] | None = None) -> None:
        super().__init__("player")
        reliability = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        self._clouds = self.create_publisher(PointCloud2, topic, QoSProfile(depth=5, reliability=reliability))
        self._ticks = self.create_publisher(Clock, "/clock", 10) if clock else None
        self._log = log
        self.published = 0

    def wait_for_subscriber(self, timeout: float) -> bool:
        """Until somebody subscribes; False after `timeout` seconds."""
        end = time.monotonic() + timeout
        while not self._clouds.get_subscription_count():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def play(self, source: Source, rate: float) -> None:
        """Every cloud of the source at its time; one that is late goes out at once."""
        first: CloudRecord | None = None
        begin = 0.0
        for cloud in source:
            data = serialized(cloud)
            if first is None or cloud.input != first.input:  # another recording has times of its own
                first, begin = cloud, time.monotonic()
            due = begin + (cloud.elapsed - first.elapsed) * 1e-9 / rate
            for now in until(due):
                if self._ticks:
                    self.tick(cloud.stamp - int((due - now) * rate * 1e9))
            if self._ticks:
                self.tick(cloud.stamp)
            if self._log:
                self._log.write(f"{cloud.stamp} {time.monotonic_ns()}\n")
                self._log.flush()
            self._clouds.publish(data)
            self.published += 1

    def tick(self, stamp: int) -> None:
        assert self._ticks
        self._ticks.publish(Clock(clock=Time(sec=stamp // 10**9, nanosec=stamp % 10**9)))

    def finish(self) -> None:
        """Until the last cloud has arrived."""
        self._clouds.wait_for_all_acked(Duration(seconds=5))


def until(due: float) -> Iterator[float]:
    """Sleep in steps; yields the time before each."""
    while (now := time.monotonic()) < due:
        yield now
        time.sleep(min(_CLOCK_PERIOD, due - now))


def serialized(cloud: CloudRecord) -> bytes:
    """The CDR bytes of a cloud: as stored in a ROS 2 bag, converted from a ROS 1 one; with `cloud.stamp` for none."""
    ros1 = cloud.record.ros1
    data = bytes(typestore().serialize_cdr(cloud.message(), CLOUD_TYPE) if ros1 else cloud.record.data)
    if len(data) < 12 or any(data[4:12]):
        return data
    stamp = struct.pack("<iI" if data[1] else ">iI", *divmod(cloud.stamp, 10**9))
    return data[:4] + stamp + data[12:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the console script `player`; arguments after --ros-args go to ROS."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    p = OneLine("player", description=__doc__, formatter_class=ExamplesFirst)
    p.add_argument("bag", nargs="+", type=Path, metavar="BAG", help="any input of srkd-replay")
    p.add_argument("--topic", help="PointCloud2 topic of the recording; needed where there are several")
    p.add_argument("--output-topic", default="points", help="topic to publish (points)")
    p.add_argument("--rate", type=factor, default=1.0, help="times the sensor's rate (1.0)")
    p.add_argument("--start", type=seconds, default=0.0, metavar="S", help="skip the first S seconds")
    p.add_argument("--end", type=seconds, default=float("inf"), metavar="S", help="stop S seconds into the recording")
    p.add_argument("--every", type=positive, default=1, metavar="K", help="every K-th cloud")
    p.add_argument("-n", type=positive, metavar="N", help="at most N clouds")
    p.add_argument("--loop", action="store_true", help="begin again at the end")
    p.add_argument("--clock", action="store_true", help="publish /clock for nodes with use_sim_time")
    p.add_argument("--best-effort", action="store_true", help="publish best effort, as some drivers do")
    p.add_argument("--wait", type=seconds, default=60.0, metavar="S", help="for a subscriber, at most (60)")
    p.add_argument("--log", type=Path, metavar="FILE", help="write the time of each publishing there")
    given = p.parse_args(remove_ros_args(["player", *arguments])[1:])
    try:
        selection = Selection(given.start, given.end, given.every, given.n)
        source = open_source(given.bag, given.topic, selection)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop)
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        with ExitStack() as stack:
            stack.callback(rclpy.try_shutdown)
            log = stack.enter_context(_open(given.log)) if given.log else None
            player = _player(given, log)
            stack.callback(player.destroy_node)
            if not player.wait_for_subscriber(given.wait):
                raise DataError(f"{given.output_topic}: nobody subscribed within {given.wait:g} s (see --wait)")
            player.play(source, given.rate)
            while given.loop:
                time.sleep(_LOOP_GAP / given.rate)
                player.play(source, given.rate)
            player.finish()
    except SrkdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def _open(log: Path) -> IO[str]:
    try:
        return log.open("w")
    except OSError as error:
        raise DataError(f"--log {log}: cannot be written ({error.strerror})") from error


def _player(given: argparse.Namespace, log: IO[str] | None) -> Player:
    try:
        return Player(given.output_topic, given.clock, given.best_effort, log)
    except (NameValidationException, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise ConfigError(f"--output-topic {given.output_topic!r}: {reason}") from error


def _stop(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
