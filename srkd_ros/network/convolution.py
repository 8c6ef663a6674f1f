# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Submanifold sparse convolution (Graham and van der Maaten, 2017): the output has the sites of the input.

Forms of the same sum. Pair lists: per kernel offset one gather, one matrix product, one scatter-add; little memory, and
torch's fastest on CPUs. Neighbour table: one gather [V, K C] and one matrix product, the form that engines run; or, in
one pass, a kernel of srkd_ros.native.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from srkd_ros import native
from srkd_ros.geometry.levels import Level
from srkd_ros.geometry.neighbors import Pairs

Accelerator = Callable[["SubmanifoldConvolution", Tensor, Level], "Tensor | None"]

accelerated: Accelerator | None = None
"""Set by an optional accelerator (spconv on CUDA) to take over all convolutions; it returns None to decline one."""


class SubmanifoldConvolution(nn.Module):
    """out[v] = bias + sum over offsets k of x[neighbour k of v] @ weight[k]; missing neighbours count as zero.

    `weight` is [K, C_in, C_out] with K = kernel_size**3 offsets in the order of geometry.neighbors.offsets (x slowest).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, bias: bool = True) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.weight = nn.Parameter(torch.empty(kernel_size**3, in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.accelerated: Accelerator | None = None  # of this layer alone
        self.paired: Tensor | None = None  # the weight as native.kernels.paired has it, for inference in bfloat16
        # About seven of the 27 neighbours exist in LiDAR clouds, so a dense layer's fan-in would start too small.
        bound = math.sqrt(3.0 / (in_channels * kernel_size**3 / 3))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """Features [V, C_in] to [V, C_out]."""
        take_over = self.accelerated or accelerated
        if take_over is not None and (out := take_over(self, x, level)) is not None:
            return out
        if self.kernel_size in level.pairs:
            pairs = level.pairs[self.kernel_size]
            autocast = torch.is_autocast_enabled(x.device.type)
            if not (torch.is_grad_enabled() or autocast):
                return _accumulate(x, self.weight, pairs, self.bias)
            out = pair_convolution(x, self.weight, pairs)
        else:
            neighbors = level.neighbors[self.kernel_size]
            ours = self.paired is not None or self.weight.dtype == torch.float32
            if ours and (kernels := native.kernels_for(x)) is not None:
                weight = self.weight if self.paired is None else self.paired
                return kernels.convolution(x, weight, self.bias, neighbors)
            out = table_convolution(x, self.weight, neighbors)
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, bias={self.bias is not None}"


def accelerate(model: nn.Module, accelerator: Accelerator) -> Callable[[], None]:
    """Let `accelerator` do the convolutions of one model; returns what undoes it."""
    layers = [module for module in model.modules() if isinstance(module, SubmanifoldConvolution)]
    before = [layer.accelerated for layer in layers]

    def undo() -> None:
        for layer, own in zip(layers, before, strict=True):
            layer.accelerated = own

    for layer in layers:
        layer.accelerated = accelerator
    return undo


def table_convolution(x: Tensor, weight: Tensor, neighbors: Tensor) -> Tensor:
    """Convolution by neighbour table [V, K]: x [V, C_in] and weight [K, C_in, C_out] to [V, C_out].

    Computed in x's type, or in the weight's where that is narrower.
    """
    offsets, in_channels, out_channels = weight.shape
    if weight.element_size() < x.element_size():
        x = x.to(weight.dtype)  # before the gather, which is the larger part of the work
    padded = torch.cat([x, x.new_zeros(1, in_channels)])  # the missing neighbour is row V
    gathered = padded.index_select(0, neighbors.reshape(-1)).view(-1, offsets * in_channels)
    return gathered @ weight.reshape(offsets * in_channels, out_channels).to(x.dtype)


def pair_convolution(x: Tensor, weight: Tensor, pairs: Pairs) -> Tensor:
    """Convolution by pair lists: x [V, C_in] and weight [K, C_in, C_out] to [V, C_out], with its own gradient."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
    return _PairConvolution.apply(x, weight, pairs)


class _PairConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.pairs = pairs
        return _accumulate(x, weight, pairs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        pairs: Pairs = ctx.pairs
        grad = grad.contiguous()
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            # The transposed sum runs over the same pairs with sides exchanged, which is the kernel reversed.
            grad_x = _accumulate(grad, weight.flip(0).transpose(1, 2), pairs)
        if ctx.needs_input_grad[1]:
            grad_weight = torch.empty_like(weight)
            last = len(weight) - 1
            torch.mm(x.t(), grad, out=grad_weight[len(weight) // 2])
            for k, source, target in _by_offset(pairs):
                torch.mm(x.index_select(0, source).t(), grad.index_select(0, target), out=grad_weight[k])
                torch.mm(x.index_select(0, target).t(), grad.index_select(0, source), out=grad_weight[last - k])
        return grad_x, grad_weight, None


def _by_offset(pairs: Pairs) -> list[tuple[int, Tensor, Tensor]]:
    sources, targets = pairs.source.split(pairs.counts), pairs.target.split(pairs.counts)
    return [(k, s, t) for k, (s, t) in enumerate(zip(sources, targets, strict=True))]


def _accumulate(x: Tensor, weight: Tensor, pairs: Pairs, bias: Tensor | None = None) -> Tensor:
    """Products in the weight's type, the sum in float32 or wider, the result in x's type."""
    last = len(weight) - 1
    centre = weight[len(weight) // 2]
    dtype, x = x.dtype, x.to(weight.dtype)
    half = x.element_size() == 2
    wide = torch.float32 if half else x.dtype  # up to 27 terms are not summed in half precision
    out = (x @ centre).to(wide) if bias is None or half else torch.addmm(bias, x, centre)
    if bias is not None and half:
        out += bias
    for k, source, target in _by_offset(pairs):
        if len(source):
            out.index_add_(0, target, (x.index_select(0, source) @ weight[k]).to(wide))
            out.index_add_(0, source, (x.index_select(0, target) @ weight[last - k]).to(wide))
    return out.to(dtype)
