# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Patch attention in the form that exported graphs have: the same function as PatchAttention, in fewer operators."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srkd_ros.geometry.levels import Level
from srkd_ros.network.attention import PatchAttention


class GraphAttention(nn.Module):
    """PatchAttention of one cloud with few operators: one gather for queries, keys and values, products, softmax.

    The scale is in the weights of the queries. Queries and keys have their channels reordered alike, which no scalar
    product sees, so that the rotary embedding turns the first half of a head with its second half. With `fused` heads
    are filled up with zeros to a width that TensorRT's attention kernels take; they take half precision alone.
    """

    def __init__(self, source: PatchAttention, fused: bool = False) -> None:
        super().__init__()
        self.heads, self.order, self.rope_base = source.heads, source.order, source.rope_base
        channels = source.projection.in_features
        self.dim = channels // self.heads
        self.width = fused_width(self.dim) if fused else self.dim
        weight = source.qkv.weight.clone().view(3, self.heads, self.dim, channels)
        bias = source.qkv.bias.clone().view(3, self.heads, self.dim)
        weight[0] /= math.sqrt(self.dim)
        bias[0] /= math.sqrt(self.dim)
        turned = values = torch.arange(self.dim, device=weight.device)  # where channels go in a head
        if self.rope_base is not None:
            halves = values.view(3, 2, self.dim // 6).transpose(0, 1).reshape(-1)
            weight[:2], bias[:2] = weight[:2, :, halves], bias[:2, :, halves]
            turned = torch.cat([values[: self.dim // 2], values[: self.dim // 2] + self.width // 2])
        full = weight.new_zeros(3, self.heads, self.width, channels), bias.new_zeros(3, self.heads, self.width)
        for wide, narrow in zip(full, (weight, bias), strict=True):
            wide[:2, :, turned], wide[2, :, values] = narrow[:2], narrow[2]
        out = source.projection.weight.new_zeros(channels, self.heads, self.width)
        out[:, :, : self.dim] = source.projection.weight.view(channels, self.heads, self.dim)
        self.qkv = _linear(full[0].flatten(0, 2), full[1].flatten())
        self.projection = _linear(out.flatten(1), source.projection.bias)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """Features [V, C] to [V, C]."""
        channels = self.heads * self.width
        patches = level.patches[self.order]
        rows, length = patches.table.shape
        qkv = self.qkv(x)
        if self.rope_base is not None:
            turned = self._rotate(qkv[:, : 2 * channels].view(-1, 2 * self.heads, self.width), level)
            qkv = torch.cat([turned.view(-1, 2 * channels), qkv[:, 2 * channels :]], 1)
        gathered = F.embedding(patches.table, qkv).view(rows, length, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
        q, k, v = gathered[0], gathered[1], gathered[2]  # each [P, H, W, D]
        out = torch.softmax(q @ k.transpose(2, 3), -1) @ v  # the pattern that engines fuse
        out = F.embedding(patches.slot, out.transpose(1, 2).reshape(-1, channels))  # [P W, C] to [V, C]
        return self.projection(out)

    def _rotate(self, x: Tensor, level: Level) -> Tensor:
        """Turn queries and keys [V, 2 H, D]."""
        assert self.rope_base is not None
        table, half = level.rotary(self.dim, self.rope_base).to(x.dtype), self.width // 2
        if self.width > self.dim:  # any angle turns zeros to zeros
            table = torch.cat([table] * -(-self.width // self.dim), 2)[:, :, :half]
        cos, sin = table[:, :, None].unbind(0)  # [V, 1, D / 2] each
        exchanged = torch.cat([x[:, :, half:], x[:, :, :half]], 2)
        return x * torch.cat([cos, cos], 2) + exchanged * torch.cat([-sin, sin], 2)


def fused_width(dim: int) -> int:
    """The width that a head is filled up to: TensorRT fuses attention of 16 to 256 channels, in multiples of 8."""
    return max(16, -(-dim // 8) * 8)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    made.weight, made.bias = nn.Parameter(weight), nn.Parameter(bias)
    return made
