# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""CloudSubscription: takes clouds from any publisher, reliable or not, whichever of the two started first."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import PointCloud2

from srkd_ros.errors import ConfigError

try:  # Jazzy and later; Humble has them elsewhere
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:
    from rclpy.qos_event import SubscriptionEventCallbacks

# Settled by us when the subscription is made; Humble's rclpy has no word for it.
ADAPTIVE = getattr(ReliabilityPolicy, "BEST_AVAILABLE", ReliabilityPolicy.SYSTEM_DEFAULT)
DEPTH = 5  # clouds that the middleware holds for us; at 20 Hz a quarter of a second


class CloudSubscription:
    """A subscription that adapts its reliability to the publishers there are.

    It queues a few clouds, so that those that come while the executor waits for a core are read, and counted as dropped
    where a newer one follows, instead of being overwritten in the middleware, where nobody could tell them from lost.

    BEST_AVAILABLE is reliable if every publisher offers that. ROS settles it once, when the subscription is made: made
    before the driver starts it becomes reliable, and never matches a best-effort driver. So it is settled here, and
    again whenever the publishers change, unless the user has set the reliability by qos_overrides.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        callback: Callable[[PointCloud2], None],
        lost: Callable[[int], None],
        callback_group: CallbackGroup,
    ) -> None:
        """`lost(count)` hears of clouds that the middleware knows to have missed."""
        self._node = node
        self._callback = callback
        self._lost = lost
        self._group = callback_group
        self.topic = node.resolve_topic_name(topic)
        self._lock = threading.RLock()  # several threads of an executor may find the same mismatch
        self._again = node.create_guard_condition(self.refresh, callback_group)
        self._reliability = ReliabilityPolicy.RELIABLE
        self._subscription: Subscription | None = None
        self.problem = ""  # one sentence about a publisher that cannot reach us
        self._open()

    def close(self) -> None:
        with self._lock:
            self._node.destroy_guard_condition(self._again)
            if self._subscription is not None:
                self._node.destroy_subscription(self._subscription)
                self._subscription = None

    @property
    def overridden(self) -> bool:
        """Whether the user has fixed the reliability."""
        return self._node.get_parameter(self._parameter).value != ADAPTIVE.name.lower()

    @property
    def reliable(self) -> bool:
        """Whether the middleware sends again what did not arrive."""
        return self._reliability == ReliabilityPolicy.RELIABLE

    def publishers(self) -> list[str]:
        """Names of the nodes that publish the topic."""
        return sorted({info.node_name for info in self._node.get_publishers_info_by_topic(self.topic)})

    def refresh(self) -> None:
        """Subscribe anew if another reliability fits the publishers better. Called at a low rate and on mismatch."""
        with self._lock:
            if self._subscription is not None:
                self._adapt(self._subscription)

    def _adapt(self, subscription: Subscription) -> None:
        offered = self._offered()
        if not offered or not self.overridden or self._reliability in (offered[0], ReliabilityPolicy.BEST_EFFORT):
            self.problem = ""
        if offered and not self.overridden and self._best(offered) != self._reliability:
            self._node.destroy_subscription(subscription)
            self._open()

    def _offered(self) -> list[ReliabilityPolicy]:
        """What the publishers offer, the least first."""
        offered = [i.qos_profile.reliability for i in self._node.get_publishers_info_by_topic(self.topic)]
        return sorted(offered, key=lambda r: r == ReliabilityPolicy.RELIABLE)

    @staticmethod
    def _best(offered: list[ReliabilityPolicy]) -> ReliabilityPolicy:
        reliable = all(r == ReliabilityPolicy.RELIABLE for r in offered)
        return ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT

    @property
    def _parameter(self) -> str:
        return f"qos_overrides.{self.topic}.subscription.reliability"

    def _open(self) -> None:
        with naming_override(self.topic, "subscription"):
            self._subscription = self._node.create_subscription(
                PointCloud2,
                self.topic,
                self._callback,
                QoSProfile(depth=DEPTH, reliability=ADAPTIVE),
                callback_group=self._group,
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=self._incompatible, message_lost=self._message_lost
                ),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(callback=self._settle),
            )

    def _settle(self, qos: QoSProfile) -> SetParametersResult:
        """Called with the profile after overrides, just before it is used."""
        if qos.reliability == ADAPTIVE:
            qos.reliability = self._best(self._offered())
        self._reliability = qos.reliability
        return SetParametersResult(successful=True)

    def _message_lost(self, event: Any) -> None:
        self._lost(event.total_count_change)

    def _incompatible(self, event: Any) -> None:
        about_reliability = int(event.last_policy_kind) == int(QoSPolicyKind.RELIABILITY)
        if about_reliability and not self.overridden:
            self._again.trigger()  # not here: a subscription cannot replace itself in its own callback
            return
        who = ", ".join(self.publishers()) or "a publisher"
        cure = f"set {self._parameter}:=best_effort" if about_reliability else "use another QoS on one side"
        self.problem = f"{who} on {self.topic} offers a QoS that does not match this subscription: {cure}"
        self._node.get_logger().warning(self.problem)


@contextlib.contextmanager
def naming_override(topic: str, entity: str) -> Iterator[None]:
    """ConfigError that names the parameter where rclpy refuses a `qos_overrides` of a "publisher" or "subscription"."""
    try:
        yield
    except RuntimeError as error:
        found = re.search(r"override for policy .(\w+).: .([^`']*)", str(error))
        if found is None:
            raise
        raise ConfigError(
            f"qos_overrides.{topic}.{entity}.{found[1]}: {found[2]!r} is not one of its values"
        ) from error
