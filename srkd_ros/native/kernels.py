# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The C++ kernels as functions of tensors. Tensors are on the CPU; none has a gradient."""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int, c_int64, c_void_p

import torch
import torch.nn.functional as F
from torch import Tensor


class Kernels:
    """One build of the kernels. `kind` is the processor it is for."""

    def __init__(self, library: ctypes.CDLL, kind: str) -> None:
        self.kind = kind
        self._library = library
        narrow = bool(library.srkd_has_bfloat16())
        self.dtypes = (torch.float32, torch.bfloat16) if narrow else (torch.float32,)  # of the factors of products

    def has_width(self, dim: int) -> bool:
        """Whether attention has a kernel for heads of this width."""
        return bool(self._library.srkd_attention_has(dim))

    def attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        table: Tensor,
        slot: Tensor,
        mask: Tensor | None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Scaled dot-product attention among the voxels of each patch.

        Queries, keys and values float32 [V, C], rows contiguous; table, slot, mask as in geometry.patches.Patches.
        With `dtype` bfloat16, one of `dtypes`, factors are narrow; sums and softmax are not. Returns float32 [V, C].
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
            c_int(dtype == torch.bfloat16),
            c_int(torch.get_num_threads()),
        )
        return out

    def convolution(self, x: Tensor, weight: Tensor, bias: Tensor | None, neighbors: Tensor) -> Tensor:
        """Submanifold convolution: x float32 [V, C_in] to float32 [V, C_out], neighbours int32 [V, K].

        The weight is float32 [K, C_in, C_out], or bfloat16 from `paired`: then products are narrow and sums are not.
        """
        offsets, inside, outside = weight.shape[:3]
        out = x.new_empty(len(x), outside)
        pairs = weight.dtype == torch.bfloat16
        if pairs:
            x = F.pad(x, (0, x.shape[1] % 2)).to(torch.bfloat16)
        x, weight, neighbors = x.contiguous(), weight.contiguous(), neighbors.contiguous()
        self._library.srkd_convolution(
            *(_pointer(t) for t in (x, neighbors, weight, bias)),
            *(c_int64(n) for n in (len(x), offsets, inside, outside)),
            _pointer(out),
            c_int(pairs),
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

    def voxel_codes(self, xyz: Tensor, voxel_size: float) -> Tensor:
        """Z-order codes int64 [N] of the cells of points float32 [N, 3], counted from the lowest cell of all."""
        xyz = xyz.contiguous()
        codes = torch.empty(len(xyz), dtype=torch.int64)
        size, threads = c_double(voxel_size), c_int(torch.get_num_threads())
        self._library.srkd_voxel_codes(_pointer(xyz), c_int64(len(xyz)), size, _pointer(codes), threads)
        return codes

    def voxel_runs(self, codes: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Runs of equal codes int64 [N], ascending, of points `order` int64 [N].

        Returns of each of V runs its code [V], cell [V, 3], first point [V] and length [V], and each point's run [N].
        """
        length = len(codes)
        lists = [torch.empty(length, *shape, dtype=torch.int64) for shape in ((), (3,), (), (), ())]
        pointers = [_pointer(t) for t in (codes, order)], [_pointer(t) for t in lists]
        self._library.srkd_voxel_runs.restype = c_int64
        runs = self._library.srkd_voxel_runs(*pointers[0], c_int64(length), *pointers[1])
        code, grid, first, count = (t[:runs].clone() for t in lists[:4])  # the rest is not kept
        return code, grid, first, count, lists[4]

    def neighbors(
        self, parent_neighbors: Tensor, parents: Tensor, grid: Tensor, children: Tensor, direction: Tensor, child: Tensor
    ) -> Tensor:
        """See geometry.neighbors.neighbors_by_descent: int32 [V, K]. `parents` and `grid` are int64, the rest int32."""
        given = [t.contiguous() for t in (parent_neighbors, parents, grid, children, direction, child)]
        out = torch.empty(len(parents), direction.shape[1], dtype=torch.int32)
        sizes = (c_int64(n) for n in out.shape)
        threads = c_int(torch.get_num_threads())
        self._library.srkd_neighbors(*(_pointer(t) for t in given), *sizes, _pointer(out), threads)
        return out


def paired(weight: Tensor) -> Tensor:
    """A convolution's weight [K, C_in, C_out] as bfloat16 [K, ceil(C_in / 2), C_out, 2], two input channels together."""
    even = F.pad(weight, (0, 0, 0, weight.shape[1] % 2)).to(torch.bfloat16)
    return even.unflatten(1, (-1, 2)).transpose(2, 3).contiguous()


def _pointer(tensor: Tensor | None) -> c_void_p:
    return c_void_p(None if tensor is None else tensor.data_ptr())
