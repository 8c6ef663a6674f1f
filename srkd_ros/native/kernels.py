# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The C++ kernels as functions of tensors and arrays. Tensors are on the CPU; none has a gradient."""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int, c_int64, c_void_p

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Kernels:
    """One build of the kernels. `kind` is the processor it is for."""

    def __init__(self, library: ctypes.CDLL, kind: str) -> None:
        self.kind = kind
        self._library = library
        self._voxelize = library.srkd_voxelize
        self._voxelize.restype = c_int64
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
        table, slot, mask = table.contiguous(), slot.contiguous(), None if mask is None else mask.contiguous()
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
        if x.shape[1] != inside * (2 if pairs else 1) or neighbors.shape != (len(x), offsets):
            raise ValueError(
                f"features {tuple(x.shape)}, weight {tuple(weight.shape)}, {tuple(neighbors.shape)} neighbours"
            )
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

    def voxelize(self, xyz: Tensor, voxel_size: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor] | None:
        """Voxels of points float32 [N, 3], finite: their codes [V], cells [V, 3], first points [V] and numbers of
        points [V], and the points' voxels [N], all int64. None if a code and N need more than 64 bits.
        """
        xyz = xyz.contiguous()
        lists = [xyz.new_empty(len(xyz), *shape, dtype=torch.int64) for shape in ((), (3,), (), (), ())]
        size, threads = c_double(voxel_size), c_int(torch.get_num_threads())
        count = self._voxelize(_pointer(xyz), c_int64(len(xyz)), size, *(_pointer(t) for t in lists), threads)
        if count < 0:
            return None
        code, grid, first_point, points = (t[:count].clone() for t in lists[:4])  # the rest is not kept
        return code, grid, first_point, points, lists[4]

    def voxel_mean(self, values: Tensor, point_to_voxel: Tensor, points: Tensor) -> Tensor:
        """Mean of values float32 [N, C] of each voxel's points: [V, C]. Voxels of points, points of voxels: int64."""
        values = values.contiguous()
        if len(values) != len(point_to_voxel):
            raise ValueError(f"{len(values)} values of {len(point_to_voxel)} points")
        mean = values.new_empty(len(points), values.shape[1])
        sizes = (c_int64(n) for n in (len(values), *mean.shape))
        given = (values, point_to_voxel, points)
        self._library.srkd_voxel_mean(*(_pointer(t) for t in given), *sizes, _pointer(mean))
        return mean

    def neighbors(
        self,
        parent_neighbors: Tensor,
        parents: Tensor,
        grid: Tensor,
        children: Tensor,
        direction: Tensor,
        child: Tensor,
    ) -> Tensor:
        """See geometry.neighbors.neighbors_by_descent: int32 [V, K]. `parents` and `grid` are int64, the rest int32."""
        given = [t.contiguous() for t in (parent_neighbors, parents, grid, children, direction, child)]
        out = parents.new_empty(len(parents), direction.shape[1], dtype=torch.int32)
        sizes = (c_int64(n) for n in out.shape)
        threads = c_int(torch.get_num_threads())
        self._library.srkd_neighbors(*(_pointer(t) for t in given), *sizes, _pointer(out), threads)
        return out

    def write_points(
        self, xyz: np.ndarray, labels: np.ndarray, confidence: np.ndarray, colours: np.ndarray, out: np.ndarray
    ) -> bool:
        """Fill `out` uint8 [24 N] with x y z rgb label confidence of each point; True if all coordinates are finite.

        xyz float32 [N, 3] with adjacent coordinates, labels uint8 [N], confidence float32 [N], colours uint32 [256].
        """
        wanted = ((labels, np.uint8), (confidence, np.float32), (colours, np.uint32))
        arrays = [np.ascontiguousarray(array, dtype) for array, dtype in wanted]
        if [len(array) for array in arrays] != [len(xyz), len(xyz), 256] or len(out) < 24 * len(xyz):
            raise ValueError("arrays of other lengths")
        given = [c_void_p(array.ctypes.data) for array in arrays]
        first, step = c_void_p(xyz.ctypes.data), c_int64(xyz.strides[0])
        size, threads = c_int64(len(xyz)), c_int(torch.get_num_threads())
        into = c_void_p(out.ctypes.data)
        return bool(self._library.srkd_write_points(first, step, *given, size, into, threads))


def paired(weight: Tensor) -> Tensor:
    """A convolution's weight [K, C_in, C_out] as bfloat16 [K, ceil(C_in / 2), C_out, 2], input channels in twos."""
    even = F.pad(weight, (0, 0, 0, weight.shape[1] % 2)).to(torch.bfloat16)
    return even.unflatten(1, (-1, 2)).transpose(2, 3).contiguous()


def _pointer(tensor: Tensor | None) -> c_void_p:
    return c_void_p(None if tensor is None else tensor.data_ptr())
