# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Watch: once a second it publishes diagnostics, adapts the subscription and explains in the log what is wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.utilities import get_rmw_implementation_identifier

from srkd_ros.node import diagnostics
from srkd_ros.node.subscription import CloudSubscription
from srkd_ros.node.tally import Tally
from srkd_ros.node.transport import loss_advice

if TYPE_CHECKING:
    from srkd_ros.segmenter_node import SegmenterNode

QUIET = 5.0  # seconds between two lines of the same kind in the log
SILENCE = 5.0  # seconds without any cloud until the log says why


class Watch:
    """Looks at a node from a timer and a callback group of its own."""

    def __init__(self, node: SegmenterNode) -> None:
        self._node = node
        self._explained: set[str] = set()
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        node.create_timer(1.0, self._watch, MutuallyExclusiveCallbackGroup(), clock=steady)

    def _watch(self) -> None:
        try:
            self._report()
        except Exception as error:  # diagnostics never take the node down
            self._node.get_logger().error(f"diagnostics: {one_line(error)}", throttle_duration_sec=QUIET)

    def _report(self) -> None:
        work, tally, subscription = self._node.work, self._node.tally, self._node.subscription
        statuses = [diagnostics.model_status(work, self._node.state, self._node.refused_model)]
        if work is not None and subscription is not None:
            subscription.refresh()
            now = time.perf_counter()
            around = self._surroundings(subscription)
            statuses.append(diagnostics.cloud_status(tally, around, now))
            statuses.append(diagnostics.latency_status(tally))
            statuses.append(diagnostics.input_status(tally, work))
            self._explain(work, tally, around, now)
        name = self._node.get_fully_qualified_name().lstrip("/")
        for status in statuses:
            status.name = f"{name}: {status.name}"
            status.hardware_id = name
        array = DiagnosticArray(status=statuses)
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _surroundings(self, subscription: CloudSubscription) -> diagnostics.Surroundings:
        publishers = subscription.publishers()
        own = {p.topic_name for p in self._node.outputs}
        candidates = [
            topic
            for topic, types in self._node.get_topic_names_and_types()
            if not publishers and "sensor_msgs/msg/PointCloud2" in types and topic not in {*own, subscription.topic}
        ]
        advice = loss_advice(get_rmw_implementation_identifier())
        return diagnostics.Surroundings(
            subscription.topic, publishers, candidates, subscription.problem, advice, subscription.reliable
        )

    def _explain(self, work: Any, tally: Tally, around: diagnostics.Surroundings, now: float) -> None:
        share = tally.missing(now, around.reliable)
        if share > diagnostics.LOSS_SHARE and tally.received.total + tally.lost.total > 20:
            self._once("loss", diagnostics.lossy(share, around.advice))
        if tally.received.total == 0 and now - tally.since > SILENCE:
            self._once("silence", diagnostics.silence(around, now - tally.since))
        if tally.published.total >= 10:
            for finding in diagnostics.input_findings(tally, work):
                self._once(finding.parameter or finding.text[:20], finding.text)

    def _once(self, key: str, text: str) -> None:
        if key not in self._explained:
            self._explained.add(key)
            self._node.get_logger().warning(text)


def one_line(error: Exception) -> str:
    """An exception for the log."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
