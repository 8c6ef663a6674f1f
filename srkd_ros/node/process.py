# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The process around the node: a signal stops it within a second, an error at start ends it in one line."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from srkd_ros.errors import SrkdError
from srkd_ros.node.executor import CloudExecutor
from srkd_ros.node.transport import profile_environment

PATIENCE = 0.6  # seconds for the cloud in work when the process is told to stop
WRONG_PARAMETERS = (InvalidParameterTypeException, InvalidParameterValueException, ParameterUninitializedException)


def run(make_node: Callable[..., Any], args: list[str] | None = None) -> int:
    """Spin `make_node(startup_failed=...)` until a signal, then end the process; returns only if it cannot start.

    The main thread only waits: a signal reaches Python there at once, even while torch is loading a model elsewhere.
    """
    stop = threading.Event()
    status = 0

    def end(_signal: int, _frame: object) -> None:
        stop.set()

    def startup_failed(reason: str) -> None:
        nonlocal status
        if not stop.is_set():  # a start that fails because the process is ending is no failure
            status = 2
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    os.environ.update(profile_environment())
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = make_node(startup_failed=startup_failed)
    except (SrkdError, *WRONG_PARAMETERS) as error:
        return _refuse(str(error))
    except Exception as error:  # rclpy's errors about --ros-args have no common base
        return _refuse(f"{type(error).__name__}: {error}")

    executor = CloudExecutor()
    executor.add_node(node)

    def spin(executor: CloudExecutor) -> None:
        nonlocal status
        try:
            executor.spin()
        except ExternalShutdownException:
            pass
        except Exception as error:
            if not stop.is_set():
                status = _refuse(f"{type(error).__name__}: {error}")
        stop.set()

    spinning = threading.Thread(target=spin, args=(executor,), name="executor", daemon=True)
    spinning.start()
    stop.wait()
    try:
        if node.close(PATIENCE) and executor.shutdown(0.2):
            spinning.join(0.2)
            node.destroy_node()
        rclpy.try_shutdown()
        del node, executor
        gc.collect()  # a lifecycle node lives in cycles; with it goes its shared memory, which outlives the process
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # Python's own way out, with torch loaded, takes seconds on a busy machine


def _refuse(text: str) -> int:
    print(f"error: {(text.splitlines() or ['unknown'])[0]}", file=sys.stderr)
    return 2
