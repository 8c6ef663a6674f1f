# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""An executor that receives clouds at once and keeps slow services and timers out of their way."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy.context import Context
from rclpy.executors import (
    ConditionReachedException,
    Executor,
    ExternalShutdownException,
    ShutdownException,
    TimeoutException,
)
from rclpy.subscription import Subscription

HANDOVER = 2e-4  # seconds between two looks whether a thread has begun


class CloudExecutor(Executor):
    """Runs callbacks of subscriptions in the spinning thread, which must be short, all others in `threads` threads.

    rclpy's MultiThreadedExecutor hands a callback to its threads again and again, in a loop that never lets go of
    Python's lock, until one of them has begun it; where another thread works with torch, which takes the lock for every
    operation, clouds that take 25 ms then take up to a second. This one waits, asleep, until the callback has begun.
    """

    def __init__(self, threads: int, *, context: Context | None = None) -> None:
        super().__init__(context=context)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="callbacks")
        self._running: list[Any] = []

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for one callback, and run it or hand it over; raises what a callback has raised."""
        try:
            ready: Any = self.wait_for_ready_callbacks(timeout_sec=timeout_sec)
        except (ConditionReachedException, ExternalShutdownException, ShutdownException, TimeoutException):
            return
        handler, entity, _node = ready
        if isinstance(entity, Subscription):
            handler()
        else:
            self._threads.submit(handler)
            while not (handler.executing() or handler.done() or self._is_shutdown):
                time.sleep(HANDOVER)
        self._running.append(handler)
        for task in [task for task in self._running if task.done()]:
            self._running.remove(task)
            task.result()

    def spin_once_until_future_complete(self, future: Any, timeout_sec: Any = None) -> None:
        """As spin_once; a future that completes ends the waiting."""
        future.add_done_callback(lambda _: self.wake())
        self.spin_once(getattr(timeout_sec, "timeout", timeout_sec))

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """As Executor.shutdown; callbacks that have not begun are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        return super().shutdown(timeout_sec)
