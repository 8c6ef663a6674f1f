# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Attention within patches of a space-filling curve (PTv3), with an optional 3D rotary position embedding (LitePT)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srkd_ros import native
from srkd_ros.errors import ConfigError
from srkd_ros.geometry.levels import Level
from srkd_ros.geometry.patches import Patches


def interleaved(head_dim: int, heads: int) -> Tensor:
    """Permutation int64 [heads * head_dim] that puts the two channels of each rotary pair side by side.

    Queries and keys permuted alike have the same products, and adjacent pairs turn as complex numbers: one operation
    with long rows, instead of several over the Q channels of a third.
    """
    quarter = head_dim // 6
    pairs = torch.arange(head_dim).view(3, 2, quarter).transpose(1, 2).reshape(-1)  # u0 v0 u1 v1 ...
    return (torch.arange(heads)[:, None] * head_dim + pairs).view(-1)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn queries or keys [V, H, D] with interleaved pairs by a rotary table [2, V, D // 2]."""
    cos, sin = table.unsqueeze(2)
    if x.dtype == table.dtype and not (torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()):
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2)
    u, v = x.unflatten(-1, (-1, 2)).unbind(-1)  # half precision and engines know no complex numbers
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.stack([u * cos - v * sin, v * cos + u * sin], -1).flatten(-2)


class PatchAttention(nn.Module):
    """Multi-head attention among the voxels of each patch. `order` is the curve the patches follow."""

    def __init__(self, channels: int, heads: int, order: str, rope_base: float | None) -> None:
        super().__init__()
        self.heads, self.order, self.rope_base = heads, order, rope_base
        self.interleaved = False  # whether the rows of qkv already are in the order of rows_of_qkv
        self.dtype = torch.float32  # of the factors of its products, where srkd_ros.native computes them
        self.qkv = nn.Linear(channels, 3 * channels)
        self.projection = nn.Linear(channels, channels)
        if rope_base is not None and channels % (6 * heads):
            raise ConfigError(f"network: {channels} channels in {heads} heads do not split into pairs on three axes")

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """Features [V, C] to [V, C]."""
        voxels, channels = x.shape
        patches, dim = level.patches[self.order], channels // self.heads
        if self.rope_base is None:
            parts: tuple[Tensor, ...] = (self.qkv(x),)
        else:
            if self.interleaved:
                qkv = self.qkv(x)
            else:
                rows = rows_of_qkv(channels, self.heads, x.device)
                qkv = F.linear(x, self.qkv.weight.index_select(0, rows), self.qkv.bias.index_select(0, rows))
            turned = rotate(qkv[:, : 2 * channels].view(voxels, -1, dim), level.rotary(dim, self.rope_base))
            parts = (turned.view(voxels, -1), qkv[:, 2 * channels :])
        kernels = native.kernels_for(*parts)
        if kernels is not None and kernels.has_width(dim) and patches.table.dtype == torch.int64:  # a graph's is int32
            q, k, v = (rows for part in parts for rows in part.split(channels, 1))
            out = kernels.attention(q, k, v, self.heads, patches.table, patches.slot, patches.mask, self.dtype)
        else:
            out = patch_attention(parts, self.heads, dim, patches)
        return self.projection(out)


def patch_attention(parts: Sequence[Tensor], heads: int, dim: int, patches: Patches) -> Tensor:
    """Scaled dot-product attention among the voxels of each patch, H heads of width D: [V, H D].

    The parts, side by side, are queries, keys and values [V, 3 H D]; each is gathered in one go.
    """
    split = (_to_patches(part, patches).unflatten(-1, (-1, heads, dim)).permute(2, 0, 3, 1, 4) for part in parts)
    q, k, v = (rows for some in split for rows in some)  # each [P, H, K, D]
    mask = None if patches.mask is None else patches.mask[:, None, None, :]
    out = _attend(q, k, v, mask).transpose(1, 2)
    return out.reshape(-1, heads * dim).index_select(0, patches.slot)  # [P K, C] -> [V, C]


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention [P, H, K, D]. CUDA's fast kernels want a width that is a multiple of eight."""
    dim = q.shape[-1]
    missing = -dim % 8 if q.is_cuda else 0
    if not missing:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    q, k, v = (F.pad(t, (0, missing)) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=dim**-0.5)[..., :dim]


@torch.no_grad()
def interleave(model: nn.Module) -> None:
    """Put the rows of every rotary attention's qkv in the order of rows_of_qkv, once for all clouds. Inference."""
    for module in model.modules():
        if isinstance(module, PatchAttention) and module.rope_base is not None and not module.interleaved:
            rows = rows_of_qkv(module.qkv.in_features, module.heads, module.qkv.weight.device)
            module.qkv.weight = nn.Parameter(module.qkv.weight[rows], requires_grad=False)
            module.qkv.bias = nn.Parameter(module.qkv.bias[rows], requires_grad=False)
            module.interleaved = True


@cache
def rows_of_qkv(channels: int, heads: int, device: torch.device) -> Tensor:
    """Rows of the qkv weight [3 C, C] with the pairs of queries and keys interleaved, values as they are."""
    with torch.inference_mode(False):  # kept for training too
        one = interleaved(channels // heads, heads)
        return torch.cat([one, one + channels, torch.arange(2 * channels, 3 * channels)]).to(device)


def _to_patches(x: Tensor, patches: Patches) -> Tensor:
    """[V, C] to [P, K, C]; empty slots read row V - 1 and are masked."""
    table = patches.table if patches.mask is None else patches.table.clamp(max=len(x) - 1)
    return x.index_select(0, table.view(-1)).view(*table.shape, x.shape[1])
