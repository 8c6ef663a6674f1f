# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Kernels of our own for CPUs, in C++: what torch's operators do slowly for sparse voxels and narrow heads.

They are built with the package where there is a compiler (setup.py), for several kinds of processor; without them torch
does the same work. `SRKD_NATIVE=0` leaves them alone, another value names the kind to take.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch

from srkd_ros.native.kernels import Kernels
from srkd_ros.native.sources import sources_hash

KINDS = ("avx512bf16", "avx512", "avx2", "generic")  # the best first
FOLDER = Path(__file__).parent

_left_alone = False


def kernels_for(*tensors: torch.Tensor) -> Kernels | None:
    """The kernels, if they can take these tensors: float32 on the CPU, no gradient wanted, nothing traced."""
    if torch.is_grad_enabled() or any(t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors):
        return None
    if any(type(t) not in (torch.Tensor, torch.nn.Parameter) for t in tensors):  # one that only stands for another
        return None
    if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export() or torch.jit.is_tracing():
        return None
    return load_kernels()


def load_kernels() -> Kernels | None:
    """The kernels for this machine; None if they were not built, were built from other sources, or are not wanted."""
    return None if _left_alone else _load()


@contextlib.contextmanager
def without_kernels() -> Iterator[None]:
    """While this holds, torch does their work, in all threads: for tests and benchmarks that compare."""
    global _left_alone
    before, _left_alone = _left_alone, True
    try:
        yield
    finally:
        _left_alone = before


@cache
def _load() -> Kernels | None:
    wanted = os.environ.get("SRKD_NATIVE", "")
    region = _parallel_region()
    for kind in KINDS if wanted in ("", "1") else (wanted,):
        for suffix in EXTENSION_SUFFIXES:
            file = FOLDER / f"_{kind}{suffix}"
            if file.is_file() and (kernels := _open(file, kind, region)) is not None:
                return kernels
    return None


def _open(file: Path, kind: str, region: ctypes.c_void_p | None) -> Kernels | None:
    try:
        library = ctypes.CDLL(str(file))
        library.srkd_sources.restype = ctypes.c_char_p
        made_of = library.srkd_sources().decode()
    except (AttributeError, OSError):  # of another system, or not ours
        return None
    if made_of != (sources_hash(FOLDER) or made_of) or not library.srkd_supported():
        return None
    library.srkd_threads(region)
    return Kernels(library, kind)


def _parallel_region() -> ctypes.c_void_p | None:
    """GOMP_parallel of the OpenMP library that torch uses; None where it is another one: one thread, then."""
    try:
        maps = Path("/proc/self/maps").read_text().splitlines()
    except OSError:  # not Linux
        return None
    loaded = {fields[5] for fields in (line.split(maxsplit=5) for line in maps) if "/libgomp" in fields[-1]}
    for path in sorted(loaded, key=lambda path: ("/torch" not in path, path)):  # other libraries may bring their own
        with contextlib.suppress(AttributeError, OSError):
            return ctypes.cast(ctypes.CDLL(path).GOMP_parallel, ctypes.c_void_p)
    return None
