# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Folding: the same function in fewer operations, for inference. Exact up to rounding.

Batch norms go into the linear maps and convolutions before them, linear maps after a convolution into its weights. The
batch norm after a pooling's maximum stays, as a scale and an offset.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from srkd_ros.network.blocks import ConvolutionUnit, Pooling, Unpooling
from srkd_ros.network.convolution import SubmanifoldConvolution
from srkd_ros.network.point_transformer import PointTransformer


@torch.no_grad()
def fold(model: PointTransformer) -> PointTransformer:
    """A folded copy of a model in eval mode, which stays as it is. Not for training: its keys are others."""
    model = copy.deepcopy(model).eval()
    batch_norms = model.config.transition_norm == "batch"  # layer norms depend on their input: they stay
    if batch_norms:
        _scale_outputs(model.stem, *_affine(model.stem_norm))
        model.stem_norm = nn.Identity()
    for module in list(model.modules()):
        if isinstance(module, ConvolutionUnit):
            _fold_linear(module)
        elif isinstance(module, Unpooling) and batch_norms:
            module.coarse, module.skip = _fold_sequence(module.coarse), _fold_sequence(module.skip)
        elif isinstance(module, Pooling) and batch_norms:
            module.norm = Affine(*_affine(module.norm))
    return model.requires_grad_(False)


class Affine(nn.Module):
    """x * scale + offset, by channel."""

    def __init__(self, scale: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.scale, self.offset = nn.Parameter(scale), nn.Parameter(offset)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.offset


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and offset float [C] of a batch norm in eval mode."""
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _scale_outputs(layer: nn.Linear | SubmanifoldConvolution, scale: Tensor, offset: Tensor) -> None:
    """Let the layer's output be scaled and shifted."""
    shape = (-1, 1) if isinstance(layer, nn.Linear) else (1, 1, -1)
    layer.weight.mul_(scale.view(shape))
    layer.bias = nn.Parameter(offset if layer.bias is None else layer.bias * scale + offset)


def _fold_sequence(sequence: nn.Sequential) -> nn.Sequential:
    """Linear, batch norm, activation: to linear, activation."""
    linear, norm, activation = sequence
    _scale_outputs(linear, *_affine(norm))  # type: ignore[arg-type]
    return nn.Sequential(linear, activation)


def _fold_linear(unit: ConvolutionUnit) -> None:
    """The linear map after a convolution into its weights; in double, as products of many terms are summed again."""
    convolution, linear = unit.convolution, unit.linear
    dtype = convolution.weight.dtype
    product = convolution.weight.double() @ linear.weight.double().t()
    bias = linear.bias.double()
    if convolution.bias is not None:
        bias = bias + linear.weight.double() @ convolution.bias.double()
    convolution.weight, convolution.bias = nn.Parameter(product.to(dtype)), nn.Parameter(bias.to(dtype))
    unit.linear = nn.Identity()  # type: ignore[assignment]
