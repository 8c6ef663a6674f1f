# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Packing: linear maps with weights laid out ahead for oneDNN's kernels, and GELU in the same pass. CPUs, inference.

The operators are those that torch's own compiler emits for CPUs. Where they are missing or do not agree with torch's
linear map, layers stay as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srkd_ros.network.attention import PatchAttention, rows_of_qkv

ROWS = 4096  # voxels that the layout is chosen for; any number may come


class PackedLinear(nn.Module):
    """x @ weight.T + bias, then GELU if asked: float32 [V, C_in] to [V, C_out]."""

    def __init__(self, linear: nn.Linear, gelu: bool = False) -> None:
        super().__init__()
        # Not a buffer: the layout is opaque, it can be neither saved nor moved.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().contiguous(), ROWS)
        self.bias = linear.bias
        self.gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        name, algorithm = ("gelu", "none") if self.gelu else ("none", "")
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self.bias, name, [], algorithm)


@torch.no_grad()
def pack(model: nn.Module) -> nn.Module:
    """Replace the linear maps of a folded network on the CPU, in place; returns the model."""
    if not available():
        return model
    for module in list(model.modules()):
        if isinstance(module, PatchAttention) and module.rope_base is not None and not module.interleaved:
            rows = rows_of_qkv(module.qkv.in_features, module.heads, module.qkv.weight.device)
            module.qkv.weight = nn.Parameter(module.qkv.weight[rows], requires_grad=False)
            module.qkv.bias = nn.Parameter(module.qkv.bias[rows], requires_grad=False)
            module.interleaved = True
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential):
            _pack_sequence(module)
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, PackedLinear(child))
    return model


def _pack_sequence(sequence: nn.Sequential) -> None:
    for i in range(len(sequence) - 1):
        linear, activation = sequence[i], sequence[i + 1]
        if isinstance(linear, nn.Linear) and isinstance(activation, nn.GELU) and activation.approximate == "none":
            sequence[i], sequence[i + 1] = PackedLinear(linear, gelu=True), nn.Identity()


def available() -> bool:
    """Whether the operators are there and compute what they should."""
    try:
        generator = torch.Generator().manual_seed(0)
        linear = nn.Linear(24, 32)
        x = torch.randn(5, 24, generator=generator)
        with torch.no_grad():
            got = PackedLinear(linear, gelu=True)(x)
            return torch.allclose(got, F.gelu(linear(x)), rtol=1e-4, atol=1e-5)
    except (AttributeError, RuntimeError, TypeError):  # another build of torch
        return False
