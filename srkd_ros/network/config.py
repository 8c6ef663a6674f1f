# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""PointTransformerConfig and the presets: everything that distinguishes PTv3, LitePT and our own networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from srkd_ros.errors import ConfigError

CURVE_ORDERS = ("z", "z-trans", "hilbert", "hilbert-trans")


@dataclass(frozen=True)
class PointTransformerConfig:
    """A sparse U-Net of convolution and patch-attention blocks over voxels.

    Tuples have one entry a level, finest first; the decoder has one level less than the encoder.
    PTv3: convolution and attention in every block, no rotary embedding. LitePT: convolution at the fine levels,
    attention with a 3D rotary embedding at the coarse ones, a decoder without blocks.
    """

    in_channels: int = 4
    num_classes: int = 19
    encoder_channels: tuple[int, ...] = (36, 72, 144, 252, 504)
    encoder_depths: tuple[int, ...] = (2, 2, 2, 6, 2)
    encoder_heads: tuple[int, ...] = (2, 4, 8, 14, 28)
    encoder_convolution: tuple[bool, ...] = (True, True, True, False, False)
    encoder_attention: tuple[bool, ...] = (False, False, False, True, True)
    decoder_channels: tuple[int, ...] = (72, 72, 144, 252)
    decoder_depths: tuple[int, ...] = (0, 0, 0, 0)
    decoder_heads: tuple[int, ...] = (4, 4, 8, 14)
    decoder_convolution: tuple[bool, ...] = (False, False, False, False)
    decoder_attention: tuple[bool, ...] = (False, False, False, False)
    stem_kernel: int = 5  # 3 or 5; 1 is a linear layer (PT-v3m2)
    transition_norm: str = "batch"  # of stem, pooling and unpooling: "batch", or "layer" (PT-v3m2)
    mlp_ratio: float = 4.0
    patch_size: int = 1024  # voxels a patch
    orders: tuple[str, ...] = CURVE_ORDERS  # block i of a stage uses order i mod len(orders)
    rope_base: float | None = 100.0  # None: attention without positions (PTv3)
    curve_depth: str = (
        "level"  # bits of a curve code: "level" from each level's extent (LitePT), "cloud" level 0's minus l (PTv3)
    )
    skip_convolution: bool = (
        False  # the first decoder convolution of a level sees the skip features alone (as in PTv3's code)
    )
    drop_path: float = 0.3  # stochastic depth of the deepest block, in training

    def __post_init__(self) -> None:
        levels = len(self.encoder_channels)
        for name in ("encoder_depths", "encoder_heads", "encoder_convolution", "encoder_attention"):
            if len(getattr(self, name)) != levels:
                raise ConfigError(f"network.{name}: needs {levels} entries, as encoder_channels")
        for name in ("decoder_channels", "decoder_depths", "decoder_heads", "decoder_convolution", "decoder_attention"):
            if len(getattr(self, name)) != levels - 1:
                raise ConfigError(f"network.{name}: needs {levels - 1} entries, one less than encoder_channels")
        for order in self.orders:
            if order not in CURVE_ORDERS:
                raise ConfigError(f"network.orders: {order!r} is not one of {', '.join(CURVE_ORDERS)}")
        for part in ("encoder", "decoder"):
            kinds = ("channels", "heads", "attention", "depths")
            stages = zip(*(getattr(self, f"{part}_{kind}") for kind in kinds), strict=True)
            for channels, heads, attends, depth in stages:
                if attends and depth and (heads < 1 or channels % heads):
                    raise ConfigError(f"network.{part}_heads: {heads} heads do not divide {channels} channels")
                if attends and depth and not self.orders:
                    raise ConfigError(f"network.orders: none to attend along; take some of {', '.join(CURVE_ORDERS)}")
        if self.curve_depth not in ("level", "cloud"):
            raise ConfigError(f"network.curve_depth: {self.curve_depth!r} is neither 'level' nor 'cloud'")
        if self.stem_kernel not in (1, 3, 5):
            raise ConfigError(f"network.stem_kernel: {self.stem_kernel} is none of 1, 3, 5")
        if self.transition_norm not in ("batch", "layer"):
            raise ConfigError(f"network.transition_norm: {self.transition_norm!r} is neither 'batch' nor 'layer'")

    def to_dict(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PointTransformerConfig:
        """Inverse of to_dict; ConfigError on an unknown key."""
        known = {f.name for f in dataclasses.fields(cls)}
        for key in data:
            if key not in known:
                raise ConfigError(f"network.{key}: unknown key; known are {', '.join(sorted(known))}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**values)


def _ptv3(encoder: tuple[int, ...], decoder: tuple[int, ...], **other: Any) -> PointTransformerConfig:
    settings: dict[str, Any] = {
        "encoder_depths": (2, 2, 2, 6, 2),
        "encoder_heads": (2, 4, 8, 16, 32),
        "decoder_depths": (2, 2, 2, 2),
        "decoder_heads": (4, 4, 8, 16),
    }
    return PointTransformerConfig(
        encoder_channels=encoder,
        decoder_channels=decoder,
        encoder_convolution=(True,) * 5,
        encoder_attention=(True,) * 5,
        decoder_convolution=(True,) * 4,
        decoder_attention=(True,) * 4,
        rope_base=None,
        curve_depth="cloud",
        skip_convolution=True,
        **{**settings, **other},
    )


def _litept(
    encoder: tuple[int, ...], decoder: tuple[int, ...], heads: tuple[int, ...], decoder_heads: tuple[int, ...]
) -> PointTransformerConfig:
    return PointTransformerConfig(
        encoder_channels=encoder,
        decoder_channels=decoder,
        encoder_depths=(3, 3, 3, 12, 3),
        encoder_heads=heads,
        decoder_heads=decoder_heads,
    )


PRESETS: dict[str, PointTransformerConfig] = {
    # Ours, for CPUs and small boards: narrow convolutions where there are many voxels, attention over the few coarsest.
    # A second block there, or a wider MLP, costs a tenth of the time and brings nothing that a training shows.
    "nano": PointTransformerConfig(
        encoder_channels=(24, 48, 72, 96, 144),
        encoder_depths=(1, 1, 1, 1, 1),
        encoder_heads=(1, 2, 3, 4, 6),
        encoder_convolution=(True, True, True, True, False),
        encoder_attention=(False, False, False, False, True),
        decoder_channels=(32, 48, 72, 96),
        decoder_heads=(1, 2, 3, 4),
        stem_kernel=3,
        patch_size=256,
        orders=("z", "hilbert"),
        mlp_ratio=2.0,
        drop_path=0.0,
    ),
    "litept-s": PointTransformerConfig(),
    "litept-s-star": PointTransformerConfig(  # LitePT-S with the same blocks in the decoder
        decoder_depths=(2, 2, 2, 2),
        decoder_convolution=(True, True, True, False),
        decoder_attention=(False, False, False, True),
    ),
    "litept-b": _litept((54, 108, 216, 432, 576), (72, 108, 216, 432), (3, 6, 12, 24, 32), (4, 6, 12, 24)),
    "litept-l": _litept((72, 144, 288, 576, 864), (72, 144, 288, 576), (4, 8, 16, 32, 48), (4, 8, 16, 32)),
    "ptv3-half": _ptv3((16, 32, 64, 128, 256), (32, 32, 64, 128)),
    "ptv3": _ptv3((32, 64, 128, 256, 512), (64, 64, 128, 256)),
    # PT-v3m2 with a decoder: what Sonata's and Concerto's encoders are fine-tuned as.
    "sonata": PointTransformerConfig(
        encoder_channels=(48, 96, 192, 384, 512),
        encoder_depths=(3, 3, 3, 12, 3),
        encoder_heads=(3, 6, 12, 24, 32),
        encoder_convolution=(True,) * 5,
        encoder_attention=(True,) * 5,
        decoder_channels=(64, 96, 192, 384),
        decoder_depths=(2, 2, 2, 2),
        decoder_heads=(4, 6, 12, 24),
        decoder_convolution=(True,) * 4,
        decoder_attention=(True,) * 4,
        stem_kernel=1,
        transition_norm="layer",
        rope_base=None,
    ),
    # A teacher above 100M parameters, of PTv3's shape.
    "ptv3-xl": _ptv3(
        (48, 96, 192, 384, 768), (96, 96, 192, 384), encoder_heads=(3, 6, 12, 24, 48), decoder_heads=(6, 6, 12, 24)
    ),
}


def preset(name: str, **overrides: Any) -> PointTransformerConfig:
    """A named configuration, with fields such as num_classes replaced; ConfigError on an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f"no network preset {name!r}; there are {', '.join(PRESETS)}")
    return dataclasses.replace(PRESETS[name], **overrides)
