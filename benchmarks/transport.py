# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Clouds that arrive between two processes, and how late, with and without the shared-memory profile.

python -m benchmarks.transport              2 and 6 MB clouds at 20 Hz, about 90 s
python -m benchmarks.transport --hertz 10 --clouds 50 --json transport.json
"""

from __future__ import annotations

import argparse
import array
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from srkd_ros.node.transport import VARIABLES, profile_environment

POINTS = 131_072  # 128 beams x 1024
STEPS = {"2.1 MB": 16, "6.3 MB": 48}  # bytes a point
RELIABILITIES = ("best_effort", "reliable")
TOPIC = "transport_benchmark"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.transport", description=__doc__.splitlines()[0])
    parser.add_argument("--hertz", type=float, default=20.0)
    parser.add_argument("--clouds", type=int, default=100, help="of each kind (100)")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--role", choices=["send", "receive"], help=argparse.SUPPRESS)
    parser.add_argument("--step", type=int, default=16, help=argparse.SUPPRESS)
    parser.add_argument("--reliability", default="best_effort", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.role == "send":
        return send(given)
    if given.role == "receive":
        return receive(given)

    cases = [(size, r, p) for size in STEPS for r in RELIABILITIES for p in (False, True)]
    rows = [measure(given, *case) for case in track(cases, "transport", console=Console(stderr=True))]
    table = Table(
        title=f"{given.clouds} clouds of {POINTS:,} points at {given.hertz:g} Hz, load {os.getloadavg()[0]:.1f}"
    )
    for heading in ("cloud", "subscription", "profile", "received", "median [ms]", "p95 [ms]"):
        table.add_column(heading)
    for row in rows:
        table.add_row(*(f"{v:.1f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=110).print(table)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    return 0


def measure(given: argparse.Namespace, size: str, reliability: str, profile: bool) -> dict[str, Any]:
    """One row: a publisher and a subscriber in processes of their own."""
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    environment |= profile_environment(environment) if profile else {"FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT"}
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    command = [sys.executable, "-m", "benchmarks.transport", "--step", str(STEPS[size]), "--reliability", reliability]
    command += ["--hertz", str(given.hertz), "--clouds", str(given.clouds)]
    receiver = subprocess.Popen([*command, "--role", "receive"], env=environment, stdout=subprocess.PIPE, text=True)
    sender = subprocess.Popen([*command, "--role", "send"], env=environment)
    output, _ = receiver.communicate()
    sender.wait()
    latencies = json.loads(output)
    return {
        "cloud": size,
        "subscription": reliability.replace("_", " "),
        "profile": "shared memory" if profile else "default",
        "received": f"{len(latencies)} of {given.clouds}",
        "median": float(np.median(latencies)) if latencies else float("nan"),
        "p95": float(np.percentile(latencies, 95)) if latencies else float("nan"),
    }


def qos(reliability: str) -> Any:
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    return QoSProfile(depth=5, reliability=ReliabilityPolicy[reliability.upper()])


def send(given: argparse.Namespace) -> int:
    """Publish at the rate once somebody subscribes, then one empty cloud as the end."""
    import rclpy
    from sensor_msgs.msg import PointCloud2

    rclpy.init()
    node = rclpy.create_node("sender")
    publisher = node.create_publisher(PointCloud2, TOPIC, qos(given.reliability))
    end = node.create_publisher(PointCloud2, TOPIC + "_end", qos("reliable"))
    message = PointCloud2(height=1, width=POINTS, point_step=given.step, row_step=POINTS * given.step)
    message.data = array.array("B", bytes(POINTS * given.step))
    while not publisher.get_subscription_count() or not end.get_subscription_count():
        time.sleep(0.05)
    time.sleep(0.5)
    due = time.monotonic()
    for _ in range(given.clouds):
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
        publisher.publish(message)
        due += 1 / given.hertz
        time.sleep(max(0.0, due - time.monotonic()))
    time.sleep(1.0)
    end.publish(PointCloud2())
    time.sleep(1.0)
    node.destroy_node()
    rclpy.shutdown()
    return 0


def receive(given: argparse.Namespace) -> int:
    """Print the latencies, in milliseconds from before publishing to the callback, as JSON."""
    import rclpy
    from sensor_msgs.msg import PointCloud2

    latencies: list[float] = []
    ended: list[PointCloud2] = []

    def hear(message: PointCloud2) -> None:
        sent = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        latencies.append((time.time_ns() - sent) * 1e-6)

    rclpy.init()
    node = rclpy.create_node("receiver")
    node.create_subscription(PointCloud2, TOPIC, hear, qos(given.reliability))
    node.create_subscription(PointCloud2, TOPIC + "_end", ended.append, qos("reliable"))
    give_up = time.monotonic() + 30 + given.clouds / given.hertz
    while not ended and time.monotonic() < give_up:
        rclpy.spin_once(node, timeout_sec=0.2)
    print(json.dumps(latencies))
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
