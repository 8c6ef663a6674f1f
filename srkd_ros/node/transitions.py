# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Lifecycle transitions that the state does not allow: rclpy raises, answers nothing, and the caller waits for ever."""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode

from srkd_ros.node.watch import one_line


def answer_always(node: LifecycleNode) -> None:
    """Let `change_state` answer in any case: what cannot be done is no success, and is said in the log."""
    service: Any = getattr(node, "_service_change_state", None)
    if service is None:  # another release of rclpy
        return
    change = service.callback

    def answer(request: Any, response: Any) -> Any:
        try:
            return change(request, response)
        except RuntimeError as error:  # rclpy's RCLError is one
            wanted = request.transition.label or request.transition.id
            node.get_logger().warning(f"transition {wanted} is not possible in this state ({one_line(error)})")
            response.success = False
            return response

    service.callback = answer
