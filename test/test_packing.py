# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Packed and narrowed networks compute what the folded network computes, up to what their types can hold."""

import copy
import dataclasses

import pytest
import torch
from networks import PTV3_LIKE, SONATA_LIKE, scene, shallow, trained
from torch import nn

from srkd_ros.geometry import build_geometry, voxelize
from srkd_ros.network import packing
from srkd_ros.network.folding import fold
from srkd_ros.network.narrowing import narrow
from srkd_ros.network.packing import PackedLinear, pack

pytestmark = pytest.mark.usefixtures("either_way")

NETWORKS = pytest.mark.parametrize(
    "config",
    [shallow("nano"), shallow("litept-s"), PTV3_LIKE, SONATA_LIKE],
    ids=["nano", "litept", "ptv3", "sonata"],
)
needs_bf16 = pytest.mark.skipif(not packing.available(torch.bfloat16), reason="this CPU has no bfloat16 products")
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
@NETWORKS
def test_packed_networks_agree(config):
    plain = fold(trained(config))
    packed = pack(copy.deepcopy(plain))
    assert not [m for m in packed.modules() if isinstance(m, nn.Linear)]
    voxels = voxelize(torch.from_numpy(scene()[0]), 0.3)
    geometry = build_geometry(voxels, trained(config).geometry_spec)
    x = torch.randn(len(voxels.code), config.in_channels, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(packed(x, geometry), plain(x, geometry), rtol=1e-4, atol=1e-4)


@needs_bf16
@NETWORKS
@pytest.mark.parametrize("tables", ["pairs", "neighbors"])
def test_bfloat16_rounds_products_alone(config, tables):
    """Off by what eight bits in products explain, and not by nothing: the narrow kernels did run."""
    plain = fold(trained(config))
    packed = pack(copy.deepcopy(plain), torch.bfloat16)
    voxels = voxelize(torch.from_numpy(scene()[0]), 0.3)
    geometry = build_geometry(voxels, dataclasses.replace(trained(config).geometry_spec, tables=tables))
    x = torch.randn(len(voxels.code), config.in_channels, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        exact, rounded = plain(x, geometry), packed(x, geometry)
    assert rounded.dtype == torch.float32
    error = (rounded - exact).norm() / exact.norm()
    assert 1e-5 < error < 2e-2
    agree = (rounded.argmax(1) == exact.argmax(1)).float().mean()
    assert agree > 0.97  # random weights: many near ties


@needs_bf16
def test_stem_and_head_stay_exact():
    packed = pack(fold(trained(shallow("litept-s"))), torch.bfloat16)
    assert packed.stem.weight.dtype == torch.float32
    assert packed.head.dtype == torch.float32
    narrow = [m for m in packed.modules() if isinstance(m, PackedLinear) and m.dtype == torch.bfloat16]
    assert len(narrow) > 5
    assert {m.out_dtype for m in narrow} == {torch.float32, torch.bfloat16}  # the latter inside of MLPs


@NETWORKS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrowed_networks_agree(config, dtype):
    """What GPUs run, here on the CPU: by tables, with rows of qkv interleaved ahead."""
    model = trained(config)
    plain = fold(model)
    narrowed = narrow(copy.deepcopy(plain), dtype)
    voxels = voxelize(torch.from_numpy(scene()[0]), 0.3)
    geometry = build_geometry(voxels, dataclasses.replace(model.geometry_spec, tables="neighbors"))
    x = torch.randn(len(voxels.code), config.in_channels, generator=torch.Generator().manual_seed(1))
    seen = _input_types(narrowed)
    with torch.inference_mode():
        exact, rounded = plain(x, geometry), narrowed(x, geometry)
    assert rounded.dtype == torch.float32
    assert 1e-5 < (rounded - exact).norm() / exact.norm() < (2e-2 if dtype == torch.bfloat16 else 4e-3)
    assert seen == {nn.LayerNorm: {torch.float32}}  # CUDA's takes no half input beside float32 weights


def _input_types(model):
    """The types that layer norms are called with, filled in as the model runs."""
    seen = {}
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_pre_hook(lambda m, given: seen.setdefault(type(m), set()).add(given[0].dtype))
    return seen


def test_without_the_operators_nothing_changes(monkeypatch):
    def missing(*_):
        raise AttributeError("no such operator")

    monkeypatch.setattr(packing.PackedLinear, "forward", missing)
    model = fold(trained(shallow("nano")))
    kept = [type(m) for m in model.modules()]
    assert [type(m) for m in pack(model).modules()] == kept
