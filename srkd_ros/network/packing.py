# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Packing: linear maps with weights laid out ahead for oneDNN's kernels, and GELU in the same pass. CPUs, inference.

The operators are those that torch's own compiler emits for CPUs. Where they are missing or do not agree with torch's
linear map, layers stay as they are. In bfloat16 the factors of products alone are narrow, those of attention where
srkd_ros.native computes it: sums, softmax, residuals and norms stay float32, as do the stem, which reads coordinates,
and the head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srkd_ros import native
from srkd_ros.native.kernels import paired
from srkd_ros.network.attention import PatchAttention, interleave
from srkd_ros.network.convolution import SubmanifoldConvolution
from srkd_ros.network.narrowing import EXACT

ROWS = 4096  # voxels that the layout is chosen for; any number may come


class PackedLinear(nn.Module):
    """x @ weight.T + bias, then GELU if asked: [V, C_in] to [V, C_out].

    x and weights enter the products as `dtype` (float32, bfloat16). The result is float32, or, with `narrow`, `dtype`.
    """

    def __init__(
        self, linear: nn.Linear, gelu: bool = False, dtype: torch.dtype = torch.float32, narrow: bool = False
    ) -> None:
        super().__init__()
        self.dtype, self.out_dtype = dtype, dtype if narrow else torch.float32
        # Not a buffer: the layout is opaque, it can be neither saved nor moved.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().to(dtype).contiguous(), ROWS)
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self.gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        name, algorithm = ("gelu", "none") if self.gelu else ("none", "")
        out = torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self._weight, self.bias, name, [], algorithm)
        return out.to(self.out_dtype)


@torch.no_grad()
def pack(model: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Replace the linear maps of a folded network on the CPU, in place; returns the model.

    `dtype` bfloat16 narrows its convolutions too; ask available(dtype) first.
    """
    interleave(model)
    if not available(dtype):
        return model
    kernels = native.load_kernels()
    ours = kernels is not None and dtype in kernels.dtypes
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential):
            _pack_sequence(module, dtype)
        for name, child in list(module.named_children()):
            own = torch.float32 if name in EXACT else dtype
            if isinstance(child, nn.Linear):
                setattr(module, name, PackedLinear(child, dtype=own))
            elif isinstance(child, SubmanifoldConvolution) and own == torch.bfloat16 and ours:
                child.paired = paired(child.weight)
            elif isinstance(child, SubmanifoldConvolution):
                child.weight = nn.Parameter(child.weight.to(own), requires_grad=False)
            elif isinstance(child, PatchAttention) and ours:
                child.dtype = dtype
    return model


def _pack_sequence(sequence: nn.Sequential, dtype: torch.dtype) -> None:
    for i in range(len(sequence) - 1):
        linear, activation = sequence[i], sequence[i + 1]
        if isinstance(linear, nn.Linear) and isinstance(activation, nn.GELU) and activation.approximate == "none":
            narrow = i + 2 < len(sequence) and isinstance(sequence[i + 2], nn.Linear)  # which would narrow it again
            sequence[i], sequence[i + 1] = PackedLinear(linear, True, dtype, narrow), nn.Identity()


def available(dtype: torch.dtype = torch.float32) -> bool:
    """Whether the operators are there for this type on this CPU, and compute what they should."""
    try:
        generator = torch.Generator().manual_seed(0)
        linear = nn.Linear(24, 32)
        x = torch.randn(5, 24, generator=generator)
        with torch.no_grad():
            got = PackedLinear(linear, True, dtype)(x)
            wanted = F.gelu(linear(x))
            if dtype == torch.float32:
                return torch.allclose(got, wanted, rtol=1e-4, atol=1e-5)
            return torch.allclose(got, wanted, rtol=2e-2, atol=2e-2)
    except (AttributeError, RuntimeError, TypeError):  # another build of torch
        return False
