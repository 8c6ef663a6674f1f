# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The clouds and networks that several entries measure. Weights are random: time does not depend on them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch

from benchmarks import clouds
from srkd_ros import student
from srkd_ros.errors import ConfigError, SrkdError
from srkd_ros.geometry import GeometrySpec
from srkd_ros.labels import LabelSet
from srkd_ros.native import load_kernels
from srkd_ros.network import PointTransformer, preset
from srkd_ros.network.packing import available
from srkd_ros.runtimes import open_runtime

OURS = "srkd_ros"
QUICK = ("vlp-16", "120k")  # clouds of a quick run
CLOUDS = (("vlp-16", 0.2), ("os1-64", 0.2), ("os1-128", 0.2), ("120k", 0.2))
"""Name and voxel size in metres, for networks of robots."""


@cache
def cloud_of(name: str) -> clouds.BenchmarkCloud:
    """A simulated sweep by its sensor's name, "120k", or "rellis"; "hdl-32e" is recorded where that is at hand."""
    if name == "120k":
        return clouds.dense()
    if name == "hdl-32e":
        return clouds.nuscenes() or clouds.simulated("hdl-32e")
    if name == "rellis":
        recorded = clouds.rellis()
        if recorded is None:
            raise LookupError(name)
        return recorded
    return clouds.simulated(name)


def network(name: str) -> PointTransformer:
    """A preset with random weights that are the same in every run, in eval mode."""
    torch.manual_seed(0)
    return PointTransformer(preset(name)).eval()


@cache
def student_file(name: str, voxel_size: float) -> Path:
    """A student file of a preset."""
    model = network(name)
    statistics = student.InputStatistics(
        intensity={"0.01": 0.0, "0.5": 0.2, "0.99": 1.0},
        range={"0.01": 2.0, "0.5": 12.0, "0.99": 70.0},
        z={"0.01": -2.0, "0.5": -1.0, "0.99": 6.0},
    )
    preprocessing = student.Preprocessing(voxel_size=voxel_size)
    manifest = student.Manifest(model.config, LabelSet.load("semantickitti"), preprocessing, 1.0, statistics)
    path = _folder() / f"{name}-{voxel_size}.safetensors"
    student.save(path, model.state_dict(), manifest)
    return path


def bf16_available(device: str) -> bool:
    """Whether the torch runtime can multiply in bf16 instead of fp32; on GPUs its fp16 is measured."""
    return torch.device(device).type == "cpu" and available(torch.bfloat16)


def check_device(device: str) -> None:
    """ConfigError in one line where there is no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no CUDA device")


def kernels_available(device: str) -> bool:
    """Whether there are kernels of ours, or other things to take, that torch alone can be held against."""
    return torch.device(device).type != "cpu" or load_kernels() is not None


def geometry_spec(name: str, device: str) -> GeometrySpec:
    """The tables that the torch runtime asks for."""
    return open_runtime(student_file(name, 0.2), "torch", device).geometry_spec


@cache
def onnx_file(name: str, voxel_size: float) -> tuple[Path | None, str]:
    """The exported graph of a preset's student; or None, and why there is none."""
    try:
        import onnxruntime  # noqa: F401

        from srkd_train.export import export_onnx
    except ImportError as error:
        return None, f"needs {error.name}"
    student_path = student_file(name, voxel_size)
    try:
        return export_onnx(student_path, student_path.with_suffix(".onnx")), ""
    except SrkdError as error:
        return None, str(error)


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="srkd-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
