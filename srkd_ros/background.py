# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Slow work in a thread of lowest priority, except for the parts of it that start threads which stay."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

R = TypeVar("R")

_background = threading.local()  # .requests: what the thread that waits shall run for this one


def in_background(function: Callable[[], R]) -> R:
    """Run a function in a thread of lowest priority, wait for it, and return or raise what it does.

    Loading a model then takes little from the thread that labels. What the function hands to at_full_priority runs in
    the calling thread, which only waits.
    """
    future: Future = Future()
    requests: queue.SimpleQueue[tuple[Callable[[], Any], Future] | None] = queue.SimpleQueue()

    def run() -> None:
        if hasattr(os, "setpriority"):
            with contextlib.suppress(OSError):  # a sandbox may forbid it
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # of this thread alone, on Linux
        _background.requests = requests
        settle(function, future)
        requests.put(None)

    threading.Thread(target=run, name="loader", daemon=True).start()
    while (request := requests.get()) is not None:
        settle(*request)
        del request  # holds the result, which may be a model
    return future.result()


def at_full_priority(function: Callable[[], R]) -> R:
    """Call a function that starts threads; from within in_background, in the thread that waits for it.

    Threads inherit the priority of the one that starts them, and without privileges none can raise its own again: a
    pool that is started in the background would do its work at the lowest priority for good.
    """
    requests = getattr(_background, "requests", None)
    if requests is None:
        return function()
    future: Future = Future()
    requests.put((function, future))
    return future.result()


def settle(function: Callable[[], Any], future: Future) -> None:
    """Call a function; the future has what it returns or raises."""
    try:
        future.set_result(function())
    except BaseException as error:  # whoever waits for the future would wait for ever
        future.set_exception(error)
