# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The network in torch, on CPUs with the kernels of srkd_ros.native where they were built."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from srkd_ros import native, student
from srkd_ros.errors import ConfigError, ModelError
from srkd_ros.geometry import Geometry
from srkd_ros.network import PointTransformer
from srkd_ros.network.folding import fold
from srkd_ros.network.narrowing import narrow
from srkd_ros.network.packing import available, pack
from srkd_ros.runtimes.gpu_trials import Network, take_fastest

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_network(path: str | Path) -> tuple[PointTransformer, student.Manifest]:
    """The network of a student file, in eval mode on the CPU; ModelError if weights and manifest do not fit."""
    tensors, manifest = student.load(path)
    with torch.device("meta"):
        model = PointTransformer(manifest.network)
    try:
        model.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ModelError(f"{path}: its weights do not fit its manifest: {reason}") from error
    return model.eval(), manifest


class TorchRuntime:
    """See srkd_ros.runtimes.Runtime."""

    name = "torch"
    points = None

    def __init__(self, path: str | Path, device: torch.device, precision: str = "auto") -> None:
        self.device = device
        self.precision = _precision(precision, device)
        dtype = _DTYPES[self.precision]
        model, self.manifest = load_network(path)
        self.model = fold(model).to(device)
        (pack if device.type == "cpu" else narrow)(self.model, dtype)
        self.geometry_spec = model.geometry_spec.for_inference(device, dtype)
        self._network: Network = self.model
        self.reason = f"student weights on {device.type}, {self.precision}"
        if device.type == "cpu":
            kernels = native.load_kernels() if self.geometry_spec.tables == "neighbors" else None
            self.reason += f", kernels for {kernels.kind}" if kernels else ", without the C++ kernels"
            if kernels and dtype == torch.float32 and torch.bfloat16 in kernels.dtypes:
                self.reason += ", precision bf16 would be faster"
        else:
            torch.backends.cuda.enable_cudnn_sdp(False)  # it makes a plan for every new number of patches
            self._network, self.geometry_spec, found = take_fastest(self.model, self.geometry_spec)
            self.reason += f", {found}"

    def logits(self, features: Tensor, geometry: Geometry) -> Tensor:
        """See Runtime.logits."""
        return self._network(features, geometry).float()


def _precision(wanted: str, device: torch.device) -> str:
    """The type of the matrix products; ConfigError if the device has none of that name."""
    if wanted == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if device.type == "cpu":
        if wanted == "fp16":
            raise ConfigError("precision: fp16 is for GPUs; a CPU takes fp32 or bf16")
        if wanted == "bf16" and not available(torch.bfloat16):
            raise ConfigError("precision: this CPU, or this build of torch, cannot multiply in bf16; take fp32")
    return wanted
