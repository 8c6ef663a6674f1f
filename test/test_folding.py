# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Folding for inference: the same function as the trained network, by pair lists and by tables, alone and batched."""

import dataclasses

import pytest
import torch
from networks import PTV3_LIKE, SONATA_LIKE, shallow, trained
from torch import nn

from srkd_ros.geometry import build_geometry, voxels_from_grid
from srkd_ros.network import PRESETS
from srkd_ros.network.folding import fold


@pytest.mark.parametrize(
    "config",
    [shallow("nano"), shallow("litept-s"), PTV3_LIKE, SONATA_LIKE],
    ids=["nano", "litept", "ptv3", "sonata"],
)
def test_folded_network_is_the_same_function(config):
    model = trained(config)
    folded = fold(model)
    cells = torch.randint(0, 30, (400, 3))
    batch = torch.arange(400) // 390  # the second cloud has ten points
    for tables in ("pairs", "neighbors"):
        spec = dataclasses.replace(model.geometry_spec, tables=tables)
        for voxels in (voxels_from_grid(cells), voxels_from_grid(cells, batch, 2)):
            geometry = build_geometry(voxels, spec)
            features = torch.randn(len(voxels.code), 4)
            with torch.inference_mode():
                torch.testing.assert_close(folded(features, geometry), model(features, geometry), atol=1e-5, rtol=1e-5)


def test_folding_leaves_the_model_and_saves_work():
    model = trained(PRESETS["nano"])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(isinstance(module, nn.BatchNorm1d) for module in folded.modules())

    def linears(network):
        return sum(isinstance(module, nn.Linear) for module in network.modules())

    config = PRESETS["nano"]
    units = sum(d for d, c in zip(config.encoder_depths, config.encoder_convolution, strict=True) if c)
    assert linears(folded) == linears(model) - units
