# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Attention within patches of a space-filling curve (PTv3), with an optional 3D rotary position embedding (LitePT)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srkd_ros.geometry.levels import Level
from srkd_ros.geometry.patches import Patches


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn queries or keys [V, H, D] by a rotary table [2, V, D // 2]."""
    voxels, heads, dim = x.shape
    quarter = dim // 6
    u, v = x.view(voxels, heads, 3, 2, quarter).unbind(3)
    cos, sin = table.to(x.dtype).view(2, voxels, 1, 3, quarter).unbind(0)
    return torch.stack([u * cos - v * sin, v * cos + u * sin], 3).view(voxels, heads, dim)


class PatchAttention(nn.Module):
    """Multi-head attention among the voxels of each patch. `order` is the curve the patches follow."""

    def __init__(self, channels: int, heads: int, order: str, rope_base: float | None) -> None:
        super().__init__()
        self.heads, self.order, self.rope_base = heads, order, rope_base
        self.qkv = nn.Linear(channels, 3 * channels)
        self.projection = nn.Linear(channels, channels)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """Features [V, C] to [V, C]."""
        voxels, channels = x.shape
        patches = level.patches[self.order]
        dim = channels // self.heads
        q, k, v = self.qkv(x).view(voxels, 3, self.heads, dim).unbind(1)
        if self.rope_base is not None:
            table = level.rotary(dim, self.rope_base)
            q, k = rotate(q, table), rotate(k, table)
        out = F.scaled_dot_product_attention(*(_to_patches(t, patches) for t in (q, k, v)), attn_mask=_bias(patches))
        out = out.transpose(1, 2).reshape(-1, channels).index_select(0, patches.slot)  # [P K, C] -> [V, C]
        return self.projection(out)


def _to_patches(x: Tensor, patches: Patches) -> Tensor:
    """[V, H, D] to [P, H, K, D]; empty slots read row V - 1 and are masked."""
    rows, width = patches.table.shape
    table = patches.table if patches.mask is None else patches.table.clamp(max=len(x) - 1)
    return x.reshape(len(x), -1).index_select(0, table.view(-1)).view(rows, width, *x.shape[1:]).transpose(1, 2)


def _bias(patches: Patches) -> Tensor | None:
    return None if patches.mask is None else patches.mask[:, None, None, :]
