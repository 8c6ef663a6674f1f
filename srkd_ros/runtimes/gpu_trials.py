# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Which convolution is faster here, ours or spconv's: tried when a student is loaded, since it depends on the GPU."""

from __future__ import annotations

import dataclasses
import time
from statistics import median

import torch

from srkd_ros.geometry import GeometrySpec, Voxels, build_geometry, voxelize
from srkd_ros.network import PointTransformer, spconv_backend

_ROUNDS = 5
_CLOSE = 0.05  # relative difference of logits that half precision explains


def take_faster_convolution(model: PointTransformer, spec: GeometrySpec) -> tuple[GeometrySpec, str]:
    """Hand a frozen model's convolutions to spconv if it is installed, gives the same logits, and is faster.

    Tables and network are timed together on a made-up cloud. Returns the tables that are needed, spconv finding its own
    neighbours, and a few words on what was found.
    """
    if not spconv_backend.is_installed():
        return spec, "own convolution"
    without = dataclasses.replace(
        spec, levels=tuple(dataclasses.replace(level, kernel_sizes=()) for level in spec.levels)
    )
    device = next(model.parameters()).device
    voxels = _trial_voxels(device)
    features = torch.randn(len(voxels.code), model.config.in_channels, generator=torch.Generator().manual_seed(0))
    features = features.to(device)
    try:
        ours, own_ms = _measure(model, features, voxels, spec)
        spconv_backend.attach(model)
        theirs, their_ms = _measure(model, features, voxels, without)
        _measure(model, features[:1], voxelize(torch.zeros(1, 3, device=device), 1.0), without)  # any cloud may come
        difference = float((theirs - ours).norm() / ours.norm())
    except Exception as error:  # a wheel for another CUDA, GPU or torch fails in ways of its own
        spconv_backend.detach(model)
        return (
            spec,
            f"own convolution: spconv failed ({type(error).__name__}: {(str(error).splitlines() or [''])[0][:80]})",
        )
    times = f"{own_ms:.1f} ms on a trial cloud, spconv {their_ms:.1f} ms"
    if not difference <= _CLOSE:
        spconv_backend.detach(model)
        return spec, f"own convolution: spconv's logits differ by {difference:.0%}"
    if own_ms <= their_ms:
        spconv_backend.detach(model)
        return spec, f"own convolution: {times}"
    return without, f"spconv's convolution: own {times}"


@torch.inference_mode()
def _measure(
    model: PointTransformer, features: torch.Tensor, voxels: Voxels, spec: GeometrySpec
) -> tuple[torch.Tensor, float]:
    """Logits and the median time of a few rounds in milliseconds; the first two, which load kernels, do not count."""
    times = []
    for _ in range(2 + _ROUNDS):
        begin = time.perf_counter()
        logits = model(features, build_geometry(voxels, spec)).float()
        if logits.is_cuda:
            torch.cuda.synchronize(logits.device)
        times.append((time.perf_counter() - begin) * 1e3)
    return logits, median(times[2:])


def _trial_voxels(device: torch.device, count: int = 60_000) -> Voxels:
    """Ground and a wall, thinner with distance as a scan is: some 30,000 voxels of any size."""
    generator = torch.Generator().manual_seed(0)
    place = torch.randn(count, 3, generator=generator) * torch.tensor([150.0, 150.0, 0.6])  # in voxels
    wall = count // 4
    place[:wall] = torch.rand(wall, 3, generator=generator) * torch.tensor([2.0, 300.0, 40.0]) + 20.0
    return voxelize(place.to(device), 1.0)
