# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""An executor that receives clouds at once and keeps slow services and timers out of their way."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import (
    ConditionReachedException,
    Executor,
    ExternalShutdownException,
    ShutdownException,
    TimeoutException,
)
from rclpy.service import Service
from rclpy.subscription import Subscription

from srkd_ros.node.watch import one_line

HANDOVER = 2e-4  # seconds between two looks whether a thread has begun
THREADS = 8  # started as they are needed; more than the callback groups that can be busy at the same time


class CloudExecutor(Executor):
    """Runs callbacks of subscriptions in the spinning thread, which must be short, all others in threads of its own.

    rclpy's MultiThreadedExecutor hands a callback to its threads again and again, in a loop that never lets go of
    Python's lock, until one of them has begun it; where another thread works with torch, which takes the lock for every
    operation, clouds that take 25 ms then take up to a second. This one waits, asleep, until the callback has begun.

    What a service's callback raises is logged; what others raise ends the spinning, as with rclpy's executors.
    """

    def __init__(self, threads: int = THREADS, *, context: Context | None = None) -> None:
        super().__init__(context=context)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="callbacks")
        self._running: list[tuple[Any, Any, Any]] = []

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for one callback, and run it or hand it over; raises what a callback has raised."""
        self._spin_once_impl(timeout_sec)

    def spin_once_until_future_complete(self, future: Any, timeout_sec: Any = None) -> None:
        """As spin_once; returns as soon as the future is complete."""
        future.add_done_callback(lambda _: self.wake())
        self._spin_once_impl(timeout_sec, future.done)

    # Newer releases of rclpy call this one from spin_until_future_complete, and _spin_once_impl from spin.
    _spin_once_until_future_complete = spin_once_until_future_complete

    def _spin_once_impl(self, timeout_sec: Any = None, wait_condition: Callable[[], bool] = lambda: False) -> None:
        try:
            ready: Any = self.wait_for_ready_callbacks(timeout_sec, None, wait_condition)
        except (ConditionReachedException, ExternalShutdownException, ShutdownException, TimeoutException):
            return
        except InvalidHandle:  # another thread destroyed something while it was being waited for
            return
        handler, entity, node = ready
        if isinstance(entity, Subscription):
            handler()
        else:
            begun = self._threads.submit(handler)
            while not (begun.running() or begun.done()):
                time.sleep(HANDOVER)
        self._running.append((handler, entity, node))
        for each in [each for each in self._running if each[0].done()]:
            self._running.remove(each)
            self._finish(*each)

    def _finish(self, handler: Any, entity: Any, node: Any) -> None:
        try:
            handler.result()
        except InvalidHandle:
            return
        except Exception as error:
            if not isinstance(entity, Service):
                raise
            name = getattr(entity, "srv_name", "a service")
            node.get_logger().error(f"{name}: {one_line(error)}")

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """As Executor.shutdown; callbacks that have not begun are dropped."""
        ended = super().shutdown(timeout_sec)
        self._threads.shutdown(wait=False, cancel_futures=True)
        return ended
