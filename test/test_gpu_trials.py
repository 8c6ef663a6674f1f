# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What is taken for a GPU: the faster of two ways, if it gives the same, and nothing of what fails remains."""

import copy
import dataclasses
import time

import pytest
import torch
from networks import shallow, trained

from srkd_ros import gpu
from srkd_ros.geometry import build_geometry
from srkd_ros.geometry.curves import z_order
from srkd_ros.geometry.neighbors import neighbors_by_search
from srkd_ros.network import spconv_backend
from srkd_ros.network.convolution import SubmanifoldConvolution, accelerate, table_convolution
from srkd_ros.network.folding import fold
from srkd_ros.runtimes import gpu_trials
from srkd_ros.runtimes.recorded_network import RecordedNetwork

CPU = torch.device("cpu")


@pytest.fixture
def model(monkeypatch):
    for name, value in (("_POINTS", 80), ("_WARM_UP", 1), ("_ROUNDS", 1), ("_SMALL", (40, 1))):
        monkeypatch.setattr(gpu_trials, name, value)
    monkeypatch.setattr(spconv_backend, "is_installed", lambda: False)
    return fold(trained(shallow("nano")))


def spec_of(model):
    return dataclasses.replace(model.geometry_spec, tables="neighbors")


def convolutions(model):
    return [module for module in model.modules() if isinstance(module, SubmanifoldConvolution)]


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

        monkeypatch.setattr(spconv_backend, "is_installed", lambda: True)
        monkeypatch.setattr(spconv_backend, "frozen", lambda: convolve)

    return install


@pytest.mark.parametrize(
    ("settings", "own_delay", "taken", "said"),
    [
        ({"delay": 0.02}, 0.0, False, "; spconv's convolution: "),
        ({}, 0.1, True, "spconv's convolution, "),
        ({"factor": 1.5}, 0.1, False, "; spconv's convolution gives logits that differ by "),
        ({"factor": float("nan")}, 0.1, False, "; spconv's convolution gives logits that differ by nan"),
        (
            {"broken": RuntimeError("no image\nfor it")},
            0.0,
            False,
            "; spconv's convolution failed (RuntimeError: no image)",
        ),
        ({"broken": AssertionError()}, 0.0, False, "; spconv's convolution failed (AssertionError: )"),
    ],
)
def test_the_faster_convolution_is_taken_if_it_is_right(monkeypatch, model, stand_in, settings, own_delay, taken, said):
    before = copy.deepcopy(model)
    made = gpu_trials.build_geometry

    def build(voxels, spec):
        time.sleep(own_delay if spec.levels[0].kernel_sizes else 0.0)
        return made(voxels, spec)

    monkeypatch.setattr(gpu_trials, "build_geometry", build)
    stand_in(**settings)
    network, spec, words = gpu_trials.take_fastest(model, model.geometry_spec)
    assert said in words
    assert words.startswith("spconv's convolution, " if taken else "torch alone: ")
    assert "\n" not in words
    assert network is model
    assert all((layer.accelerated is not None) == taken for layer in convolutions(model))
    assert spec.levels[0].kernel_sizes == (() if taken else (3,))
    voxels = gpu_trials._trial_voxels(CPU, 800)
    x = torch.randn(len(voxels.code), model.config.in_channels)
    with torch.inference_mode():
        got = network(x, build_geometry(voxels, spec))
        torch.testing.assert_close(got, before(x, build_geometry(voxels, before.geometry_spec)), rtol=1e-4, atol=1e-4)


def test_without_a_gpu_and_spconv_nothing_is_tried(model):
    network, spec, words = gpu_trials.take_fastest(model, model.geometry_spec)
    assert (network, spec) == (model, model.geometry_spec)
    assert words.startswith("torch alone: ")
    assert words.endswith(" ms")


def test_trials_can_be_left_out(monkeypatch, model):
    monkeypatch.setenv("SRKD_TRIALS", "0")
    monkeypatch.setattr(gpu_trials, "Trial", None)
    assert gpu_trials.take_fastest(model, model.geometry_spec) == (
        model,
        model.geometry_spec,
        "torch alone, as SRKD_TRIALS=0 asks",
    )


def slow(trial):
    """Let what the trial has so far take longer than whatever comes."""
    trial._ms = 1e6
    return trial


def test_a_convolution_in_place_of_others_ends_them_in_words(model):
    trial = slow(gpu_trials.Trial(model, spec_of(model)))
    trial.run("one", lambda: (model, trial.spec, lambda: None))
    slow(trial).run("two", lambda: (model, trial.spec, lambda: None))
    slow(trial).run("three", lambda: (model, trial.spec, lambda: None), instead=("two",))
    assert trial.words().startswith("one and three, ")


def test_an_accelerator_is_undone_to_what_was_there(model):
    first, second = (lambda layer, x, level: None), (lambda layer, x, level: None)
    accelerate(model, first)
    undo = accelerate(model, second)
    assert {layer.accelerated for layer in convolutions(model)} == {second}
    undo()
    assert {layer.accelerated for layer in convolutions(model)} == {first}


def test_a_network_that_is_wrong_for_small_clouds_alone_is_not_taken(model):
    trial = slow(gpu_trials.Trial(model, spec_of(model)))

    def network(features, geometry):
        return model(features, geometry) * (2.0 if len(features) == 1 else 1.0)

    trial.run("one", lambda: (network, trial.spec, lambda: None))
    assert "one gives logits that differ by 100%" in trial.words()


def test_a_network_that_cannot_be_recorded_is_not_taken_for_one_that_is(monkeypatch, model):
    def fail(run):
        raise RuntimeError("no room")

    monkeypatch.setattr(gpu_trials, "RecordedNetwork", lambda *given: RecordedNetwork(*given, fail))
    trial = slow(gpu_trials.Trial(model, spec_of(model)))
    trial.run("a CUDA graph", lambda: gpu_trials._recorded(trial))
    assert "a CUDA graph failed (RuntimeError: no room)" in trial.words()
    assert trial.network is model


class TestTriton:
    """By Triton's interpreter, where there is no GPU."""

    @pytest.fixture
    def kernels(self):
        pytest.importorskip("triton")
        if torch.cuda.is_available():
            pytest.skip("a GPU's own test is test/gpu")
        yield gpu.import_kernels()
        gpu.take(CPU, None)

    def test_its_convolution_is_taken(self, model, kernels):
        trial = slow(gpu_trials.Trial(model, spec_of(model)))
        trial.run("Triton's convolution", lambda: gpu_trials._triton_convolution(trial, kernels))
        assert trial.words().startswith("Triton's convolution, ")
        assert all(layer.accelerated is not None for layer in convolutions(model))

    def test_its_tables_are_taken_for_the_device(self, model, kernels):
        trial = slow(gpu_trials.Trial(model, spec_of(model)))
        trial.run("Triton's tables", lambda: gpu_trials._triton_tables(trial, kernels))
        assert trial.words().startswith("Triton's tables, ")
        assert gpu.taken_for(CPU) is kernels

    def test_tables_that_an_earlier_student_took_are_no_part_of_torchs_time(self, model, kernels):
        with gpu.taking(CPU, kernels):
            trial = gpu_trials.Trial(model, spec_of(model))
            interpreted = trial._measure(model, trial.spec)[1]
            assert trial._first_ms < interpreted
            assert gpu.taken_for(CPU) is kernels

    def test_slow_tables_are_not(self, model, kernels):
        trial = gpu_trials.Trial(model, spec_of(model))
        trial._ms = 0.0
        trial.run("Triton's tables", lambda: gpu_trials._triton_tables(trial, kernels))
        assert gpu.taken_for(CPU) is None

    def test_wrong_tables_are_not(self, monkeypatch, model, kernels):
        trial = slow(gpu_trials.Trial(model, spec_of(model)))
        search = kernels.geometry.search
        monkeypatch.setattr(kernels.geometry, "search", lambda *given: search(*given).fill_(len(given[2])))
        trial.run("Triton's tables", lambda: gpu_trials._triton_tables(trial, kernels))
        assert "Triton's tables failed (ValueError: the tables are not those of torch)" in trial.words()
        assert gpu.taken_for(CPU) is None
