# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What runs the network: torch, onnxruntime or TensorRT, behind one small interface."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from srkd_ros.errors import ConfigError, MissingPackageError, ModelError
from srkd_ros.geometry import Geometry, GeometrySpec
from srkd_ros.student import Manifest

RUNTIMES = ("auto", "torch", "onnx", "tensorrt")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


class Runtime(Protocol):
    """A loaded network. Geometry is made by the caller as `geometry_spec` says, on `device`."""

    name: str
    reason: str  # why this one, in a few words for a log
    device: torch.device
    manifest: Manifest
    geometry_spec: GeometrySpec
    precision: str  # of the matrix products: fp32, bf16 or fp16

    @property
    def points(self) -> int | None:
        """Points of the largest scan that it is made for; None: any."""
        ...

    def logits(self, features: Tensor, geometry: Geometry) -> Tensor:
        """Voxel features float32 [V, C] to logits [V, classes], on `device`."""
        ...


def choose_device(device: str) -> torch.device:
    """ "auto" is the first CUDA device if there is one, else the CPU; ConfigError for one that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device: {device!r} is none of auto, cpu, cuda, cuda:N") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device: {device!r} is not there; torch sees {torch.cuda.device_count()} CUDA devices")
    return chosen


def open_runtime(path: str | Path, runtime: str = "auto", device: str = "auto", precision: str = "auto") -> Runtime:
    """Load student.safetensors or student.onnx with the named runtime, or with the fastest that is available.

    `precision` is that of the matrix products in torch; "auto" is fp32 on CPUs and fp16 on CUDA. A graph has its own.
    ConfigError for a runtime that does not read the file, ModelError for a file that cannot be used,
    MissingPackageError, with the command that mends it, for a runtime that is not installed.
    """
    path = Path(path)
    if runtime not in RUNTIMES:
        raise ConfigError(f"runtime: {runtime!r} is not one of {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: {precision!r} is not one of {', '.join(PRECISIONS)}")
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    chosen = choose_device(device)
    if path.suffix == ".safetensors":
        from srkd_ros.runtimes.torch_runtime import TorchRuntime

        if runtime not in ("auto", "torch"):
            raise ConfigError(f"runtime: {runtime} needs an .onnx file; make one with `srkd-train export {path}`")
        return TorchRuntime(path, chosen, precision)
    if path.suffix == ".onnx":
        graph = _open_graph(path, runtime, device, chosen)
        if precision not in ("auto", graph.precision):
            raise ConfigError(
                f"precision: {path} is a graph in {graph.precision}; "
                f"`srkd-train export STUDENT --precision {precision}` makes one in {precision}"
                if precision != "bf16"
                else f"precision: {path} is a graph in {graph.precision}; bf16 needs the student's .safetensors file"
            )
        return graph
    raise ModelError(f"{path}: not a model file; expected .safetensors or .onnx")


def _open_graph(path: Path, runtime: str, device: str, chosen: torch.device) -> Runtime:
    """TensorRT where it runs, else onnxruntime on the GPU where it runs, else on the CPU."""
    from srkd_ros.runtimes import onnx_runtime, tensorrt_engine

    if runtime == "torch":
        raise ConfigError(f"runtime: torch needs the student's .safetensors file, not {path.name}")
    if runtime == "tensorrt":
        return _open_tensorrt(path, chosen)
    if runtime == "onnx" and device != "auto":
        return onnx_runtime.OnnxRuntime(path, chosen)
    missing = []
    if chosen.type == "cuda":
        if runtime == "onnx":
            missing.append("runtime onnx was asked for")
        else:
            try:
                tensorrt_engine.require_tensorrt()
                return _open_tensorrt(path, chosen)
            except MissingPackageError as error:
                missing.append(str(error).partition(":")[0])
            except ModelError as error:  # the engine cannot be built or loaded; the graph may be well
                missing.append(str(error))
        if onnx_runtime.has_cuda():
            try:
                return onnx_runtime.OnnxRuntime(path, chosen, f"onnxruntime on {chosen}: {missing[0]}")
            except ModelError as error:
                if device != "auto":
                    raise
                missing.append(str(error))
        elif device != "auto":
            raise MissingPackageError(f"device {device}: {' and '.join(missing)}: pip install onnxruntime-gpu")
        else:
            missing.append("onnxruntime has no CUDA")
    else:
        missing.append("no CUDA device" if device == "auto" else "the device asked for")
    return onnx_runtime.OnnxRuntime(path, torch.device("cpu"), f"onnxruntime on the CPU: {', '.join(missing)}")


def _open_tensorrt(path: Path, device: torch.device) -> Runtime:
    from srkd_ros.runtimes.tensorrt_runtime import TensorRTRuntime

    return TensorRTRuntime(path, device)
