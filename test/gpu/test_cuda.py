# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""On a CUDA device: the same integers, and the same labels, as on the CPU."""

import dataclasses

import numpy as np
import pytest
import torch

from srkd_ros import Segmenter
from srkd_ros.geometry import build_geometry, voxelize
from srkd_ros.network import PointTransformer, preset

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def street(count=60_000, seed=0):
    generator = np.random.default_rng(seed)
    xyz = generator.uniform((-40, -40, -2), (40, 40, 4), (count, 3)).astype(np.float32)
    xyz[: count // 2, 2] = -1.7
    return xyz, generator.uniform(0, 1, count).astype(np.float32)


@pytest.mark.parametrize("size", [0.2, 0.07])
@pytest.mark.parametrize("tables", ["pairs", "neighbors"])
@pytest.mark.parametrize("name", ["nano", "litept-s", "ptv3"])
def test_geometry_is_the_cpus(name, tables, size):
    with torch.device("meta"):
        spec = dataclasses.replace(PointTransformer(preset(name)).geometry_spec, tables=tables)
    xyz = torch.from_numpy(street()[0])
    xyz = (xyz * 16).round() / 16  # on the borders of cells, where a quotient that is rounded otherwise shows
    here = build_geometry(voxelize(xyz, size), spec)
    there = build_geometry(voxelize(xyz.cuda(), size), spec)
    for a, b in zip(here.levels, there.levels, strict=True):
        assert a.counts == b.counts
        assert torch.equal(a.grid, b.grid.cpu())
        for size, table in a.neighbors.items():
            assert torch.equal(table, b.neighbors[size].cpu())
        for size, pairs in a.pairs.items():
            assert pairs.counts == b.pairs[size].counts
            assert torch.equal(pairs.source, b.pairs[size].source.cpu())
        for order, patches in a.patches.items():
            assert torch.equal(patches.table, b.patches[order].table.cpu())


@pytest.mark.parametrize(("precision", "agreement"), [("fp32", 0.9999), ("fp16", 0.995), ("bf16", 0.99)])
def test_labels_are_the_cpus(student_file, precision, agreement):
    torch.backends.cuda.matmul.allow_tf32 = False
    xyz, intensity = street()
    here = Segmenter.load(student_file, device="cpu", intensity_scale=1.0)(xyz, intensity)
    segmenter = Segmenter.load(student_file, device="cuda", intensity_scale=1.0, precision=precision)
    assert not {"failed", "differ"} & set(segmenter.runtime_reason.replace(",", " ").split())
    for _ in range(3):  # recorded, replayed
        there = segmenter(xyz, intensity)
    assert np.mean(here.labels == there.labels) >= agreement
    assert np.array_equal(here.labels == 255, there.labels == 255)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", ["nano", "litept-s"])
def test_spconvs_kernels_give_our_results(name, dtype):
    """Forward and backward, with the same weights; `pip install .[cu126]` or cu120."""
    pytest.importorskip("spconv.pytorch")
    from srkd_ros.network import spconv_backend

    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    model = PointTransformer(dataclasses.replace(preset(name), drop_path=0.0)).cuda()
    voxels = voxelize(torch.from_numpy(street(20_000)[0]).cuda(), 0.2)
    x = torch.randn(len(voxels.code), model.config.in_channels, device="cuda")
    results = []
    try:
        for theirs in (False, True):
            spconv_backend.enable(theirs)
            model.zero_grad()
            with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
                out = model(x, build_geometry(voxels, model.geometry_spec)).float()
            out.square().mean().backward()
            results.append([out.detach(), *(p.grad.clone() for p in model.parameters())])
    finally:
        spconv_backend.enable(False)
    bound = 1e-3 if dtype == torch.float32 else 3e-2
    for ours, others in zip(*results, strict=True):
        assert (ours - others).norm() <= bound * ours.norm().clamp_min(1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["nano", "litept-s"])
def test_a_narrowed_student_gives_the_same_by_spconv(name, dtype):
    pytest.importorskip("spconv.pytorch")
    from srkd_ros.network import spconv_backend
    from srkd_ros.network.convolution import accelerate
    from srkd_ros.network.folding import fold
    from srkd_ros.network.narrowing import narrow

    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    model = fold(PointTransformer(preset(name)).eval()).cuda()
    narrow(model, dtype)
    spec = model.geometry_spec.for_inference(torch.device("cuda"))
    voxels = voxelize(torch.from_numpy(street(20_000)[0]).cuda(), 0.2)
    x = torch.randn(len(voxels.code), model.config.in_channels, device="cuda")
    with torch.inference_mode():
        ours = model(x, build_geometry(voxels, spec)).float()
        accelerate(model, spconv_backend.frozen())
        theirs = model(x, build_geometry(voxels, spec)).float()
    assert (ours - theirs).norm() <= (1e-3 if dtype == torch.float32 else 3e-2) * ours.norm()


@pytest.mark.parametrize("name", ["nano", "litept-s", "ptv3-half"])
def test_gradients_are_the_cpus(name):
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    config = dataclasses.replace(preset(name), drop_path=0.0)
    xyz = torch.from_numpy(street(5000)[0])
    gradients = []
    model = PointTransformer(config).double()
    for device in ("cpu", "cuda"):
        model.to(device).zero_grad()
        voxels = voxelize(xyz.to(device), 0.4)
        x = torch.sin(voxels.grid.double())
        x = torch.cat([x, x[:, :1]], 1)
        model(x, build_geometry(voxels, model.geometry_spec)).square().mean().backward()
        gradients.append({n: p.grad.cpu() for n, p in model.named_parameters()})
    for key, grad in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], grad, rtol=1e-4, atol=1e-6)
