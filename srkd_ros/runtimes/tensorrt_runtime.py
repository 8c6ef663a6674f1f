# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The exported graph in TensorRT, on torch's CUDA memory and a stream of its own: nothing passes through the host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from srkd_ros.errors import CloudError, ConfigError, ModelError
from srkd_ros.geometry import Geometry
from srkd_ros.geometry.tables import named_tables
from srkd_ros.runtimes import tensorrt_cache
from srkd_ros.runtimes import tensorrt_engine as engines
from srkd_ros.runtimes.graph import FEATURES, LOGITS, check_inputs, graph_spec
from srkd_ros.runtimes.onnx_file import read_manifest, read_metadata


class TensorRTRuntime:
    """See srkd_ros.runtimes.Runtime. Builds the engine if there is none yet that fits the graph and this machine."""

    name = "tensorrt"

    def __init__(self, path: str | Path, device: torch.device, reason: str = "") -> None:
        trt = engines.require_tensorrt()
        if device.type != "cuda":
            raise ConfigError(f"runtime: tensorrt runs on CUDA devices alone, and the device is {device}")
        path, self.device = Path(path), device
        self._path = path
        metadata = read_metadata(path)
        self.manifest = read_manifest(path, metadata)
        self.geometry_spec = graph_spec(self.manifest.network)
        with torch.cuda.device(device):
            self._engine, built_for = _load_or_build(trt, path, device)
            self._context = _make_context(trt, self._engine)
            self._stream = torch.cuda.Stream(device)
        self.points = built_for.points
        if self._context is None:
            raise ModelError(
                f"{path}: not enough GPU memory for its engine of {self.points} points: build a smaller one with "
                f"`srkd-train export {path} --format tensorrt --points N`"
            )
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._tables = check_inputs([name for name in names if name != LOGITS], self.geometry_spec, path)
        self.precision = built_for.precision
        self.reason = reason or f"{built_for.tensorrt} on {torch.cuda.get_device_name(device)}, {built_for.precision}"

    def logits(self, features: Tensor, geometry: Geometry) -> Tensor:
        """See Runtime.logits. CloudError if the cloud has more voxels than the engine was built for."""
        tables = named_tables(geometry, self._tables, self.manifest.network.rope_base)
        feed = {FEATURES: features.float().contiguous(), **tables}
        logits = torch.empty(len(features), self.manifest.network.num_classes, device=self.device)
        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        for name, values in feed.items():
            if not self._context.set_input_shape(name, tuple(values.shape)):
                largest = tuple(self._engine.get_tensor_profile_shape(name, 0)[2])
                raise CloudError(
                    f"the cloud's {name} has shape {tuple(values.shape)}, the engine for {self.points} points takes at "
                    f"most {largest}: `srkd-train export {self._path} --format tensorrt --points N` builds a larger one"
                )
            self._context.set_tensor_address(name, values.data_ptr())
        self._context.set_tensor_address(LOGITS, logits.data_ptr())
        with torch.cuda.device(self.device):
            ran = self._context.execute_async_v3(self._stream.cuda_stream)
        if not ran:
            raise ModelError("TensorRT could not run the network; its log says why")
        current.wait_stream(self._stream)
        for values in (*feed.values(), logits):  # torch must not reuse their memory before this stream is done
            values.record_stream(self._stream)
        return logits


def _load_or_build(trt: Any, path: Path, device: torch.device) -> tuple[Any, tensorrt_cache.EngineKey]:
    """The deserialised engine of a graph, and its key; what cannot be used is built again."""
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    points, place = _points(), None
    found = tensorrt_cache.find(path, engines.engine_key(trt, path, points or 0, device))
    if found is not None:
        plan, key, file = found
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is not None:
            return engine, key
        engines.say(f"{file}: TensorRT refuses it; it is built again")
        points, place = key.points, file if os.access(file.parent, os.W_OK) else None
    file = engines.build_engine_file(path, points, place)
    key, plan = tensorrt_cache.read(file)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise ModelError(f"{file}: TensorRT refuses the engine that it has just built; its log says why")
    return engine, key


def _make_context(trt: Any, engine: Any) -> Any:
    """An execution context; None if memory is short.

    TensorRT for RTX would compile kernels for every new shape in the background, and every cloud has new shapes.
    """
    strategies = getattr(trt, "DynamicShapesKernelSpecializationStrategy", None)
    if strategies is None:
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.dynamic_shapes_kernel_specialization_strategy = strategies.NONE
    return engine.create_execution_context(config)


def _points() -> int | None:
    """Points of the sensor's scan, from SRKD_TENSORRT_POINTS; None if it is not set."""
    text = os.environ.get("SRKD_TENSORRT_POINTS")
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"SRKD_TENSORRT_POINTS: {text!r} is not a positive number of points")
    return int(text)
