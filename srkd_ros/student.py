# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The student file: one .safetensors with the weights and, in its metadata key `srkd`, a JSON manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from srkd_ros.errors import ConfigError, ModelError
from srkd_ros.labels import LabelSet
from srkd_ros.network.config import PointTransformerConfig

FORMAT_VERSION = 1
METADATA_KEY = "srkd"
POINT_FEATURES = ("x", "y", "z", "intensity", "red", "green", "blue", "nx", "ny", "nz")


@dataclass(frozen=True)
class Preprocessing:
    """What happens to a cloud before the network; the same in training and on the robot."""

    voxel_size: float = 0.1  # metres
    min_range: float = 0.5  # metres from the sensor; nearer points (the robot itself, empty returns) stay unlabelled
    max_range: float = 100.0  # metres
    features: tuple[str, ...] = ("x", "y", "z", "intensity")  # names from POINT_FEATURES, in the network's order
    voxel_feature: str = "mean"  # "mean" of a voxel's points, or its "first" point (Pointcept's evaluation)

    def __post_init__(self) -> None:
        if not self.voxel_size > 0:
            raise ConfigError(f"preprocessing.voxel_size: {self.voxel_size} is not a positive length in metres")
        if not 0 <= self.min_range < self.max_range:
            raise ConfigError(f"preprocessing.min_range: {self.min_range} is not below max_range {self.max_range}")
        if not self.features:
            raise ConfigError(f"preprocessing.features: none; name one or more of {', '.join(POINT_FEATURES)}")
        for name in self.features:
            if name not in POINT_FEATURES:
                raise ConfigError(f"preprocessing.features: {name!r} is not one of {', '.join(POINT_FEATURES)}")
        if self.voxel_feature not in ("mean", "first"):
            raise ConfigError(f"preprocessing.voxel_feature: {self.voxel_feature!r} is neither 'mean' nor 'first'")


@dataclass(frozen=True)
class InputStatistics:
    """Quantiles of the training input, against which a live stream is checked. Keys are "0.01", "0.5", "0.99"."""

    intensity: dict[str, float] = field(default_factory=dict)  # after scaling to 0..1
    range: dict[str, float] = field(default_factory=dict)  # metres
    z: dict[str, float] = field(default_factory=dict)  # metres, sensor frame


@dataclass(frozen=True)
class Manifest:
    """Everything but the weights: a student's preprocessing is in its file, nothing else is to be configured."""

    network: PointTransformerConfig
    labels: LabelSet
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    intensity_scale: float = 1.0  # raw value of the training data that counts as 1.0 (nuScenes 255, SemanticKITTI 1)
    statistics: InputStatistics = field(default_factory=InputStatistics)
    provenance: dict[str, Any] = field(default_factory=dict)  # dataset, teacher, losses, git revision, metrics

    def to_json(self) -> str:
        return json.dumps(
            {
                "format": FORMAT_VERSION,
                "network": self.network.to_dict(),
                "labels": self.labels.to_dict(),
                "preprocessing": {
                    **dataclasses.asdict(self.preprocessing),
                    "features": list(self.preprocessing.features),
                },
                "intensity_scale": self.intensity_scale,
                "statistics": dataclasses.asdict(self.statistics),
                "provenance": self.provenance,
            }
        )

    @classmethod
    def from_json(cls, text: str, source: str) -> Manifest:
        """Inverse of to_json. `source` is the file's name, for the error: ModelError in one line."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ModelError(f"{source}: its manifest is not JSON ({error})") from error
        version = data.get("format") if isinstance(data, dict) else None
        if version != FORMAT_VERSION:
            raise ModelError(
                f"{source}: manifest format {version}, this program reads {FORMAT_VERSION}: export the student again"
            )
        try:
            given: Mapping[str, Any] = data["preprocessing"]
            preprocessing = Preprocessing(**{**given, "features": tuple(given["features"])})
            network = PointTransformerConfig.from_dict(data["network"])
            if network.in_channels != (features := len(preprocessing.features)):
                raise ValueError(f"network.in_channels is {network.in_channels} for {features} preprocessing.features")
            return cls(
                network=network,
                labels=LabelSet.from_dict(data["labels"]),
                preprocessing=preprocessing,
                intensity_scale=float(data["intensity_scale"]),
                statistics=InputStatistics(**data["statistics"]),
                provenance=dict(data["provenance"]),
            )
        except KeyError as error:
            raise ModelError(f"{source}: its manifest lacks the key {error}") from error
        except (ConfigError, TypeError, ValueError) as error:
            raise ModelError(f"{source}: its manifest is wrong: {error}") from error


def save(path: str | Path, tensors: Mapping[str, Tensor], manifest: Manifest) -> None:
    """Write a student file, first under a temporary name beside it, so that a reader never sees half a file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in tensors.items()},
            temporary,
            {METADATA_KEY: manifest.to_json()},
        )
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # safetensors writes files that their owner alone can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | Path) -> tuple[dict[str, Tensor], Manifest]:
    """Read a student file; ModelError in one line if it is missing, damaged, or not a student."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such student file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if METADATA_KEY not in metadata:
                raise ModelError(
                    f"{path}: has no srkd manifest; turn a checkpoint into a student with `srkd-train import`"
                )
            manifest = Manifest.from_json(metadata[METADATA_KEY], str(path))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a whole .safetensors file ({error})") from error
    for key, values in tensors.items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise ModelError(f"{path}: {key} holds values that are no numbers: the file is damaged; take another copy")
    return tensors, manifest


def file_hash(path: str | Path) -> str:
    """SHA-256 of a model file, hex: the identity that engine caches and diagnostics use."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(file)


def _sha256(file: Any) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def unique_names(paths: Sequence[Path]) -> list[str]:
    """File stems; where two are the same, with as much of the folder as tells them apart."""
    names = [p.stem for p in paths]
    if len(set(names)) < len(names):
        names = [f"{p.resolve().parent.name}/{p.stem}" for p in paths]
    return [name if name not in names[:i] else f"{name}#{i + 1}" for i, name in enumerate(names)]
