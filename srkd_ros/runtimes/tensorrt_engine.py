# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""TensorRT engines: built from an exported graph for this machine's GPU and a sensor, found again in the cache."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srkd_ros.background import at_full_priority
from srkd_ros.errors import ConfigError, MissingPackageError, ModelError
from srkd_ros.geometry.tables import table_dimensions
from srkd_ros.network import PointTransformerConfig
from srkd_ros.runtimes import tensorrt_cache
from srkd_ros.runtimes.graph import FEATURES, PRECISION_KEY
from srkd_ros.runtimes.onnx_file import read_manifest, read_metadata
from srkd_ros.runtimes.tensorrt_cache import EngineKey
from srkd_ros.student import file_hash

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")  # the last is tensorrt_rtx without its alias package
DEFAULT_POINTS = 131_072  # 64 beams of 2048 or 128 of 1024 columns

# Occupied voxels as shares of the sensor's points, by the voxels' size in metres; in between by the logarithm, beyond
# the last half as many for twice the size. The typical ones are those of a 64-beam scan; the largest leave room above a
# sparse 32-beam scan, whose points share the fewest voxels (0.66, 0.52, 0.36, 0.23, 0.13).
_SIZES = (0.05, 0.10, 0.20, 0.40, 0.80)
_TYPICAL = (0.40, 0.25, 0.15, 0.08, 0.04)
_LARGEST = (1.00, 0.95, 0.80, 0.40, 0.20)
PROFILE = f"{_SIZES} {_TYPICAL} {_LARGEST}, no TF32"

_log = logging.getLogger("srkd_ros.tensorrt")


def is_installed() -> bool:
    """True if TensorRT, or TensorRT for RTX, is there. Imports nothing."""
    return any(importlib.util.find_spec(name) is not None for name in MODULES)


def require_tensorrt() -> Any:
    """The TensorRT module; MissingPackageError if there is none that loads."""
    reason = ""
    for name in MODULES:
        try:
            return at_full_priority(partial(importlib.import_module, name))
        except ImportError as error:
            if error.name != name:  # it is there and does not load
                reason = f" ({str(error).splitlines()[0]})"
    raise MissingPackageError(
        f"TensorRT is not installed{reason}: pip install tensorrt (Jetson: sudo apt install python3-libnvinfer)"
    )


def version(trt: Any) -> str:
    """Which TensorRT and its version."""
    return f"{'TensorRT-RTX' if 'rtx' in trt.__name__ else 'TensorRT'} {trt.__version__}"


def gpu_name(trt: Any, device: torch.device | None) -> str:
    """What an engine is bound to. TensorRT-RTX's plans serve every GPU since Ampere, and can be built without one."""
    capability = torch.cuda.get_device_capability(device) if device is not None else None
    if "rtx" in trt.__name__ and capability != (7, 5):
        return "Ampere or later"
    if device is None or capability is None:
        raise ConfigError("building a TensorRT engine needs the GPU that will run it; there is no CUDA device here")
    has = torch.cuda.get_device_properties(device)  # Jetson modules have one name, and a slice of a GPU has the GPU's
    return (
        f"{has.name}, compute capability {has.major}.{has.minor}, {has.multi_processor_count} multiprocessors, "
        f"{has.total_memory >> 30} GiB"
    )


def engine_key(trt: Any, graph: Path, points: int, device: torch.device | None) -> EngineKey:
    """The key of the engine that this machine needs for a graph."""
    precision = read_metadata(graph).get(PRECISION_KEY, "fp32")
    return EngineKey(file_hash(graph), version(trt), gpu_name(trt, device), precision, points, PROFILE)


def _share(shares: tuple[float, ...], size: float) -> float:
    """Voxels of `size` metres that a point occupies."""
    if size > _SIZES[-1]:
        return shares[-1] * _SIZES[-1] / size
    return float(np.interp(math.log(size), np.log(_SIZES), shares))


def dimension_ranges(config: PointTransformerConfig, points: int, voxel_size: float) -> dict[str, tuple[int, int, int]]:
    """Least, typical and largest size of each dynamic dimension, for a sensor of `points` points a scan.

    `voxel_size` is the finest level's, in metres.

    One voxel is always enough, so that any cloud of a sparse or obstructed sensor passes.
    """
    if points < 1:
        raise ConfigError(f"--points: {points} is not a positive number of points")
    ranges = {}
    for level in range(len(config.encoder_channels)):
        typical, largest = (
            max(1, math.ceil(points * _share(shares, voxel_size * 2**level))) for shares in (_TYPICAL, _LARGEST)
        )
        width = config.patch_size
        ranges[f"voxels{level}"] = (1, typical, largest)
        ranges[f"width{level}"] = (1, min(typical, width), min(largest, width))
        ranges[f"patches{level}"] = (1, math.ceil(typical / width), math.ceil(largest / width))
    return ranges


def build(trt: Any, graph: Path, points: int, turing: bool = False) -> bytes:
    """Serialised plan of a graph. ModelError with the parser's or builder's words if TensorRT refuses it."""
    manifest = read_manifest(graph, read_metadata(graph))
    logger = _make_logger(trt)
    builder = trt.Builder(logger)
    # Types come from the graph (fp16 graphs carry fp16 weights); TensorRT 11 and RTX know no other way.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph.read_bytes()):
        raise ModelError(f"{graph}: TensorRT cannot read it: {parser.get_error(0).desc()}")
    settings = builder.create_builder_config()
    settings.clear_flag(trt.BuilderFlag.TF32)  # on by default: ten bits, and the stem reads coordinates
    profile = builder.create_optimization_profile()
    ranges = dimension_ranges(manifest.network, points, manifest.preprocessing.voxel_size)
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        dynamic = {0: "voxels0"} if tensor.name == FEATURES else table_dimensions(tensor.name)
        profile.set_shape(
            tensor.name,
            *([ranges[dynamic[a]][i] if a in dynamic else n for a, n in enumerate(tensor.shape)] for i in range(3)),
        )
    settings.add_optimization_profile(profile)
    if turing and "rtx" in trt.__name__:
        settings.num_compute_capabilities = 1
        settings.set_compute_capability(trt.ComputeCapability.SM75, 0)
    monitor = _make_monitor(trt)
    settings.progress_monitor = monitor  # kept in a variable: TensorRT does not own it
    plan = builder.build_serialized_network(network, settings)
    if plan is None:
        raise ModelError(f"{graph}: TensorRT could not build it: {logger.last_error or 'no reason given'}")
    return bytes(plan)


def require_builder() -> tuple[Any, torch.device | None]:
    """The TensorRT module and the GPU to build for; MissingPackageError or ConfigError if there is none."""
    trt = require_tensorrt()
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else None
    gpu_name(trt, device)
    return trt, device


def build_engine_file(graph: Path, points: int | None = None, output: Path | None = None) -> Path:
    """Build the engine that this machine needs for a graph, and store it where the runtime looks for it."""
    trt, device = require_builder()
    points = DEFAULT_POINTS if points is None else points
    key = engine_key(trt, graph, points, device)
    start = time.monotonic()
    say(f"building the engine of {graph.name} ({key.tensorrt}, {key.gpu}, {key.precision}); it can take minutes")
    plan = build(trt, graph, points, turing=device is not None and torch.cuda.get_device_capability(device) == (7, 5))
    path = tensorrt_cache.write(graph, key, plan, output)
    say(f"built {path} in {time.monotonic() - start:.0f} s, {len(plan) / 1e6:.0f} MB")
    return path


def say(text: str) -> None:
    """To the log, or to stderr where nobody has set logging up: a build must not look like a hang."""
    if _log.hasHandlers():
        _log.info(text)
    else:
        print(text, file=sys.stderr, flush=True)


def _make_logger(trt: Any) -> Any:
    class Logger(trt.ILogger):
        """TensorRT's messages, warnings and worse, to Python's logging; keeps the last error."""

        def __init__(self) -> None:
            super().__init__()
            self.last_error = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.last_error = message.splitlines()[0]
                _log.error(message)
            elif severity == trt.ILogger.WARNING:
                _log.debug(message)

    return Logger()


def _make_monitor(trt: Any, every: float = 3.0) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Says every few seconds how far the build is. TensorRT calls it from its own threads."""

        def __init__(self) -> None:
            super().__init__()
            self._start = self._last = time.monotonic()
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            self._tell(phase_name, 0)

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, step + 1)
            return True  # go on

        def _tell(self, phase: str, step: int) -> None:
            now = time.monotonic()
            if now - self._last >= every:
                self._last = now
                of = f" {step} of {self._steps[phase]}" if phase in self._steps else ""
                say(f"building, {now - self._start:.0f} s: {phase}{of}")

    return Monitor()
