# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""spconv's kernels for our convolutions, where one of its wheels is installed: an option for training on GPUs.

Weights and results stay ours: a layer's weight is handed over in spconv's layout at each call, so gradients flow back
to it, and a checkpoint does not know which kernels made it. No robot needs this.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from srkd_ros.errors import MissingPackageError
from srkd_ros.geometry.levels import Level
from srkd_ros.network import convolution

INSTALL = "pip install 'srkd_ros[cu126]' (or cu120, for CUDA 12.0 and Python below 3.12)"


def enable(on: bool = True) -> None:
    """Let spconv do all convolutions of this process, or stop it. MissingPackageError without one of its wheels."""
    convolution.accelerated = _Backend(_import()) if on else None


def _import() -> ModuleType:
    try:
        import spconv.pytorch
    except ImportError as error:
        raise MissingPackageError(f"convolution: spconv is not installed: {INSTALL}") from error
    return spconv.pytorch


class _Backend:
    """See srkd_ros.network.convolution.accelerated."""

    def __init__(self, spconv: ModuleType) -> None:
        self._spconv = spconv

    def __call__(self, layer: nn.Module, x: Tensor, level: Level) -> Tensor:
        assert isinstance(layer, convolution.SubmanifoldConvolution)
        size, inside, outside = layer.kernel_size, layer.in_channels, layer.out_channels
        kernel = self._kernel(inside, outside, size).train(layer.training)
        given = x.dtype
        if given == torch.bfloat16:  # spconv has no kernels for it
            x = x.float()
        weight = layer.weight.to(x.dtype).reshape(size, size, size, inside, outside)
        kernel.weight = weight.permute(4, 0, 1, 2, 3).contiguous()
        with torch.autocast(x.device.type, enabled=False):
            result = kernel(self._tensor(x, level))
        level.accelerator.indice_dict.update(result.indice_dict)  # spconv fills a copy
        out = result.features.to(given)
        return out if layer.bias is None else out + layer.bias

    def _kernel(self, inside: int, outside: int, size: int) -> nn.Module:
        with torch.device("meta"):  # its own weight is never used
            kernel = self._spconv.SubMConv3d(inside, outside, size, bias=False, indice_key=f"kernel{size}")
        del kernel.weight  # a parameter cannot be replaced by a tensor that carries a gradient elsewhere
        return kernel

    def _tensor(self, x: Tensor, level: Level) -> Any:
        """The features with spconv's own index pairs, which are made once for a level and kernel size."""
        if level.accelerator is None:
            indices = torch.cat([level.batch[:, None], level.grid], 1).int()
            shape = (level.grid.amax(0) + 1).tolist()
            level.accelerator = self._spconv.SparseConvTensor(x, indices, shape, len(level.counts))
        return level.accelerator.replace_feature(x)
