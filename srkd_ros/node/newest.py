# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""NewestWorker: one thread that works on the newest item; an older one that still waits is dropped and counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from srkd_ros.background import settle

T = TypeVar("T")
R = TypeVar("R")


class NewestWorker(Generic[T]):
    """Runs `work(item)` in its own thread. At most one item is worked on and one waits, however fast they arrive.

    `failed(error)` hears of every exception of `work`; the thread goes on.
    """

    def __init__(self, work: Callable[[T], None], failed: Callable[[Exception], None], name: str = "worker") -> None:
        self._work = work
        self._failed = failed
        self._changed = threading.Condition()
        self._waiting: list[T] = []  # never more than one
        self._calls: list[tuple[Callable[[], Any], Future]] = []
        self._stopping = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand over an item; returns at once. It replaces one that still waits."""
        with self._changed:
            if self._stopping:
                return
            self.dropped += len(self._waiting)
            self._waiting = [item]
            self._changed.notify()

    def call(self, function: Callable[[], R]) -> R:
        """Run a function in the worker's thread, between two items, and return or raise what it does.

        Threads and kernels that a library keeps for each calling thread are then warm where they are needed.
        """
        future: Future = Future()
        with self._changed:
            if self._stopping:
                raise RuntimeError("the worker has been stopped")
            self._calls.append((function, future))
            self._changed.notify()
        return future.result()

    def clear(self) -> None:
        """Forget the item that waits."""
        with self._changed:
            self._waiting = []

    def stop(self, timeout: float) -> bool:
        """End the thread after the current item; False if that takes longer than `timeout` seconds."""
        with self._changed:
            self._stopping = True
            self._waiting = []
            for _, future in self._calls:
                future.cancel()
            self._calls = []
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._calls or self._waiting)
                if self._stopping:
                    return
                call = self._calls.pop(0) if self._calls else None
                item = None if call else self._waiting.pop()
            if call is not None:
                settle(*call)
                del call  # holds the result, which may be a model
                continue
            try:
                self._work(item)  # type: ignore[arg-type]
            except Exception as error:
                self._failed(error)
            item = None  # a cloud of megabytes must not live until the next one
