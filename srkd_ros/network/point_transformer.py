# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""PointTransformer: one sparse U-Net for teachers and students; PTv3, LitePT and ours differ in configuration alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from srkd_ros.geometry.levels import Geometry, GeometrySpec, Level, LevelSpec
from srkd_ros.network.blocks import Block, Pooling, Unpooling, transition_norm
from srkd_ros.network.config import PointTransformerConfig
from srkd_ros.network.convolution import SubmanifoldConvolution


@dataclass
class Features:
    """What distillation reads: logits [V, classes], and features [V_l, C_l] of every level, finest first."""

    logits: Tensor
    encoder: list[Tensor]
    decoder: list[Tensor]  # one level less; decoder[0] is the input of the head


class Stage(nn.Module):
    """The blocks of one level, after pooling (encoder) or unpooling (decoder)."""

    def __init__(self, transition: nn.Module | None, blocks: list[Block]) -> None:
        super().__init__()
        self.transition = transition
        self.blocks = nn.ModuleList(blocks)


class PointTransformer(nn.Module):
    """Voxel features and geometry in, voxel logits out.

    With `recompute` set, blocks keep their inputs alone for the gradient, and are computed again on the way back.
    """

    def __init__(self, config: PointTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        c = config
        width, norm = c.encoder_channels[0], c.transition_norm
        self.stem = (
            nn.Linear(c.in_channels, width)
            if c.stem_kernel == 1
            else SubmanifoldConvolution(c.in_channels, width, c.stem_kernel, bias=False)
        )
        self.stem_norm = transition_norm(norm, width)
        self.stem_activation = nn.GELU()

        levels = len(c.encoder_channels)
        rates = _drop_rates(c.drop_path, sum(c.encoder_depths))
        self.encoder = nn.ModuleList()
        for level in range(levels):
            pooling = Pooling(c.encoder_channels[level - 1], c.encoder_channels[level], norm) if level else None
            kind = (c.encoder_channels, c.encoder_heads, c.encoder_convolution, c.encoder_attention)
            first = sum(c.encoder_depths[:level])
            self.encoder.append(
                Stage(pooling, self._blocks(level, kind, rates[first : first + c.encoder_depths[level]]))
            )

        rates = _drop_rates(c.drop_path, sum(c.decoder_depths))
        self.decoder = nn.ModuleList()
        for level in range(levels - 1):
            below = c.decoder_channels[level + 1] if level < levels - 2 else c.encoder_channels[-1]
            unpooling = Unpooling(below, c.encoder_channels[level], c.decoder_channels[level], norm)
            kind = (c.decoder_channels, c.decoder_heads, c.decoder_convolution, c.decoder_attention)
            first = sum(c.decoder_depths[:level])
            own = rates[first : first + c.decoder_depths[level]][::-1]
            self.decoder.append(Stage(unpooling, self._blocks(level, kind, own)))
        self.head = nn.Linear(c.decoder_channels[0], c.num_classes)

    def _blocks(self, level: int, kind: tuple[tuple, ...], rates: list[float]) -> list[Block]:
        c = self.config
        channels, heads, convolution, attention = (values[level] for values in kind)
        return [
            Block(channels, heads, convolution, attention, c.orders[i % len(c.orders)], c.rope_base, c.mlp_ratio, rate)
            for i, rate in enumerate(rates)
        ]

    @property
    def geometry_spec(self) -> GeometrySpec:
        """The tables this network reads, with convolutions by pair lists; see GeometrySpec.tables."""
        c = self.config
        levels = []
        for level in range(len(c.encoder_channels)):
            stages = [(c.encoder_depths, c.encoder_convolution, c.encoder_attention)]
            if level < len(c.decoder_channels):
                stages.append((c.decoder_depths, c.decoder_convolution, c.decoder_attention))
            kernels = {3} if any(depth[level] and conv[level] for depth, conv, _ in stages) else set()
            if level == 0 and c.stem_kernel > 1:
                kernels.add(c.stem_kernel)
            blocks = max((depth[level] for depth, _, attention in stages if attention[level]), default=0)
            levels.append(LevelSpec(tuple(sorted(kernels)), c.orders[:blocks]))
        return GeometrySpec(tuple(levels), c.patch_size, c.curve_depth)

    def forward(self, x: Tensor, geometry: Geometry) -> Tensor:
        """Logits [V, classes] of voxel features [V, in_channels]."""
        return self.features(x, geometry).logits

    def features(self, x: Tensor, geometry: Geometry) -> Features:
        """As forward, with the features of every level."""
        levels = geometry.levels
        x = self._stem(x, levels[0])
        x = self.stem_activation(self.stem_norm(x))
        encoder: list[Tensor] = []
        for number, stage in enumerate(self.encoder):
            assert isinstance(stage, Stage)
            if stage.transition is not None:
                x = stage.transition(x, levels[number - 1], levels[number])
            x = self._run(stage, x, levels[number])
            encoder.append(x)
        decoder: list[Tensor] = []
        for number in reversed(range(len(self.decoder))):
            stage = self.decoder[number]
            assert isinstance(stage, Stage)
            assert stage.transition is not None
            x, skip = stage.transition(x, encoder[number], levels[number])
            x = self._run(stage, x, levels[number], skip if self.config.skip_convolution else None)
            decoder.insert(0, x)
        return Features(self.head(x), encoder, decoder)

    def _run(self, stage: Stage, x: Tensor, level: Level, convolution_input: Tensor | None = None) -> Tensor:
        for block in stage.blocks:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, level, convolution_input, use_reentrant=False)
            else:
                x = block(x, level, convolution_input)
            convolution_input = None  # PTv3's code feeds the unsummed skip to a decoder level's first convolution only
        return x

    def _stem(self, x: Tensor, level: Level) -> Tensor:
        """In full precision even under autocast: it reads coordinates, and at 100 m float16 has steps of 6 cm."""
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self._stem(x.float(), level)
        if x.is_cuda and torch.get_float32_matmul_precision() != "highest":  # TF32 has float16's ten bits
            with _full_precision():
                return self._stem(x, level)
        return self.stem(x, level) if self.config.stem_kernel > 1 else self.stem(x)


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _drop_rates(deepest: float, blocks: int) -> list[float]:
    """Stochastic depth grows linearly with the block's number."""
    return [deepest * i / max(blocks - 1, 1) for i in range(blocks)]


def parameter_count(model: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in model.parameters())
