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
_broken = ""  # why a recording failed; what torch then holds of it would spoil the next ones


def capture(run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """What replays `run` on the current device, on the same tensors, and its result, which each replay fills anew.

    RuntimeError if it cannot be recorded. One that fails half-way ends recording in this process.
    """
    global _broken
    device = torch.cuda.current_device()
    current, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    with _alone:
        if _broken:
            raise RuntimeError(_broken)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(2):  # libraries choose and load kernels, which cannot be recorded
                run()
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            try:
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    out = run()
                finally:
                    graph.capture_end()
            except RuntimeError as error:
                _broken = f"an earlier recording failed: {(str(error).splitlines() or [''])[0]}"
                raise
        current.wait_stream(stream)
    return graph.replay, out


def empty_cache() -> None:
    """Give back memory that torch keeps for later, once no recording is under way."""
    with _alone, contextlib.suppress(RuntimeError):  # after a recording that failed
        torch.cuda.empty_cache()
