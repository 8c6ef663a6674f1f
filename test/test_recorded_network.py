# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""A network recorded for clouds of about a size: whatever clouds come, and in whatever order, the model's logits.

Without a GPU a stand-in runs the network anew on the recording's own tensors, as a CUDA graph does.
"""

import dataclasses
import logging

import pytest
import torch
from networks import shallow, trained

from srkd_ros import native
from srkd_ros.geometry import build_geometry, voxelize
from srkd_ros.gpu import capture as capturing
from srkd_ros.gpu.capture import capture
from srkd_ros.network.folding import fold
from srkd_ros.runtimes.recorded_network import RecordedNetwork

DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


class Recorder:
    """Counts recordings, and replays them by running the network again."""

    def __init__(self):
        self.made = self.replayed = 0

    def __call__(self, run):
        self.made += 1
        replay, out = capture(run) if DEVICE.type == "cuda" else ((lambda: out.copy_(run())), run())

        def counted():
            self.replayed += 1
            replay()

        return counted, out


def cloud(model, points, seed=0):
    generator = torch.Generator().manual_seed(points + seed)
    xyz = torch.randn(points, 3, generator=generator) * torch.tensor([12.0, 12.0, 1.0])
    geometry = build_geometry(
        voxelize(xyz.to(DEVICE), 0.2), dataclasses.replace(model.geometry_spec, tables="neighbors")
    )
    x = torch.randn(len(geometry.levels[0]), model.config.in_channels, generator=generator)
    return x.to(DEVICE), geometry


def make(name):
    model = fold(trained(shallow(name))).to(DEVICE)
    recorder = Recorder()
    return model, RecordedNetwork(model, model.geometry_spec, recorder), recorder


@pytest.fixture(autouse=True)
def as_on_a_gpu():
    with native.without_kernels(), torch.inference_mode():
        yield


def assert_same(network, model, x, geometry):
    made, expected = network(x, geometry), model(x, geometry)
    assert made.shape == expected.shape
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["nano", "litept-s", "ptv3-half"])
def test_logits_are_the_models(name):
    """Growing, shrinking, patches that are full and that are not, a handful of voxels, one."""
    model, network, recorder = make(name)
    for points in (2600, 2500, 1500, 1400, 200, 210, 5, 4, 1, 2600, 3400, 2000):
        assert_same(network, model, *cloud(model, points))
    assert not network.given_up
    assert recorder.replayed > recorder.made >= 2


def test_a_cloud_leaves_nothing_behind():
    model, network, recorder = make("nano")
    large, small = cloud(model, 9000), cloud(model, 7000)
    for given in (large, large, small, large, small, small):
        assert_same(network, model, *given)
    assert (recorder.made, recorder.replayed) == (1, 5)
    first = network(*small)
    kept = first.clone()
    network(*large)
    assert torch.equal(first, kept)  # a result is the caller's


def test_one_odd_cloud_is_worth_no_recording():
    model, network, recorder = make("nano")
    usual, odd = cloud(model, 6000), cloud(model, 100)
    for given in (usual, usual, odd, usual, odd, usual):
        network(*given)
    assert recorder.made == 1
    for _ in range(2):
        network(*odd)
    assert recorder.made == 2


def test_a_recording_grows_instead_of_multiplying():
    model, network, recorder = make("nano")
    for points in range(5000, 9000, 200):
        assert_same(network, model, *cloud(model, points))
    assert recorder.made <= 4
    assert len(network._recordings) == 1


def test_one_cloud_with_numbers_that_are_none_spoils_no_other():
    """Where all attend and nothing convolves first, its rows are behind the masks of the next."""
    config = dataclasses.replace(shallow("nano"), stem_kernel=1, encoder_attention=(True,) * 5)
    model = fold(trained(config)).to(DEVICE)
    recorder = Recorder()
    network = RecordedNetwork(model, model.geometry_spec, recorder)
    x, geometry = cloud(model, 240)
    small = cloud(model, 220)
    for given in ((x, geometry), (x, geometry), (torch.full_like(x, torch.inf), geometry), small):
        made = network(*given)
    assert recorder.replayed == 3
    assert bool(made.isfinite().all())
    torch.testing.assert_close(made, model(*small), rtol=1e-4, atol=1e-4)


def test_what_is_forgotten_is_made_anew():
    model, network, recorder = make("nano")
    for _ in range(3):
        network(*cloud(model, 3000))
    network.forget()
    for _ in range(2):
        assert_same(network, model, *cloud(model, 3000))
    assert (recorder.made, len(network._recordings)) == (2, 1)


def test_one_failure_is_chance(caplog):
    model, network, recorder = make("nano")
    failing = iter([True, False])

    def record(run):
        if next(failing):
            raise RuntimeError("busy")
        return recorder(run)

    network._record = record
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert_same(network, model, *cloud(model, 3000))
    assert recorder.made == 1
    assert not network.given_up
    assert not caplog.records


def test_where_it_cannot_be_recorded_the_model_goes_on(caplog):
    model = fold(trained(shallow("nano"))).to(DEVICE)

    def fail(run):
        raise torch.OutOfMemoryError("CUDA out of memory\nand more")

    network = RecordedNetwork(model, model.geometry_spec, fail)
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            assert_same(network, model, *cloud(model, 3000))
    assert network.given_up == "CUDA out of memory"
    assert [r.message for r in caplog.records] == ["the network is no longer run as a CUDA graph: CUDA out of memory"]


class Graph:
    """As torch.cuda.CUDAGraph, of a CUDA that can, or cannot, end a recording."""

    def __init__(self, ends=True):
        self.open, self._ends = False, ends

    def capture_begin(self, capture_error_mode):
        self.open = True

    def capture_end(self):
        self.open = False
        if not self._ends:
            raise RuntimeError("operation failed due to a previous error during capture")


def test_a_recording_that_failed_ends_recording_only_if_cuda_cannot_go_on(monkeypatch):
    monkeypatch.setattr(capturing, "_broken", "")

    def short_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory")

    graph = Graph()
    with pytest.raises(torch.OutOfMemoryError):
        capturing._record(graph, short_of_memory)
    assert not graph.open
    assert not capturing._broken
    with pytest.raises(torch.OutOfMemoryError):
        capturing._record(Graph(ends=False), short_of_memory)
    assert "out of memory" in capturing._broken
