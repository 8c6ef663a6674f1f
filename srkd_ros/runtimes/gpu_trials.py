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
_POINTS = 60_000
_WARM_UP, _ROUNDS = 2, 5
_SMALL = (600, 600, 600, 1)  # points: what is recorded is recorded at the second of a size
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
            if gpu.taken_for(trial.device) is None:
                trial.run("Triton's tables", lambda: _triton_tables(trial, kernels))
            else:  # by an earlier student of this process
                trial.take("Triton's tables")
            trial.run(_OURS, lambda: _triton_convolution(trial, kernels))
        trial.run(_GRAPH, lambda: _recorded(trial))
    if spconv_backend.is_installed():
        trial.run("spconv's convolution", lambda: _spconv(trial), instead=(_OURS, _GRAPH))
    if isinstance(trial.network, RecordedNetwork):
        trial.network.forget()  # clouds of the trial
    return trial.network, trial.spec, trial.words()


class Trial:
    """What is taken so far, and how long it takes.

    Every round has a cloud of its own size, as a sensor's are: what is slow for every new size shows. One cloud is so
    small that patches are not full, and one is a single voxel: any cloud may come.
    """

    def __init__(self, model: PointTransformer, spec: GeometrySpec) -> None:
        self.model, self.spec = model, spec
        self.network: Network = model
        self.left: list[str] = []  # what was not taken, and why
        device = next(model.parameters()).device
        sizes = (*(_POINTS - _POINTS // 50 * step for step in range(_WARM_UP + _ROUNDS)), *_SMALL)
        self.clouds = [_trial_voxels(device, size) for size in sizes]
        self.device = self.clouds[0].code.device  # with its number
        with gpu.taking(self.device, None):
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
            pairs = zip(logits, self._expected, strict=True)
            difference = max((float((ours - torchs).norm() / torchs.norm()) for ours, torchs in pairs), key=_badness)
        except Exception as error:  # a wheel for another CUDA, GPU or torch fails in ways of its own
            undo()
            reason = (str(error).splitlines() or [""])[0][:80]
            self.left.append(f"{name} failed ({type(error).__name__}: {reason})")
            return
        if difference <= _CLOSE and ms < self._ms:
            self.take(name, instead)
            self.network, self.spec, self._ms = network, spec, ms
            return
        undo()
        wrong = not difference <= _CLOSE  # or not a number
        self.left.append(f"{name} gives logits that differ by {difference:.0%}" if wrong else f"{name}: {ms:.1f} ms")

    def take(self, name: str, instead: tuple[str, ...] = ()) -> None:
        """Say that something is in force."""
        self._taken = [*(one for one in self._taken if one not in instead), name]

    def words(self) -> str:
        """What is taken and what is not, with times."""
        taken = f"{' and '.join(self._taken)}, {self._ms:.1f} ms on a trial cloud; " if self._taken else ""
        return "; ".join([f"{taken}torch alone: {self._first_ms:.1f} ms", *self.left])

    def features(self, voxels: Voxels) -> Tensor:
        """Of one of the clouds: the same random numbers each time."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(len(voxels.code), self.model.config.in_channels, generator=generator).to(self.device)

    @torch.inference_mode()
    def _measure(self, network: Network, spec: GeometrySpec) -> tuple[list[Tensor], float]:
        """Logits of all clouds, and the median milliseconds of the large ones but the first, which load kernels."""
        logits, times = [], []
        for voxels in self.clouds:
            features = self.features(voxels)
            self._wait()
            begin = time.perf_counter()
            logits.append(network(features, build_geometry(voxels, spec)).float())
            self._wait()
            times.append((time.perf_counter() - begin) * 1e3)
        return logits, median(times[_WARM_UP : _WARM_UP + _ROUNDS])

    def _wait(self) -> None:
        """For this stream alone: another thread may be recording."""
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()


def _badness(difference: float) -> float:
    return difference if difference == difference else float("inf")


def _nothing() -> None:
    """There is nothing to undo."""


def _triton_tables(trial: Trial, kernels: gpu.Kernels) -> tuple[Network, GeometrySpec, Undo]:
    for voxels in trial.clouds:
        with gpu.taking(trial.device, None):
            expected = build_geometry(voxels, trial.spec)
        with gpu.taking(trial.device, kernels):
            made = build_geometry(voxels, trial.spec)
        for ours, torchs in zip(made.levels, expected.levels, strict=True):
            if not all(torch.equal(a, b) for a, b in zip(_tables(ours), _tables(torchs), strict=True)):
                raise ValueError("the tables are not those of torch")
    gpu.take(trial.device, kernels)
    return trial.network, trial.spec, lambda: gpu.take(trial.device, None)


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
    network, voxels = RecordedNetwork(trial.model, trial.spec), trial.clouds[0]
    features, geometry = trial.features(voxels), build_geometry(voxels, trial.spec)
    for _ in range(4):  # the second is recorded; or, if it failed by chance, the fourth
        network(features, geometry)
    if network.given_up:
        raise RuntimeError(network.given_up)
    return network, trial.spec, _nothing


def _spconv(trial: Trial) -> tuple[Network, GeometrySpec, Undo]:
    """It finds its own neighbours: tables of convolutions need not be made, and its waiting cannot be recorded."""
    levels = tuple(dataclasses.replace(level, kernel_sizes=()) for level in trial.spec.levels)
    undo = accelerate(trial.model, spconv_backend.frozen())
    return trial.model, dataclasses.replace(trial.spec, levels=levels), undo


def _trial_voxels(device: torch.device, count: int) -> Voxels:
    """Ground and a wall, thinner with distance as a scan is: nearly as many voxels as points."""
    generator = torch.Generator().manual_seed(0)
    place = torch.randn(count, 3, generator=generator) * torch.tensor([150.0, 150.0, 0.6])  # in voxels
    wall = count // 4
    place[:wall] = torch.rand(wall, 3, generator=generator) * torch.tensor([2.0, 300.0, 40.0]) + 20.0
    return voxelize(place.to(device), 1.0)
