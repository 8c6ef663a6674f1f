# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The parts of the U-Net: blocks of convolution and attention, pooling to the coarser level, unpooling to the finer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srkd_ros import native
from srkd_ros.geometry.levels import Level
from srkd_ros.network.attention import PatchAttention
from srkd_ros.network.convolution import SubmanifoldConvolution


def batch_norm(channels: int) -> nn.BatchNorm1d:
    """PTv3's and LitePT's settings."""
    return nn.BatchNorm1d(channels, eps=1e-3, momentum=0.01)


def transition_norm(kind: str, channels: int) -> nn.Module:
    """The norm of stem, pooling and unpooling; see PointTransformerConfig.transition_norm."""
    return batch_norm(channels) if kind == "batch" else nn.LayerNorm(channels)


class DropPath(nn.Module):
    """Stochastic depth: in training, a residual branch is left out for a whole row with probability `rate`."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        return x * (x.new_empty(len(x), 1).bernoulli_(keep) / keep)


class ConvolutionUnit(nn.Module):
    """Convolution 3x3x3, linear, layer norm: PTv3's conditional position encoding and LitePT's convolution block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = SubmanifoldConvolution(channels, channels, 3)
        self.linear = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        return self.norm(self.linear(self.convolution(x, level)))


class Mlp(nn.Sequential):
    """Linear, GELU, linear."""

    def __init__(self, channels: int, ratio: float) -> None:
        hidden = int(channels * ratio)
        super().__init__(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))


class Block(nn.Module):
    """A convolution unit, an attention unit with its MLP, or both (PTv3); all residual, norms before.

    Without convolution the block opens with a layer norm that is not bypassed (LitePT).
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        convolution: bool,
        attention: bool,
        order: str,
        rope_base: float | None,
        mlp_ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.convolution = ConvolutionUnit(channels) if convolution else None
        self.norm0 = None if convolution else nn.LayerNorm(channels)
        if attention:
            self.norm1 = nn.LayerNorm(channels)
            self.attention = PatchAttention(channels, heads, order, rope_base)
            self.norm2 = nn.LayerNorm(channels)
            self.mlp = Mlp(channels, mlp_ratio)
            self.drop_path = DropPath(drop_path)
        self.has_attention = attention

    def forward(self, x: Tensor, level: Level, convolution_input: Tensor | None = None) -> Tensor:
        """Features [V, C] to [V, C]. `convolution_input` replaces x as the convolution's input (not the residual)."""
        if self.convolution is not None:
            x = self.convolution(x if convolution_input is None else convolution_input, level).add_(x)  # a new tensor
        elif self.norm0 is not None:
            x = self.norm0(x)
        if self.has_attention:
            x = x + self.drop_path(self.attention(self.norm1(x), level))
            x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x


class Pooling(nn.Module):
    """Linear, maximum over the up to eight children of each coarse voxel, norm, GELU."""

    def __init__(self, in_channels: int, out_channels: int, norm: str = "batch") -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)
        self.norm = transition_norm(norm, out_channels)
        self.activation = nn.GELU()

    def forward(self, x: Tensor, fine: Level, coarse: Level) -> Tensor:
        """Fine features [V, C_in] to coarse features [Vp, C_out]."""
        return self.activation(self.norm(max_over_children(self.linear(x), fine, coarse)))


def max_over_children(x: Tensor, fine: Level, coarse: Level) -> Tensor:
    """Maximum of fine features [V, C] over the children of each coarse voxel: [Vp, C].

    By the children table [Vp, 8] where the geometry has it (engines know no scatter with a reduction), else by scatter.
    """
    parents = fine.parents  # a graph's are int32
    if parents is not None and parents.dtype == torch.int64 and (kernels := native.kernels_for(x)) is not None:
        return kernels.max_pooling(x, parents, len(coarse))
    if coarse.children is None:
        assert fine.parents is not None
        lowest = x.new_full((len(coarse), x.shape[1]), -torch.inf)
        return lowest.scatter_reduce_(0, fine.parents[:, None].expand(-1, x.shape[1]), x, "amax")
    padded = torch.cat([x, x.new_full((1, x.shape[1]), -torch.inf)])  # a missing child is row V
    best = padded.index_select(0, coarse.children.reshape(-1)).view(-1, 8, x.shape[1])
    if not torch.onnx.is_in_onnx_export():
        return best.amax(1)
    for half in (4, 2, 1):  # onnxruntime before 1.25 has no CUDA kernel for this opset's ReduceMax
        best = torch.maximum(best[:, :half], best[:, half:])
    return best.view(-1, x.shape[1])


class Unpooling(nn.Module):
    """Sum of the projected skip connection and the projected features of the parent voxel."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, norm: str = "batch") -> None:
        super().__init__()
        self.coarse = _projection(in_channels, out_channels, norm)
        self.skip = _projection(skip_channels, out_channels, norm)

    def forward(self, x: Tensor, skip: Tensor, fine: Level) -> tuple[Tensor, Tensor]:
        """Coarse features [Vp, C_in] and skip [V, C_skip] to the sum and the projected skip alone, [V, C_out] each."""
        assert fine.parents is not None
        projected = self.skip(skip)
        return self.coarse(x).index_select(0, fine.parents).add_(projected), projected


def _projection(in_channels: int, out_channels: int, norm: str) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_channels, out_channels), transition_norm(norm, out_channels), nn.GELU())
