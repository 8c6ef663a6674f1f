# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The exported graph in onnxruntime, on the CPU or a CUDA device. The robot needs onnxruntime alone, not onnx."""

from __future__ import annotations

import importlib
import importlib.util
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from srkd_ros.background import at_full_priority
from srkd_ros.errors import ConfigError, MissingPackageError, ModelError
from srkd_ros.geometry import Geometry
from srkd_ros.geometry.tables import named_tables
from srkd_ros.runtimes.graph import FEATURES, LOGITS, PRECISION_KEY, check_inputs, graph_spec
from srkd_ros.runtimes.onnx_file import read_manifest


def is_installed() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def has_cuda() -> bool:
    """True if the installed onnxruntime was built for CUDA."""
    return is_installed() and "CUDAExecutionProvider" in _import().get_available_providers()


def _import() -> ModuleType:
    try:
        return at_full_priority(partial(importlib.import_module, "onnxruntime"))
    except ImportError as error:
        raise MissingPackageError(f"runtime onnx needs onnxruntime: pip install onnxruntime ({error})") from error


class OnnxRuntime:
    """See srkd_ros.runtimes.Runtime."""

    name = "onnx"
    points = None

    def __init__(self, path: str | Path, device: torch.device, reason: str = "") -> None:
        onnxruntime = _import()
        self.device = device
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.enable_mem_pattern = False  # one pattern is kept for every shape, and no two clouds have the same
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # idle threads leave the cores to others
        options.log_severity_level = 3  # errors; its warnings concern its own optimiser
        providers: list = ["CPUExecutionProvider"]
        if device.type == "cuda":
            if not has_cuda():
                raise MissingPackageError(
                    f"device {device} needs onnxruntime-gpu in place of onnxruntime: pip install onnxruntime-gpu"
                )
            # Work is put on a stream that waits for torch's, and torch's for it; the host waits for neither.
            self._run_options = onnxruntime.RunOptions()
            self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
            self._stream = torch.cuda.Stream(device)
            place = {
                "device_id": device.index or 0,
                "user_compute_stream": str(self._stream.cuda_stream),
                "use_tf32": 0,  # ten bits, and the stem reads coordinates
                "arena_extend_strategy": "kSameAsRequested",  # not to the next power of two
            }
            providers.insert(0, ("CUDAExecutionProvider", place))
        elif device.type != "cpu":
            raise ConfigError(f"device: onnxruntime runs on cpu and cuda, not on {device.type}")
        try:
            self._session = at_full_priority(  # with the session comes its pool
                lambda: onnxruntime.InferenceSession(str(path), options, providers=providers)
            )
        except Exception as error:  # onnxruntime's exceptions have no common base but this one
            raise ModelError(f"{path}: onnxruntime cannot read it ({str(error).splitlines()[0]})") from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.manifest = read_manifest(path, metadata)
        self.geometry_spec = graph_spec(self.manifest.network)
        self._tables = check_inputs([value.name for value in self._session.get_inputs()], self.geometry_spec, path)
        self.precision = metadata.get(PRECISION_KEY, "fp32")
        if device.type == "cuda" and self._session.get_providers()[0] != "CUDAExecutionProvider":
            raise ModelError(
                f"{path}: onnxruntime could not start its CUDA part; its log says why (CUDA, cuDNN version)"
            )
        self.reason = reason or f"onnxruntime {onnxruntime.__version__} on {device.type}, {self.precision}"

    def logits(self, features: Tensor, geometry: Geometry) -> Tensor:
        """See Runtime.logits."""
        if self.device.type == "cuda":
            return self._logits_on_cuda(features, geometry)
        feed = self._inputs(features, geometry)
        (logits,) = self._session.run(None, {name: values.numpy() for name, values in feed.items()})
        return torch.from_numpy(logits)

    def _inputs(self, features: Tensor, geometry: Geometry) -> dict[str, Tensor]:
        tables = named_tables(geometry, self._tables, self.manifest.network.rope_base)
        return {FEATURES: features.float().contiguous(), **tables}

    def _logits_on_cuda(self, features: Tensor, geometry: Geometry) -> Tensor:
        """Reads and writes torch's memory in place."""
        feed = self._inputs(features, geometry)
        logits = torch.empty(len(features), self.manifest.network.num_classes, device=self.device)
        binding = self._session.io_binding()
        index = self.device.index or 0
        for name, values in feed.items():
            dtype = np.float32 if values.dtype == torch.float32 else np.int32
            binding.bind_input(name, "cuda", index, dtype, tuple(values.shape), values.data_ptr())
        binding.bind_output(LOGITS, "cuda", index, np.float32, tuple(logits.shape), logits.data_ptr())
        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        self._session.run_with_iobinding(binding, self._run_options)
        current.wait_stream(self._stream)
        for values in (*feed.values(), logits):  # freed memory must not be given out while the other stream reads it
            values.record_stream(self._stream)
        return logits
