# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What one would use otherwise: voxels by torch.unique or numpy.unique, and convolutions by spconv's CPU kernels."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srkd_ros.geometry import Level, Voxels, build_geometry
from srkd_ros.network import PointTransformer
from srkd_ros.network.convolution import SubmanifoldConvolution

SPCONV = "spconv (CPU)"


def voxels_by_unique(xyz: Tensor, voxel_size: float) -> tuple[Tensor, Tensor]:
    """Voxels int64 [V, 3] and each point's voxel, by torch.unique over rows."""
    cell = torch.floor(xyz / voxel_size).long()
    return torch.unique(cell - cell.amin(0), dim=0, return_inverse=True)


def voxels_by_key(xyz: np.ndarray, voxel_size: float) -> tuple[np.ndarray, np.ndarray]:
    """First point of each voxel and each point's voxel, by numpy.unique of one key, as data loaders do."""
    cell = np.floor(xyz / voxel_size).astype(np.int64)
    cell -= cell.min(0)
    size = cell.max(0) + 1
    key = (cell[:, 0] * size[1] + cell[:, 1]) * size[2] + cell[:, 2]
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return first, inverse


def spconv() -> Any:
    """The module spconv.pytorch, mended for torch versions newer than it; ImportError if it is not installed."""
    import spconv.pytorch as module

    module.ops.get_current_stream = lambda: 0  # spconv 2.3.8 asks CUDA for a stream on the CPU as well
    return module


def spconv_missing(device: str) -> str | None:
    """Why spconv's CPU kernels cannot be measured; None if they can."""
    if device != "cpu":
        return "only its CPU kernels are measured"
    try:
        spconv()
    except ImportError:
        return "not installed (pip install spconv)"
    return None


class SpconvConvolution(nn.Module):
    """SubMConv3d with the weights of one of our convolutions, in its place: forward(x, level).

    The rulebook of a level and kernel size is made at its first use in a forward pass and shared, as in networks that
    name an indice_key. `sites` is the network's.
    """

    def __init__(self, ours: SubmanifoldConvolution, sites: _Sites) -> None:
        super().__init__()
        size = ours.kernel_size
        self.sites, self.size, self.bias = [sites], size, ours.bias  # a list: the sites are no submodule
        self.layer = spconv().SubMConv3d(ours.in_channels, ours.out_channels, size, bias=False, indice_key=str(size))
        weight = ours.weight.detach().view(size, size, size, ours.in_channels, ours.out_channels)
        self.layer.weight = nn.Parameter(weight.permute(4, 0, 1, 2, 3).contiguous())

    def forward(self, x: Tensor, level: Level) -> Tensor:
        result = self.layer(self.sites[0].sparse(x, level))
        self.sites[0].known[id(level)][2].update(result.indice_dict)  # spconv fills a copy
        out = result.features
        return out if self.bias is None else out + self.bias


class _Sites:
    """Sites and rulebooks of the levels of one cloud."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Tensor, list[int], dict]] = {}

    def sparse(self, x: Tensor, level: Level) -> Any:
        if id(level) not in self.known:
            indices = torch.cat([level.batch[:, None], level.grid], 1).int()
            self.known[id(level)] = (indices, (level.grid.amax(0) + 1).tolist(), {})
        indices, shape, rulebooks = self.known[id(level)]
        return spconv().SparseConvTensor(x, indices, shape, len(level.counts), indice_dict=rulebooks)


class SpconvNetwork:
    """A copy of a network whose convolutions are spconv's, in eval mode; attention and linear maps are ours."""

    def __init__(self, model: PointTransformer) -> None:
        self.sites = _Sites()
        spec = model.geometry_spec
        self.spec = replace(
            spec, tables="neighbors", levels=tuple(replace(level, kernel_sizes=()) for level in spec.levels)
        )
        self.model = copy.deepcopy(model).eval()
        for module in list(self.model.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, SubmanifoldConvolution):
                    setattr(module, name, SpconvConvolution(child, self.sites))

    def __call__(self, features: Tensor, voxels: Voxels) -> Tensor:
        """Logits [V, classes]; levels, patches and rulebooks are made anew."""
        self.sites.known.clear()
        return self.model(features, build_geometry(voxels, self.spec))


def spconv_rulebooks(levels: list[Level], kernel_sizes: list[tuple[int, ...]]) -> list[Any]:
    """What our level tables answer to: neighbour pairs of every level, by spconv's hash tables."""
    module = spconv()
    found = []
    for level, sizes in zip(levels, kernel_sizes, strict=True):
        indices = torch.cat([level.batch[:, None], level.grid], 1).int()
        shape = (level.grid.amax(0) + 1).tolist()
        for size in sizes:
            three = [[size] * 3, [1] * 3, [size // 2] * 3, [1] * 3, [0] * 3]
            found.append(
                module.ops.get_indice_pairs(
                    indices, len(level.counts), shape, module.ConvAlgo.Native, *three, subm=True
                )
            )
    return found


def coarser_grids(voxels: Voxels, levels: int) -> list[Tensor]:
    """Occupied cells of each coarser level by torch.unique over rows, as a network without z-order finds them."""
    grids = [torch.cat([voxels.batch[:, None], voxels.grid], 1)]
    for _ in range(levels - 1):
        halved = grids[-1].clone()
        halved[:, 1:] >>= 1
        grids.append(torch.unique(halved, dim=0, return_inverse=True)[0])
    return grids
