# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Submanifold convolution in one pass: neighbours are gathered into the matrix product, never into memory."""

# mypy: disable-error-code="valid-type,attr-defined"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from srkd_ros.gpu.launch import launch


@triton.jit(do_not_specialize=["voxels"])
def _convolution_kernel(
    x, weight, bias, neighbors, out, voxels,
    K: tl.constexpr, INSIDE: tl.constexpr, OUTSIDE: tl.constexpr, BIASED: tl.constexpr,
    ROWS: tl.constexpr, DEPTH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    v = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    live, wanted = v < voxels, column < OUTSIDE
    row = neighbors + v.to(tl.int64) * K
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    if INSIDE < DEPTH:  # few channels: a step of the sum runs over several offsets, so that none of it is empty
        for first in range(0, K * INSIDE, DEPTH):
            place = first + tl.arange(0, DEPTH)
            within = place < K * INSIDE
            both = live[:, None] & within[None, :]
            source = tl.load(row[:, None] + (place // INSIDE)[None, :], mask=both, other=voxels)
            there = both & (source < voxels)
            left = tl.load(x + source.to(tl.int64) * INSIDE + (place % INSIDE)[None, :], mask=there, other=0.0)
            right = tl.load(
                weight + place[:, None] * OUTSIDE + column[None, :], mask=within[:, None] & wanted[None, :], other=0.0
            )
            total = tl.dot(left, right, total, input_precision="ieee")
    else:
        for offset in range(K):
            source = tl.load(row + offset, mask=live, other=voxels)
            there = source < voxels
            from_row = x + source.to(tl.int64) * INSIDE
            for first in range(0, INSIDE, DEPTH):
                channel = first + tl.arange(0, DEPTH)
                within = channel < INSIDE
                left = tl.load(from_row[:, None] + channel[None, :], mask=there[:, None] & within[None, :], other=0.0)
                right = tl.load(
                    weight + (offset * INSIDE + channel)[:, None] * OUTSIDE + column[None, :],
                    mask=within[:, None] & wanted[None, :],
                    other=0.0,
                )
                total = tl.dot(left, right, total, input_precision="ieee")
    if BIASED:
        total += tl.load(bias + column, mask=wanted, other=0.0)[None, :]
    tl.store(out + v.to(tl.int64)[:, None] * OUTSIDE + column[None, :], total, mask=live[:, None] & wanted[None, :])


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, neighbors: Tensor) -> Tensor:
    """Submanifold convolution: x [V, C_in] and weight [K, C_in, C_out] to float32 [V, C_out], neighbours int32 [V, K].

    Products are of the weight's type, sums float32. A missing neighbour is V.
    """
    offsets, inside, outside = weight.shape
    if x.shape[1] != inside or neighbors.shape != (len(x), offsets):
        raise ValueError(
            f"features {tuple(x.shape)}, weight {tuple(weight.shape)}, {tuple(neighbors.shape)} neighbours"
        )
    out = x.new_empty(len(x), outside, dtype=torch.float32)
    x = x.to(weight.dtype).contiguous()
    rows, depth, columns = tile(inside, outside, weight.dtype)
    programs = (triton.cdiv(len(x), rows), triton.cdiv(outside, columns))
    given = (x, weight.contiguous(), x if bias is None else bias.float(), neighbors.contiguous(), out, len(x))
    sizes = {"K": offsets, "INSIDE": inside, "OUTSIDE": outside, "ROWS": rows, "DEPTH": depth, "COLUMNS": columns}
    return launch(
        _convolution_kernel, programs, out, *given, **sizes, BIASED=bias is not None, num_warps=4, num_stages=3
    )


def tile(inside: int, outside: int, dtype: torch.dtype) -> tuple[int, int, int]:
    """Of a program: rows, channels of a step of the sum, columns.

    Every tile of columns gathers all neighbours again, which takes a GPU about as long as products of `gather` columns.
    """
    gather = 20 if dtype == torch.float32 else 60
    columns = min((128, 64, 32, 16), key=lambda width: -(-outside // width) * (gather + width))
    depths = [32, 16] if dtype == torch.float32 else [64, 32, 16]  # more float32 would not fit into registers
    fitting = [depth for depth in depths if depth <= inside] if inside >= 32 else [32]
    depth = min(fitting, key=lambda depth: -(-inside // depth) * (depth + 8))  # a step costs something by itself
    return (128 if columns <= 64 else 64), depth, columns
