# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""spconv in the place of our convolution: the same results, where its CPU wheel is installed."""

import pytest
import torch
from networks import shallow, trained

from srkd_ros.geometry import GeometrySpec, LevelSpec, build_geometry, voxels_from_grid
from srkd_ros.network import spconv_backend
from srkd_ros.network.convolution import SubmanifoldConvolution, accelerate
from srkd_ros.network.folding import fold
from srkd_ros.runtimes import gpu_trials


def cloud(count=200, size=12, clouds=2):
    generator = torch.Generator().manual_seed(0)
    grid = torch.randint(0, size, (count, 3), generator=generator)
    batch = torch.randint(0, clouds, (count,), generator=generator).sort().values
    return voxels_from_grid(grid, batch, clouds)


def level_of(voxels, kernel, tables):
    return build_geometry(voxels, GeometrySpec((LevelSpec((kernel,)), LevelSpec(())), tables=tables)).levels[0]


@pytest.fixture
def spconv_on_one_thread(monkeypatch):
    """The second oracle, where its CPU wheel is installed: with more threads it races."""
    pytest.importorskip("spconv.pytorch")
    from spconv.pytorch import ops

    monkeypatch.setattr(ops, "get_current_stream", lambda: 0)  # its CPU backward asks for a CUDA stream
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    spconv_backend.enable()
    yield spconv_backend
    spconv_backend.enable(False)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("kernel", [3, 5])
def test_convolution_is_spconvs(kernel, spconv_on_one_thread):
    voxels = cloud()
    layer = SubmanifoldConvolution(4, 6, kernel)
    x = torch.randn(len(voxels.code), 4, requires_grad=True)
    level = level_of(voxels, kernel, "pairs")
    results = []
    for own in (False, True):
        if own:
            with torch.no_grad():
                half = layer(x.bfloat16(), level)  # spconv has no kernels for it
            spconv_on_one_thread.enable(False)
        out = layer(x, level)
        grads = torch.autograd.grad(out.square().sum(), [x, layer.weight, layer.bias])
        results.append([out, *grads])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(half.float(), results[1][0], rtol=0.05, atol=0.05)
    assert list(level.accelerator.indice_dict) == [f"kernel{kernel}"]  # shared by the level's next convolutions


@pytest.mark.parametrize("name", ["nano", "litept-s"])
def test_a_frozen_model_gives_the_same_by_spconv(name, spconv_on_one_thread):
    spconv_on_one_thread.enable(False)
    model = fold(trained(shallow(name)))
    voxels = gpu_trials._trial_voxels(torch.device("cpu"), 3000)
    x = torch.randn(len(voxels.code), model.config.in_channels)
    with torch.inference_mode():
        ours = model(x, build_geometry(voxels, model.geometry_spec))
        undo = accelerate(model, spconv_backend.frozen())
        for _ in range(2):  # the weights are handed over the first time
            theirs = model(x, build_geometry(voxels, model.geometry_spec))
            torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-3)
        undo()
        assert torch.equal(model(x, build_geometry(voxels, model.geometry_spec)), ours)
