# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Hours of 128-beam clouds into the node: its memory, rates and drops over time. Memory must stay flat.

python -m benchmarks.soak --model student.safetensors              one hour at 20 Hz
python -m benchmarks.soak --model student.safetensors --minutes 2
"""

from __future__ import annotations

import argparse
import array
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from srkd_ros.node.transport import profile_environment

BEAMS, COLUMNS = 128, 1024
START = 120.0  # seconds for the node to load its student
SETTLED = 0.25  # share of the run after which memory must not grow any more


@dataclass
class Soak:
    """Samples a second apart, of the node's process and of its diagnostics."""

    hertz: float
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    sent: int = 0
    received: int = 0
    clouds: dict[str, str] = field(default_factory=dict)
    latency: dict[str, str] = field(default_factory=dict)

    @property
    def growth(self) -> float:
        """Megabytes between the second quarter and the last one.

        Of each the lower samples count: the others caught clouds on their way, up to 30 MB.
        """
        n = len(self.megabytes)
        early, late = self.megabytes[int(n * SETTLED) : n // 2], self.megabytes[3 * n // 4 :]
        return float(np.quantile(late, 0.25) - np.quantile(early, 0.25)) if early and late else float("nan")


def run(model: Path, seconds: float, hertz: float, tick: Callable[[float], None] = lambda elapsed: None) -> Soak:
    """Start the node, send clouds at the rate, and sample once a second."""
    os.environ.update(profile_environment())
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from sensor_msgs.msg import PointCloud2

    soak = Soak(hertz)
    command = [sys.executable, "-m", "srkd_ros.segmenter_node", "--ros-args", "-p", f"model:={model}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("soak", context=context)
    publisher = node.create_publisher(PointCloud2, "points", 1)

    def hear(message: PointCloud2) -> None:
        soak.received += 1

    def diagnose(message: DiagnosticArray) -> None:
        for status in message.status:
            values = {v.key: v.value for v in status.values}
            if status.name.endswith(": clouds"):
                soak.clouds = values
            if status.name.endswith(": latency"):
                soak.latency = values

    node.create_subscription(PointCloud2, "segmented", hear, 5)
    node.create_subscription(DiagnosticArray, "/diagnostics", diagnose, 5)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            return

    threading.Thread(target=spin, daemon=True).start()
    try:
        begin = time.monotonic()
        while not (publisher.get_subscription_count() and soak.clouds):
            if process.poll() is not None or time.monotonic() - begin > START:
                raise SystemExit("error: the node did not start; run it by hand to see why")
            time.sleep(0.1)
        message = cloud()
        begin = due = time.monotonic()
        while (elapsed := time.monotonic() - begin) < seconds:
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
            publisher.publish(message)
            soak.sent += 1
            if elapsed >= len(soak.seconds):
                soak.seconds.append(elapsed)
                soak.megabytes.append(resident_megabytes(process.pid))
                tick(elapsed)
            due = max(due + 1 / hertz, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
        time.sleep(1.2)  # the last diagnostics
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        executor.shutdown(1.0)
        node.destroy_node()
        context.try_shutdown()
    return soak


def cloud() -> Any:
    """A 128-beam sweep over flat ground with walls, in the layout of an Ouster driver (48 bytes a point)."""
    from sensor_msgs.msg import PointCloud2, PointField

    elevation = np.deg2rad(np.linspace(22.5, -22.5, BEAMS))[:, None]
    azimuth = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)[None]
    distance = np.minimum(np.where(elevation < 0, -1.8 / np.sin(np.minimum(elevation, -1e-3)), 40.0), 40.0)
    distance = np.minimum(distance, 15 + 8 * np.abs(np.sin(3 * azimuth)))
    points = np.zeros((BEAMS, COLUMNS, 12), np.float32)
    points[..., 0] = distance * np.cos(elevation) * np.cos(azimuth)
    points[..., 1] = distance * np.cos(elevation) * np.sin(azimuth)
    points[..., 2] = distance * np.sin(elevation)
    points[..., 4] = np.random.default_rng(0).uniform(0, 1, (BEAMS, COLUMNS))
    message = PointCloud2(height=BEAMS, width=COLUMNS, point_step=48, row_step=48 * COLUMNS, is_dense=True)
    message.header.frame_id = "lidar"
    message.fields = [
        PointField(name=name, offset=offset, datatype=7, count=1)
        for name, offset in (("x", 0), ("y", 4), ("z", 8), ("intensity", 16))
    ]
    message.data = array.array("B", points.tobytes())
    return message


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return float("nan")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="student file")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--hertz", type=float, default=20.0)
    parser.add_argument("--json", type=Path, help="also write all samples there")
    given = parser.parse_args(arguments)
    seconds = given.minutes * 60
    columns = (TextColumn("soak"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("soak", total=seconds)
        soak = run(given.model, seconds, given.hertz, lambda elapsed: progress.update(task, completed=elapsed))
    table = Table(
        "minute", "memory [MB]", title=f"{soak.sent} clouds of {BEAMS * COLUMNS:,} points at {given.hertz:g} Hz"
    )
    for i in np.linspace(0, len(soak.seconds) - 1, min(13, len(soak.seconds))).astype(int):
        table.add_row(f"{soak.seconds[i] / 60:.1f}", f"{soak.megabytes[i]:.0f}")
    console = Console(width=110)
    console.print(table)
    console.print(f"growth after the first quarter: {soak.growth:+.1f} MB")
    for key in (
        "received",
        "published",
        "dropped for a newer cloud",
        "lost before this node, as the middleware says",
        "failed",
    ):
        console.print(f"{key}: {soak.clouds.get(key)}", highlight=False)
    console.print(f"total p50/p95/p99 in ms: {soak.latency.get('total p50/p95/p99 [ms]')}", highlight=False)
    if given.json:
        given.json.write_text(json.dumps({**asdict(soak), "growth": soak.growth}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
