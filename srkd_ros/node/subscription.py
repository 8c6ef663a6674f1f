# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""CloudSubscription: takes clouds from any publisher, reliable or not, whichever of the two started first."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2

try:  # Jazzy and later; Humble has them elsewhere
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:
    from rclpy.qos_event import SubscriptionEventCallbacks  # type: ignore[no-redef]

# Humble's rclpy does not know BEST_AVAILABLE; best effort matches every publisher.
DEFAULT_RELIABILITY = getattr(ReliabilityPolicy, "BEST_AVAILABLE", ReliabilityPolicy.BEST_EFFORT)


class CloudSubscription:
    """A subscription of depth 1 that adapts its reliability to the publishers there are.

    ROS settles BEST_AVAILABLE once, when the subscription is made: before the driver starts it becomes reliable, then
    never matches a best-effort driver. So an incompatible publisher, or one that would allow better, makes it anew,
    unless the user has set the reliability by qos_overrides.
    """

    def __init__(
        self, node: Node, topic: str, callback: Callable[[PointCloud2], None], callback_group: CallbackGroup
    ) -> None:
        self._node = node
        self._callback = callback
        self._group = callback_group
        self.topic = node.resolve_topic_name(topic)
        self._again = node.create_guard_condition(self.refresh, callback_group)
        self._subscription = None
        self.problem = ""  # one sentence about a publisher that cannot reach us
        self._open()

    def close(self) -> None:
        self._node.destroy_guard_condition(self._again)
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    @property
    def overridden(self) -> bool:
        """Whether the user has fixed the reliability."""
        return self._node.get_parameter(self._parameter).value != DEFAULT_RELIABILITY.name.lower()

    def publishers(self) -> list[str]:
        """Names of the nodes that publish the topic."""
        return sorted({info.node_name for info in self._node.get_publishers_info_by_topic(self.topic)})

    def refresh(self) -> None:
        """Subscribe anew if another reliability fits the publishers better. Called at a low rate and on mismatch."""
        if self._subscription is None:
            return
        offered = [i.qos_profile.reliability for i in self._node.get_publishers_info_by_topic(self.topic)]
        if not offered:
            self.problem = ""
            return
        reliable = all(r == ReliabilityPolicy.RELIABLE for r in offered)
        if self.overridden:
            if reliable or self._wanted != ReliabilityPolicy.RELIABLE:
                self.problem = ""
            return
        self.problem = ""
        if reliable != self._reliable:
            self._node.destroy_subscription(self._subscription)
            self._open()

    @property
    def _parameter(self) -> str:
        return f"qos_overrides.{self.topic}.subscription.reliability"

    def _open(self) -> None:
        qos = QoSProfile(depth=1, reliability=DEFAULT_RELIABILITY)
        self._subscription = self._node.create_subscription(
            PointCloud2,
            self.topic,
            self._callback,
            qos,
            callback_group=self._group,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._incompatible),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._wanted = qos.reliability  # the override, if there is one, has been written into it
        offered = [i.qos_profile.reliability for i in self._node.get_publishers_info_by_topic(self.topic)]
        self._reliable = self._wanted == ReliabilityPolicy.RELIABLE or (
            self._wanted == DEFAULT_RELIABILITY != ReliabilityPolicy.BEST_EFFORT
            and all(r == ReliabilityPolicy.RELIABLE for r in offered)
        )

    def _incompatible(self, event: object) -> None:
        policy = getattr(event, "last_policy_kind", None)
        reliability = getattr(QoSPolicyKind, "RELIABILITY", None)
        is_reliability = reliability is None or int(policy or 0) == int(reliability)
        if is_reliability and not self.overridden:
            self._again.trigger()  # not here: a subscription cannot replace itself in its own callback
            return
        who = ", ".join(self.publishers()) or "a publisher"
        cure = f"set {self._parameter}:=best_effort" if is_reliability else "use another QoS on one side"
        self.problem = f"{who} on {self.topic} offers a QoS that does not match this subscription: {cure}"
        self._node.get_logger().warning(self.problem)
