# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What is fastest on this GPU, tried when a student is loaded: whose convolution, whose tables, recorded or not.

It depends on the GPU and on what is installed. What fails, or gives other results than torch, is not taken.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from srkd_ros import gpu
from srkd_ros.geometry import Geometry, GeometrySpec, Level, Voxels, build_geometry, voxelize
from srkd_ros.network import PointTransformer, spconv_backend
from srkd_ros.network.convolution import SubmanifoldConvolution, accelerate
from srkd_ros.runtimes.recorded_network import RecordedNetwork

Network = Callable[[Tensor, Geometry], Tensor]
Undo = Callable[[], None]

_OURS, _GRAPH = "Triton's convolution", "a CUDA graph"
_ROUNDS = 5
_CLOSE = 0.05  # relative difference of logits that half precision explains


def take_fastest(model: PointTransformer, spec: GeometrySpec) -> tuple[Network, GeometrySpec, str]:
    """The fastest way to run a frozen model, the tables that it needs, and a few words on what was found.

    Tables and network are timed together on a made-up cloud. What is taken stays with the model's layers and, for the
    tables of the geometry, with the device.
    """
    if os.environ.get("SRKD_TRIALS") == "0":
        return model, spec, "torch alone, as SRKD_TRIALS=0 asks"
    trial = Trial(model, spec)
    if trial.device.type == "cuda":
        try:
            kernels = gpu.import_kernels()
        except ImportError:
            trial.left.append("Triton is not installed")
        else:
            trial.run("Triton's tables", lambda: _triton_tables(trial, kernels))
            trial.run(_OURS, lambda: _triton_convolution(trial, kernels))
        trial.run(_GRAPH, lambda: _recorded(trial))
    if spconv_backend.is_installed():
        trial.run("spconv's convolution", lambda: _spconv(trial), instead=(_OURS, _GRAPH))
    return trial.network, trial.spec, trial.words()


class Trial:
    """What is taken so far, and how long it takes."""

    def __init__(self, model: PointTransformer, spec: GeometrySpec) -> None:
        self.model, self.spec = model, spec
        self.network: Network = model
        self.left: list[str] = []  # what was not taken, and why
        self.voxels = _trial_voxels(next(model.parameters()).device)
        self.device = self.voxels.code.device  # with its number
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(len(self.voxels.code), model.config.in_channels, generator=generator)
        self._features = features.to(self.device)
        self._expected, self._ms = self._measure(model, spec)
        self._first_ms = self._ms
        self._taken: list[str] = []

    def run(
        self, name: str, begin: Callable[[], tuple[Network, GeometrySpec, Undo]], instead: tuple[str, ...] = ()
    ) -> None:
        """Take network and spec that `begin` returns, `instead` of others, if they are right and faster, or undo it."""
        undo: Undo = _nothing
        try:
            network, spec, undo = begin()
            logits, ms = self._measure(network, spec)
            one = voxelize(torch.zeros(1, 3, device=self.device), 1.0)  # any cloud may come
            with torch.inference_mode():
                network(self._features[:1], build_geometry(one, spec))
            difference = float((logits - self._expected).norm() / self._expected.norm())
        except Exception as error:  # a wheel for another CUDA, GPU or torch fails in ways of its own
            undo()
            reason = (str(error).splitlines() or [""])[0][:80]
            self.left.append(f"{name} failed ({type(error).__name__}: {reason})")
            return
        if difference <= _CLOSE and ms < self._ms:
            self._taken = [*(one for one in self._taken if one not in instead), name]
            self.network, self.spec, self._ms = network, spec, ms
            return
        undo()
        wrong = not difference <= _CLOSE  # or not a number
        self.left.append(f"{name} gives logits that differ by {difference:.0%}" if wrong else f"{name}: {ms:.1f} ms")

    def words(self) -> str:
        """What is taken and what is not, with times."""
        taken = f"{' and '.join(self._taken)}, {self._ms:.1f} ms on a trial cloud; " if self._taken else ""
        return "; ".join([f"{taken}torch alone: {self._first_ms:.1f} ms", *self.left])

    @torch.inference_mode()
    def logits(self, network: Network, spec: GeometrySpec) -> Tensor:
        """Of the trial cloud."""
        return network(self._features, build_geometry(self.voxels, spec)).float()

    def _measure(self, network: Network, spec: GeometrySpec) -> tuple[Tensor, float]:
        """Logits and the median milliseconds of some rounds; the first two, which load kernels, do not count."""
        times = []
        for _ in range(2 + _ROUNDS):
            begin = time.perf_counter()
            logits = self.logits(network, spec)
            if logits.is_cuda:
                torch.cuda.synchronize(logits.device)
            times.append((time.perf_counter() - begin) * 1e3)
        return logits, median(times[2:])


def _nothing() -> None:
    """There is nothing to undo."""


def _triton_tables(trial: Trial, kernels: gpu.Kernels) -> tuple[Network, GeometrySpec, Undo]:
    """Kernels that were taken for this device stay, even for a student that they do not speed up."""
    before = gpu.taken_for(trial.device)
    with gpu.taking(trial.device, None):
        expected = build_geometry(trial.voxels, trial.spec)
    with gpu.taking(trial.device, kernels):
        made = build_geometry(trial.voxels, trial.spec)
    for ours, torchs in zip(made.levels, expected.levels, strict=True):
        if not all(torch.equal(a, b) for a, b in zip(_tables(ours), _tables(torchs), strict=True)):
            raise ValueError("the tables are not those of torch")
    gpu.take(trial.device, kernels)
    return trial.network, trial.spec, lambda: gpu.take(trial.device, before)


def _tables(level: Level) -> list[Tensor]:
    """All integers of a level."""
    patches = [t for order in level.patches.values() for t in (order.table, order.slot)]
    own = [level.grid, level.batch, level.parents, level.children, *level.neighbors.values(), *patches]
    return [t for t in own if t is not None]


def _triton_convolution(trial: Trial, kernels: gpu.Kernels) -> tuple[Network, GeometrySpec, Undo]:
    def convolve(layer: SubmanifoldConvolution, x: Tensor, level: Level) -> Tensor:
        return kernels.convolution.convolution(x, layer.weight, layer.bias, level.neighbors[layer.kernel_size])

    return trial.network, trial.spec, accelerate(trial.model, convolve)


def _recorded(trial: Trial) -> tuple[Network, GeometrySpec, Undo]:
    network = RecordedNetwork(trial.model, trial.spec)
    for _ in range(2):  # the second is recorded
        trial.logits(network, trial.spec)
    if network.given_up:
        raise RuntimeError(network.given_up)
    return network, trial.spec, _nothing


def _spconv(trial: Trial) -> tuple[Network, GeometrySpec, Undo]:
    """It finds its own neighbours: tables of convolutions need not be made, and its waiting cannot be recorded."""
    levels = tuple(dataclasses.replace(level, kernel_sizes=()) for level in trial.spec.levels)
    undo = accelerate(trial.model, spconv_backend.frozen())
    return trial.model, dataclasses.replace(trial.spec, levels=levels), undo


def _trial_voxels(device: torch.device, count: int = 60_000) -> Voxels:
    """Ground and a wall, thinner with distance as a scan is: some 30,000 voxels of any size."""
    generator = torch.Generator().manual_seed(0)
    place = torch.randn(count, 3, generator=generator) * torch.tensor([150.0, 150.0, 0.6])  # in voxels
    wall = count // 4
    place[:wall] = torch.rand(wall, 3, generator=generator) * torch.tensor([2.0, 300.0, 40.0]) + 20.0
    return voxelize(place.to(device), 1.0)
