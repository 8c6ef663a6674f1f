# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""spconv in the place of our convolution: the same results where its CPU wheel is installed, and who is taken when."""

import copy
import time

import pytest
import torch
from networks import shallow, trained

from srkd_ros.geometry import GeometrySpec, LevelSpec, build_geometry, voxels_from_grid
from srkd_ros.geometry.curves import z_order
from srkd_ros.geometry.neighbors import neighbors_by_search
from srkd_ros.network import spconv_backend
from srkd_ros.network.convolution import SubmanifoldConvolution, table_convolution
from srkd_ros.network.folding import fold
from srkd_ros.runtimes import convolution_trial


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
    voxels = convolution_trial._trial_voxels(torch.device("cpu"), 3000)
    x = torch.randn(len(voxels.code), model.config.in_channels)
    with torch.inference_mode():
        ours = model(x, build_geometry(voxels, model.geometry_spec))
        spconv_backend.attach(model)
        for _ in range(2):  # the weights are handed over the first time
            theirs = model(x, build_geometry(voxels, model.geometry_spec))
            torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-3)
        spconv_backend.detach(model)
        assert torch.equal(model(x, build_geometry(voxels, model.geometry_spec)), ours)


@pytest.fixture
def stand_in(monkeypatch):
    """An accelerator that finds its own neighbours, as spconv does, and may be slow, wrong or broken."""

    def install(delay=0.0, factor=1.0, broken=None):
        def convolve(layer, x, level):
            if broken:
                raise broken
            time.sleep(delay)
            neighbors = neighbors_by_search(level.grid, level.batch, z_order(level.grid), layer.kernel_size)
            out = table_convolution(x, layer.weight, neighbors) * factor
            return out if layer.bias is None else out + layer.bias

        def attach(model):
            for module in model.modules():
                if isinstance(module, SubmanifoldConvolution):
                    module.accelerated = convolve

        monkeypatch.setattr(spconv_backend, "is_installed", lambda: True)
        monkeypatch.setattr(spconv_backend, "attach", attach)

    return install


@pytest.mark.parametrize(
    ("settings", "own_delay", "taken", "said"),
    [
        ({"delay": 0.02}, 0.0, False, "own convolution: "),
        ({}, 0.1, True, "spconv's convolution: own "),
        ({"factor": 1.5}, 0.1, False, "own convolution: spconv's logits differ by "),
        (
            {"broken": RuntimeError("no image\nfor it")},
            0.0,
            False,
            "own convolution: spconv failed (RuntimeError: no image)",
        ),
        ({"broken": AssertionError()}, 0.0, False, "own convolution: spconv failed (AssertionError: )"),
    ],
)
def test_the_faster_convolution_is_taken_if_it_is_right(monkeypatch, stand_in, settings, own_delay, taken, said):
    model = fold(trained(shallow("nano")))
    before = copy.deepcopy(model)
    whole = convolution_trial._trial_voxels
    monkeypatch.setattr(convolution_trial, "_trial_voxels", lambda device: whole(device, 500))
    made = convolution_trial.build_geometry

    def build(voxels, spec):
        time.sleep(own_delay if spec.levels[0].kernel_sizes else 0.0)
        return made(voxels, spec)

    monkeypatch.setattr(convolution_trial, "build_geometry", build)
    stand_in(**settings)
    spec, words = convolution_trial.take_faster_convolution(model, model.geometry_spec)
    assert words.startswith(said)
    assert "\n" not in words
    assert all((m.accelerated is not None) == taken for m in model.modules() if isinstance(m, SubmanifoldConvolution))
    assert spec.levels[0].kernel_sizes == (() if taken else (3,))
    voxels = whole(torch.device("cpu"), 800)
    x = torch.randn(len(voxels.code), model.config.in_channels)
    with torch.inference_mode():
        got = model(x, build_geometry(voxels, spec))
        torch.testing.assert_close(got, before(x, build_geometry(voxels, before.geometry_spec)), rtol=1e-4, atol=1e-4)


def test_without_spconv_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(spconv_backend, "is_installed", lambda: False)
    model = fold(trained(shallow("nano")))
    assert convolution_trial.take_faster_convolution(model, model.geometry_spec) == (
        model.geometry_spec,
        "own convolution",
    )
