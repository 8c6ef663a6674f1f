# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Networks, students, clouds and kernels for the tests of folding, export and runtimes."""

import dataclasses
from importlib.machinery import EXTENSION_SUFFIXES

import numpy as np
import torch
from torch import nn

from srkd_ros import native, student
from srkd_ros.labels import LabelSet
from srkd_ros.network import PRESETS, PointTransformer, PointTransformerConfig

# Convolution and attention in every block, decoder blocks, four orders: as PTv3, in little time.
PTV3_LIKE = dataclasses.replace(
    PRESETS["ptv3-half"],
    num_classes=5,
    encoder_channels=(12, 24, 24),
    encoder_depths=(1, 1, 4),
    encoder_heads=(1, 2, 4),
    encoder_convolution=(True,) * 3,
    encoder_attention=(True,) * 3,
    decoder_channels=(12, 24),
    decoder_depths=(1, 0),
    decoder_heads=(1, 2),
    decoder_convolution=(True,) * 2,
    decoder_attention=(True,) * 2,
    patch_size=64,
)
SONATA_LIKE = dataclasses.replace(PTV3_LIKE, stem_kernel=1, transition_norm="layer", skip_convolution=False)


def shallow(name: str) -> PointTransformerConfig:
    """A preset with one block a stage: every kind of layer in its true width, in little time."""
    config = PRESETS[name]
    return dataclasses.replace(
        config,
        encoder_depths=tuple(min(d, 1) for d in config.encoder_depths),
        decoder_depths=tuple(min(d, 1) for d in config.decoder_depths),
    )


def trained(config: PointTransformerConfig, seed: int = 0) -> PointTransformer:
    """A network whose batch norms are far from the identity, with scales of either sign."""
    torch.manual_seed(seed)
    model = PointTransformer(config).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


def save_student(path, model: PointTransformer, voxel_size: float = 0.2):
    """A student file of the model; returns its path."""
    labels = LabelSet.load("semantickitti")
    manifest = student.Manifest(model.config, labels, student.Preprocessing(voxel_size=voxel_size))
    student.save(path, model.state_dict(), manifest)
    return path


def scene(points: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A plane, a wall and clutter: xyz float32 [N, 3] and intensity float32 [N] in 0..1."""
    generator = np.random.default_rng(seed)
    xyz = generator.uniform((-20, -20, -2), (20, 20, 2), (points, 3)).astype(np.float32)
    xyz[: points // 2, 2] = -1.7
    xyz[points // 2 : points * 3 // 4, 0] = 8.0
    return xyz, generator.uniform(0, 1, points).astype(np.float32)


def built_kernels() -> list:
    """Kernels of every kind that is built here and that this processor runs."""
    found = {}
    for kind in native.KINDS:
        file = native.FOLDER / f"_{kind}{EXTENSION_SUFFIXES[0]}"
        if file.is_file() and (kernels := native._open(file, kind, native._parallel_region())) is not None:
            found[kind] = kernels
    return list(found.values())
