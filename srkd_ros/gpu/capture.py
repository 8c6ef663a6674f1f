# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Recording work of a GPU as a CUDA graph while other threads go on using the GPU.

A recording is one at a time in a process, and what waits for the whole device or frees cached memory meanwhile spoils
it. So: wait for streams, not for devices, and free memory by `empty_cache`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import torch
from torch import Tensor

_alone = threading.Lock()
_streams: dict[int, torch.cuda.Stream] = {}  # one a device: cuBLAS keeps memory for each that it has worked on
_broken = ""  # why a recording failed that could not be ended


def capture(run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """What replays `run` on the current device, on the same tensors, and its result, which each replay fills anew.

    RuntimeError if it cannot be recorded, torch.OutOfMemoryError where memory is short. If CUDA cannot end a recording
    that failed, it was the last in this process.
    """
    device = torch.cuda.current_device()
    current = torch.cuda.current_stream(device)
    with _alone:
        if _broken:
            raise RuntimeError(_broken)
        if device not in _streams:
            _streams[device] = torch.cuda.Stream(device)
        stream = _streams[device]
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(2):  # libraries choose and load kernels, which cannot be recorded
                run()
            stream.synchronize()
            torch.cuda.empty_cache()  # of recordings let go, too: while one is made, none of it can be had
            graph = torch.cuda.CUDAGraph()
            out = _record(graph, run)
        current.wait_stream(stream)
    return graph.replay, out


def _record(graph: torch.cuda.CUDAGraph, run: Callable[[], Tensor]) -> Tensor:
    global _broken
    out, failed = None, None
    try:
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            out = run()
        except BaseException as error:
            failed = error
        graph.capture_end()
    except RuntimeError as error:  # what torch then holds of it would spoil the next ones
        _broken = f"an earlier recording failed: {(str(failed or error).splitlines() or [''])[0]}"
        raise failed or error from None
    if failed is not None:
        raise failed
    assert out is not None
    return out


def empty_cache() -> None:
    """Give back memory that torch keeps for later, once no recording is under way."""
    with _alone, contextlib.suppress(RuntimeError):  # after a recording that failed
        torch.cuda.empty_cache()
