# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Names and layouts of PTv3's and LitePT's tensors in Pointcept's checkpoints, told from ours."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor

from srkd_ros.network import PointTransformerConfig

# Our name (left) to the original (right); {unit} and {stem} are what the family calls these parts.
_RULES = (
    (r"stem\.(\w+)", r"embedding.stem.{stem}.\1"),
    (r"stem_norm\.(\w+)", r"embedding.stem.norm.\1"),
    (r"encoder\.(\d+)\.transition\.linear\.(\w+)", r"enc.enc\1.down.proj.\2"),
    (r"encoder\.(\d+)\.transition\.norm\.(\w+)", r"enc.enc\1.down.norm.0.\2"),
    (r"decoder\.(\d+)\.transition\.coarse\.(.+)", r"dec.dec\1.up.proj.\2"),
    (r"decoder\.(\d+)\.transition\.skip\.(.+)", r"dec.dec\1.up.proj_skip.\2"),
    (r"head\.(\w+)", r"seg_head.\1"),
)
_BLOCK = re.compile(r"(enc|dec)oder\.(\d+)\.blocks\.(\d+)\.(.+)")
_BLOCK_RULES = (
    (r"convolution\.convolution\.(\w+)", r"{unit}.0.\1"),
    (r"convolution\.linear\.(\w+)", r"{unit}.1.\1"),
    (r"convolution\.norm\.(\w+)", r"{unit}.2.\1"),
    (r"(norm\d)\.(\w+)", r"\1.0.\2"),
    (r"attention\.qkv\.(\w+)", r"attn.qkv.\1"),
    (r"attention\.projection\.(\w+)", r"attn.proj.\1"),
    (r"mlp\.0\.(\w+)", r"mlp.0.fc1.\1"),
    (r"mlp\.2\.(\w+)", r"mlp.0.fc2.\1"),
)


def original_names(config: PointTransformerConfig, names: Iterable[str]) -> dict[str, str]:
    """Original name of each of our tensors; counters of batch norm, which nothing reads, have none."""
    parts = {
        "unit": "cpe" if config.rope_base is None else "conv",  # PTv3, LitePT
        "stem": "linear" if config.stem_kernel == 1 else "conv",  # PT-v3m2, the others
    }
    return {name: _original(name).format(**parts) for name in names if not name.endswith("num_batches_tracked")}


def _original(name: str) -> str:
    if block := _BLOCK.fullmatch(name):
        half, level, number, rest = block.groups()
        return f"{half}.{half}{level}.block{number}.{_rename(rest, _BLOCK_RULES)}"
    return _rename(name, _RULES)


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, original in rules:
        if match := re.fullmatch(pattern, name):
            return match.expand(original)
    raise AssertionError(f"no rule for {name}")  # a tensor was added to the network and not to these rules


def original_shape(ours: Tensor) -> tuple[int, ...]:
    """Shape in a checkpoint of the tensor that is `ours` here; only convolution weights have three dimensions."""
    if ours.ndim != 3:
        return tuple(ours.shape)
    offsets, in_channels, out_channels = ours.shape
    size = round(offsets ** (1 / 3))
    return (out_channels, size, size, size, in_channels)


def to_ours(original: Tensor, ours: Tensor) -> Tensor:
    """A checkpoint's tensor in our layout: spconv 2 keeps a weight as [C_out, x, y, z, C_in], we as [K, C_in, C_out].

    spconv calls its axes depth, height, width; Pointcept hands it x, y, z in that order. Ours has x slowest as well.
    """
    if ours.ndim != 3:
        return original
    return original.permute(1, 2, 3, 4, 0).reshape(ours.shape)
