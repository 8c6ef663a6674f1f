# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Launching Triton's kernels on the device of their tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def launch(kernel: Any, programs: tuple[int, ...], out: Tensor, *given: Any, **constants: Any) -> Tensor:
    """Run `programs` of a kernel on the device of `out`; Triton takes the current one. Returns `out`."""
    if out.numel() == 0:
        return out
    if out.is_cuda and out.device.index != torch.cuda.current_device():
        with torch.cuda.device(out.device):
            kernel[programs](*given, **constants)
    else:
        kernel[programs](*given, **constants)
    return out
