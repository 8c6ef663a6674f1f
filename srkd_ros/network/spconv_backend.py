# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""spconv's kernels for our convolutions, where one of its wheels is installed: on GPUs, for training and inference.

Weights and results stay ours: a layer's weight is handed over in spconv's layout, at each call while it trains, so that
gradients flow back to it, and a checkpoint does not know which kernels made it. No robot needs this.
"""

from __future__ import annotations

import contextlib
import importlib.util
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from srkd_ros.errors import MissingPackageError
from srkd_ros.geometry.levels import Level
from srkd_ros.network import convolution

INSTALL = "pip install 'srkd_ros[cu126]' (or cu120, for CUDA 12.0 and Python below 3.12)"


def enable(on: bool = True) -> None:
    """Let spconv do all convolutions of this process, or stop it. MissingPackageError without one of its wheels."""
    convolution.accelerated = _Backend(_import()) if on else None


def is_installed() -> bool:
    return importlib.util.find_spec("spconv") is not None


def frozen() -> convolution.Accelerator:
    """spconv for layers whose weights stay as they are: see convolution.accelerate. MissingPackageError without it."""
    return _Backend(_import(), frozen=True)


def _import() -> ModuleType:
    try:
        import spconv.pytorch
    except ImportError as error:
        raise MissingPackageError(f"convolution: spconv is not installed: {INSTALL}") from error
    return spconv.pytorch


class _Backend:
    """See srkd_ros.network.convolution.accelerated."""

    def __init__(self, spconv: ModuleType, frozen: bool = False) -> None:
        self._spconv = spconv
        self._frozen = frozen  # whether a layer's weight is handed over once and for all
        self._kernels: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()

    def __call__(self, layer: nn.Module, x: Tensor, level: Level) -> Tensor:
        assert isinstance(layer, convolution.SubmanifoldConvolution)
        given = x.dtype
        if layer.weight.element_size() < x.element_size():
            x = x.to(layer.weight.dtype)
        if x.dtype == torch.bfloat16:  # spconv has no kernels for it
            x = x.float()
        kernel = self._kernels.get(layer)
        if kernel is None:
            kernel = self._kernel(layer, x.dtype)
            if self._frozen:
                self._kernels[layer] = kernel
        # spconv works on the stream of the current device, whichever device the features are on.
        on_device = torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()
        with on_device, torch.autocast(x.device.type, enabled=False):
            result = kernel(self._tensor(x, level))
        level.accelerator.indice_dict.update(result.indice_dict)  # spconv fills a copy
        out = result.features.to(given)
        return out if layer.bias is None else out + layer.bias

    def _kernel(self, layer: convolution.SubmanifoldConvolution, dtype: torch.dtype) -> nn.Module:
        """spconv's layer with our weight, [K, C_in, C_out], in its layout."""
        size, inside, outside = layer.kernel_size, layer.in_channels, layer.out_channels
        with torch.device("meta"):  # its own weight is never used
            kernel = self._spconv.SubMConv3d(inside, outside, size, bias=False, indice_key=f"kernel{size}")
        del kernel.weight  # a parameter cannot be replaced by a tensor that carries a gradient elsewhere
        weight = layer.weight.to(dtype).reshape(size, size, size, inside, outside)
        kernel.weight = weight.permute(4, 0, 1, 2, 3).contiguous()
        return kernel.train(layer.training)

    def _tensor(self, x: Tensor, level: Level) -> Any:
        """The features with spconv's own index pairs, which are made once for a level and kernel size."""
        if level.accelerator is None:
            indices = torch.cat([level.batch[:, None], level.grid], 1).int()
            shape = (level.grid.amax(0) + 1).tolist()
            level.accelerator = self._spconv.SparseConvTensor(x, indices, shape, len(level.counts))
        return level.accelerator.replace_feature(x)
