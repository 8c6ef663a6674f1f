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
    product sees, so that the rotary embedding turns the first half of a head with its second half.
    """

    def __init__(self, source: PatchAttention) -> None:
        super().__init__()
        self.heads, self.order, self.rope_base = source.heads, source.order, source.rope_base
        channels = source.projection.in_features
        dim = channels // self.heads
        weight = source.qkv.weight.clone().view(3, self.heads, dim, channels)
        bias = source.qkv.bias.clone().view(3, self.heads, dim)
        weight[0] /= math.sqrt(dim)
        bias[0] /= math.sqrt(dim)
        if self.rope_base is not None:
            halves = torch.arange(dim, device=weight.device).view(3, 2, dim // 6).transpose(0, 1).reshape(-1)
            weight[:2], bias[:2] = weight[:2, :, halves], bias[:2, :, halves]
        self.qkv = nn.Linear(channels, 3 * channels, device="meta")
        self.qkv.weight, self.qkv.bias = nn.Parameter(weight.flatten(0, 2)), nn.Parameter(bias.flatten())
        self.projection = source.projection

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """Features [V, C] to [V, C]."""
        channels = x.shape[1]
        dim = channels // self.heads
        patches = level.patches[self.order]
        rows, width = patches.table.shape
        qkv = self.qkv(x)
        if self.rope_base is not None:
            turned = self._rotate(qkv[:, : 2 * channels].view(-1, 2 * self.heads, dim), level)
            qkv = torch.cat([turned.view(-1, 2 * channels), qkv[:, 2 * channels :]], 1)
        gathered = F.embedding(patches.table, qkv).view(rows, width, 3, self.heads, dim).permute(2, 0, 3, 1, 4)
        q, k, v = gathered[0], gathered[1], gathered[2]  # each [P, H, W, D]
        out = torch.softmax(q @ k.transpose(2, 3), -1) @ v  # the pattern that engines fuse
        out = F.embedding(patches.slot, out.transpose(1, 2).reshape(-1, channels))  # [P W, C] to [V, C]
        return self.projection(out)

    def _rotate(self, x: Tensor, level: Level) -> Tensor:
        """Turn queries and keys [V, 2 H, D]."""
        dim = x.shape[2]
        assert self.rope_base is not None
        cos, sin = level.rotary(dim, self.rope_base).to(x.dtype)[:, :, None].unbind(0)  # [V, 1, D / 2] each
        exchanged = torch.cat([x[:, :, dim // 2 :], x[:, :, : dim // 2]], 2)
        return x * torch.cat([cos, cos], 2) + exchanged * torch.cat([-sin, sin], 2)
