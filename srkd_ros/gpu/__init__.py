# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Kernels of our own for NVIDIA GPUs, in Triton, which torch's CUDA wheels bring along. Without it torch does the work.

Nothing here runs unless it was taken for a device: srkd_ros.runtimes.gpu_trials does so where the kernels give what
torch gives, and give it sooner.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import torch


@dataclass(frozen=True)
class Kernels:
    """The modules of this package that need Triton."""

    geometry: ModuleType
    convolution: ModuleType


_taken: dict[torch.device, Kernels] = {}


def import_kernels() -> Kernels:
    """ImportError without Triton."""
    from srkd_ros.gpu import convolution, geometry

    return Kernels(geometry, convolution)


def taken_for(device: torch.device) -> Kernels | None:
    """The kernels that make the tables of geometry on this device; None where torch does."""
    return _taken.get(device)


def take(device: torch.device, kernels: Kernels | None) -> None:
    """From now on make tables on this device by these kernels; None: by torch."""
    if kernels is None:
        _taken.pop(device, None)
    else:
        _taken[device] = kernels


@contextlib.contextmanager
def taking(device: torch.device, kernels: Kernels | None) -> Iterator[None]:
    """`take` while this holds."""
    before = _taken.get(device)
    take(device, kernels)
    try:
        yield
    finally:
        take(device, before)
