# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The C++ kernels as functions of tensors. Tensors are on the CPU; none has a gradient."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_int64, c_void_p

import torch
from torch import Tensor


class Kernels:
    """One build of the kernels. `kind` is the processor it is for."""

    def __init__(self, library: ctypes.CDLL, kind: str) -> None:
        self.kind = kind
        self._library = library

    def has_width(self, dim: int) -> bool:
        """Whether attention has a kernel for heads of this width."""
        return bool(self._library.srkd_attention_has(dim))

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, heads: int, table: Tensor, slot: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Scaled dot-product attention among the voxels of each patch.

        Queries, keys and values float32 [V, C], rows contiguous; table, slot, mask as in geometry.patches.Patches.
        Returns float32 [V, C].
        """
        voxels, channels = q.shape
        out = q.new_empty(voxels, channels)
        patches, size = table.shape
        self._library.srkd_attention(
            *(_pointer(t) for t in (q, k, v)),
            *(c_int64(t.stride(0)) for t in (q, k, v)),
            *(_pointer(t) for t in (table, mask, slot)),
            *(c_int64(n) for n in (patches, size, heads)),
            c_int(channels // heads),
            _pointer(out),
            c_int(torch.get_num_threads()),
        )
        return out

    def convolution(self, x: Tensor, weight: Tensor, bias: Tensor | None, neighbors: Tensor) -> Tensor:
        """Submanifold convolution: x float32 [V, C_in], weight float32 [K, C_in, C_out], neighbours int32 [V, K]."""
        offsets, inside, outside = weight.shape
        x, weight, neighbors = x.contiguous(), weight.contiguous(), neighbors.contiguous()
        out = x.new_empty(len(x), outside)
        self._library.srkd_convolution(
            *(_pointer(t) for t in (x, neighbors, weight, bias)),
            *(c_int64(n) for n in (len(x), offsets, inside, outside)),
            _pointer(out),
            c_int(torch.get_num_threads()),
        )
        return out

    def max_pooling(self, x: Tensor, parents: Tensor, coarse: int) -> Tensor:
        """Maximum of rows [V, C] over equal `parents` int64 [V], which ascend from 0 to coarse - 1: [coarse, C]."""
        x = x.contiguous()
        out = x.new_empty(coarse, x.shape[1])
        self._library.srkd_max_pooling(
            _pointer(x),
            _pointer(parents),
            *(c_int64(n) for n in (len(x), coarse, x.shape[1])),
            _pointer(out),
            c_int(torch.get_num_threads()),
        )
        return out


def _pointer(tensor: Tensor | None) -> c_void_p:
    return c_void_p(None if tensor is None else tensor.data_ptr())
