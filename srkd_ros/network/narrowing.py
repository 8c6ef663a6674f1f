# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Narrowing: weights of matrix products in half precision, ahead of inference on GPUs.

What autocast does, without casting the weights anew for every cloud: products and attention are narrow; residuals,
norms, the stem, which reads coordinates, and the head stay float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srkd_ros.network.attention import PatchAttention, interleave
from srkd_ros.network.blocks import Pooling
from srkd_ros.network.convolution import SubmanifoldConvolution

EXACT = ("stem", "head")  # layers that are float32 in any case


class NarrowLinear(nn.Module):
    """x @ weight.T + bias in `dtype`: [V, C_in] to [V, C_out]. The result is float32, or, with `narrow`, `dtype`."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, narrow: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().to(dtype), requires_grad=False)
        self.bias = None
        if linear.bias is not None:
            self.bias = nn.Parameter(linear.bias.detach().to(dtype), requires_grad=False)
        self.out_dtype = dtype if narrow else torch.float32

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias).to(self.out_dtype)


@torch.no_grad()
def narrow(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Narrow the linear maps and convolutions of a folded network, in place; returns the model.

    `dtype` is float16 or bfloat16; float32 leaves the types alone. Either way rotary attention's rows are put in order.
    """
    interleave(model)
    if dtype == torch.float32:
        return model
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if name in EXACT:
                continue
            if isinstance(child, nn.Linear):
                setattr(module, name, NarrowLinear(child, dtype, _read_narrow(module, name)))
            elif isinstance(child, SubmanifoldConvolution):
                child.weight = nn.Parameter(child.weight.to(dtype), requires_grad=False)
    return model


def _read_narrow(module: nn.Module, name: str) -> bool:
    """Whether what follows a linear map works in its type: attention, the MLP's second half, a maximum without norm."""
    if isinstance(module, PatchAttention):
        return name == "qkv"
    if isinstance(module, Pooling):
        return not isinstance(module.norm, nn.LayerNorm)
    return isinstance(module, nn.Sequential) and isinstance(module[-1], nn.Linear) and int(name) < len(module) - 1
