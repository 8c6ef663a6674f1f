# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The network in plain torch: pair lists on CPUs, gather and matrix product on GPUs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from srkd_ros import student
from srkd_ros.errors import ModelError
from srkd_ros.geometry import Geometry
from srkd_ros.network import PointTransformer
from srkd_ros.network.folding import fold
from srkd_ros.network.packing import pack


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

    def __init__(self, path: str | Path, device: torch.device) -> None:
        self.device = device
        model, self.manifest = load_network(path)
        self.model = fold(model).to(device)
        if device.type == "cpu":
            pack(self.model)
        tables = "neighbors" if device.type == "cuda" else "pairs"
        self.geometry_spec = dataclasses.replace(model.geometry_spec, tables=tables)
        self.reason = f"student weights on {device.type}"

    def logits(self, features: Tensor, geometry: Geometry) -> Tensor:
        """See Runtime.logits. On CUDA the matrix products run in float16."""
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            return self.model(features, geometry).float()
