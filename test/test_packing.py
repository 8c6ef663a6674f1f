# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Packed linear maps compute what the folded network computes; without the operators everything stays as it is."""

import copy

import pytest
import torch
from networks import PTV3_LIKE, SONATA_LIKE, scene, shallow, trained
from torch import nn

from srkd_ros.geometry import build_geometry, voxelize
from srkd_ros.network import packing
from srkd_ros.network.folding import fold
from srkd_ros.network.packing import PackedLinear, pack

needs_onednn = pytest.mark.skipif(not packing.available(), reason="this build of torch has no packed linear maps")


@needs_onednn
@pytest.mark.parametrize("voxels", [1, 7, 3000])
@pytest.mark.parametrize("gelu", [False, True])
def test_packed_linear_is_linear(voxels, gelu):
    torch.manual_seed(0)
    linear = nn.Linear(36, 50)
    x = torch.randn(voxels, 36)
    expected = nn.functional.gelu(linear(x)) if gelu else linear(x)
    with torch.no_grad():
        torch.testing.assert_close(PackedLinear(linear, gelu)(x), expected, rtol=1e-5, atol=1e-5)


@needs_onednn
@pytest.mark.parametrize(
    "config",
    [shallow("nano"), shallow("litept-s"), PTV3_LIKE, SONATA_LIKE],
    ids=["nano", "litept", "ptv3", "sonata"],
)
def test_packed_networks_agree(config):
    plain = fold(trained(config))
    packed = pack(copy.deepcopy(plain))
    assert not [m for m in packed.modules() if isinstance(m, nn.Linear)]
    voxels = voxelize(torch.from_numpy(scene()[0]), 0.3)
    geometry = build_geometry(voxels, trained(config).geometry_spec)
    x = torch.randn(len(voxels.code), config.in_channels, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(packed(x, geometry), plain(x, geometry), rtol=1e-4, atol=1e-4)


def test_without_the_operators_nothing_changes(monkeypatch):
    def missing(*_):
        raise AttributeError("no such operator")

    monkeypatch.setattr(packing.PackedLinear, "forward", missing)
    model = fold(trained(shallow("nano")))
    kept = [type(m) for m in model.modules()]
    assert [type(m) for m in pack(model).modules()] == kept
