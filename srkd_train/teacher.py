# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The frozen teacher: its logits and features for the student's voxels, computed live or read from a cache on disk."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from srkd_ros import student as student_file
from srkd_ros.errors import ConfigError
from srkd_ros.geometry import Geometry, build_geometry
from srkd_ros.labels import LabelSet
from srkd_ros.network import PointTransformer
from srkd_ros.network.folding import fold
from srkd_ros.network.packing import pack
from srkd_ros.preprocess import network_input
from srkd_ros.student import Manifest, Preprocessing
from srkd_train.batches import Batch, RawBatch
from srkd_train.config import TeacherConfig


@dataclass
class TeacherOutput:
    """What the teacher says of the student's voxels, row by row. No gradient."""

    logits: Tensor  # [V, classes]
    decoder: list[Tensor]  # [V_l, C_l] of each decoder stage, finest first; empty or the finest alone from a cache
    rows: Tensor | None = None  # int64 [V], the student's voxels that the others are of; None: all, in order


class Teacher:
    """A network from a student file that never learns: eval mode, no gradient, bf16 on GPUs, fixed curve orders."""

    def __init__(self, config: TeacherConfig, device: torch.device, preprocessing: Preprocessing) -> None:
        tensors, self.manifest = student_file.load(config.file)
        self.file = Path(config.file)
        self.hash = student_file.file_hash(config.file)
        self.network = PointTransformer(self.manifest.network)
        self.network.load_state_dict(tensors)
        self.network.eval().requires_grad_(False).to(device)
        self.device = device
        self.student = preprocessing
        half = config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda")
        self.precision = "bf16" if half else "32"
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=half)
        self.geometry_spec = self.network.geometry_spec
        if device.type == "cpu" and not half:  # as on a robot: nothing here ever asks for a gradient
            self.network = fold(self.network)
            pack(self.network)
            self.geometry_spec = self.geometry_spec.for_inference(device)
        own = self.manifest.preprocessing
        if own.min_range > preprocessing.min_range or own.max_range < preprocessing.max_range:
            raise ConfigError(
                f"preprocessing: the teacher sees {own.min_range} to {own.max_range} m; "
                f"the student's {preprocessing.min_range} to {preprocessing.max_range} m must lie within"
            )
        self._same_voxels = (own.voxel_size, own.min_range, own.max_range) == (
            preprocessing.voxel_size,
            preprocessing.min_range,
            preprocessing.max_range,
        )
        self._same_features = (own.features, own.voxel_feature) == (preprocessing.features, preprocessing.voxel_feature)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each decoder stage, finest first."""
        return self.manifest.network.decoder_channels

    @torch.no_grad()
    def __call__(self, batch: Batch) -> TeacherOutput:
        """Run on the student's (augmented) batch."""
        if not self._same_voxels:
            return self._on_own_voxels(batch)
        features = batch.features
        if not self._same_features:
            own = self.manifest.preprocessing
            features = network_input(
                batch.raw.xyz, batch.raw.intensity, own, batch.raw.extra, batch.raw.batch, batch.raw.scans
            ).features
        spec = self.geometry_spec
        geometry = batch.geometry if batch.geometry.spec == spec else build_geometry(batch.voxels, spec)
        with self._autocast:
            out = self.network.features(features, geometry)
        return TeacherOutput(out.logits, out.decoder)

    def _on_own_voxels(self, batch: Batch) -> TeacherOutput:
        raw = batch.raw
        own = network_input(raw.xyz, raw.intensity, self.manifest.preprocessing, raw.extra, raw.batch, raw.scans)
        geometry = build_geometry(own.voxels, self.geometry_spec)
        with self._autocast:
            out = self.network.features(own.features, geometry)
        voxel_of_point = torch.full((len(raw.xyz),), -1, device=raw.xyz.device)
        voxel_of_point[own.kept] = own.voxels.point_to_voxel
        decoder = []
        rows = voxel_of_point.index_select(0, representative_points(batch, 0))
        logits = out.logits.index_select(0, rows)
        levels = min(len(out.decoder), len(batch.geometry.levels))
        for level in range(levels):
            rows = voxel_of_point.index_select(0, representative_points(batch, level))
            decoder.append(out.decoder[level].index_select(0, ascend(rows, geometry, level)))
        return TeacherOutput(logits, decoder)

    @torch.no_grad()
    def unaugmented(self, scan: RawBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Of one scan: logits [V, C], finest features [V, C_0], and the voxel int64 [N] of each point, -1 for none."""
        own = network_input(scan.xyz, scan.intensity, self.manifest.preprocessing, scan.extra, scan.batch * 0, clouds=1)
        voxel_of_point = torch.full((len(scan.xyz),), -1, device=scan.xyz.device)
        if not len(own.kept):  # no point within range
            classes = self.manifest.network.num_classes
            return scan.xyz.new_empty(0, classes), scan.xyz.new_empty(0, self.widths[0]), voxel_of_point
        with self._autocast:
            out = self.network.features(own.features, build_geometry(own.voxels, self.geometry_spec))
        voxel_of_point[own.kept] = own.voxels.point_to_voxel
        return out.logits, out.decoder[0], voxel_of_point


class CachedTeacher:
    """As Teacher, but on the scans as recorded, once each: later epochs read its answers from disk.

    An answer is a file of float16 logits (and finest features, if asked for) with each point's voxel. It is found by
    the teacher's hash and precision and by all that it was given of the scan, so that another teacher or changed data
    never meets a stale answer.
    """

    def __init__(self, teacher: Teacher, config: TeacherConfig) -> None:
        self.teacher = teacher
        self.manifest, self.hash, self.file = teacher.manifest, teacher.hash, teacher.file
        self.widths = teacher.widths
        self.folder = Path(config.cache) / teacher.hash[:16]
        self.features = config.cache_features
        self.folder.mkdir(parents=True, exist_ok=True)
        self._writable = True

    @torch.no_grad()
    def __call__(self, batch: Batch) -> TeacherOutput:
        original = batch.original
        ends = torch.bincount(original.batch, minlength=original.scans).cumsum(0).tolist()
        answers, start, rows = [], 0, 0
        for end in ends:
            answer = self._answer(original, start, end)
            answer["voxel_of_point"] += rows * (answer["voxel_of_point"] >= 0)
            rows += len(answer["logits"])
            answers.append(answer)
            start = end
        joined = {k: torch.cat([a[k] for a in answers]) for k in answers[0]}
        voxel = joined["voxel_of_point"].index_select(0, representative_points(batch, 0))
        answered = None
        if bool((voxel < 0).any()):  # near the range limits a point can be kept of the augmented scan alone
            answered = (voxel >= 0).nonzero().squeeze(1)
            voxel = voxel.index_select(0, answered)
        decoder = [joined["features"].index_select(0, voxel)] if self.features else []
        return TeacherOutput(joined["logits"].index_select(0, voxel), decoder, answered)

    def _answer(self, batch: RawBatch, start: int, end: int) -> dict[str, Tensor]:
        scan = batch.rows(start, end)
        path = self.folder / f"{self._digest(scan)}.safetensors"
        answer = self._read(path)
        if answer is None:
            logits, features, voxel = self.teacher.unaugmented(scan)
            answer = {"logits": logits.half(), "voxel_of_point": voxel.int()}
            if self.features:
                answer["features"] = features.half()
            self._write(path, answer)
        device = batch.xyz.device
        answer = {k: v.to(device) for k, v in answer.items()}
        answer["voxel_of_point"] = answer["voxel_of_point"].long()
        return answer

    def _digest(self, scan: RawBatch) -> str:
        digest = hashlib.sha256(self.teacher.precision.encode())
        given = {"xyz": scan.xyz, "intensity": scan.intensity, **scan.extra}
        for name in sorted(given):
            if (values := given[name]) is not None:
                digest.update(f" {name} {tuple(values.shape)} ".encode())
                digest.update(values.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]

    def _read(self, path: Path) -> dict[str, Tensor] | None:
        if not path.is_file():
            return None
        try:
            answer = load_file(path)
        except (SafetensorError, OSError):
            return None  # a damaged answer is computed again
        return answer if not self.features or "features" in answer else None

    def _write(self, path: Path, answer: dict[str, Tensor]) -> None:
        if not self._writable:
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            save_file({k: v.cpu().contiguous() for k, v in answer.items()}, temporary)
            os.replace(temporary, path)
        except (OSError, SafetensorError) as error:
            self._writable = False
            Console(stderr=True).print(f"teacher.cache: {error}; going on without writing to it", highlight=False)
        finally:
            temporary.unlink(missing_ok=True)


def open_teacher(
    config: TeacherConfig, device: torch.device, preprocessing: Preprocessing, labels: LabelSet | None
) -> Teacher | CachedTeacher:
    """Load the teacher of a configuration; ConfigError if its classes are not those of `labels`."""
    if not config.file:
        raise ConfigError("teacher.file: name the teacher's .safetensors file (--teacher FILE)")
    teacher = Teacher(config, device, preprocessing)
    check_labels(teacher.manifest, labels, config.file)
    return CachedTeacher(teacher, config) if config.cache else teacher


def check_labels(
    manifest: Manifest, labels: LabelSet | None, file: str, cure: str = "choose data.labels to match"
) -> None:
    """ConfigError naming both label sets and their first difference if a model's classes are not the dataset's."""
    if labels is None or manifest.labels.names == labels.names:
        return
    own, other = manifest.labels.names, labels.names
    place = next((i for i, (a, b) in enumerate(zip(own, other, strict=False)) if a != b), min(len(own), len(other)))
    raise ConfigError(
        f"{file}: its {len(own)} classes ({manifest.labels.name}) are not the data's {len(other)} ({labels.name}; "
        f"class {place}: {own[place] if place < len(own) else 'none'} against "
        f"{other[place] if place < len(other) else 'none'}); {cure}"
    )


def representative_points(batch: Batch, level: int) -> Tensor:
    """A point, as row int64 [V_l] of batch.raw, of each voxel of a level."""
    points = batch.kept.index_select(0, batch.voxels.first_point)
    return points.index_select(0, representatives(batch.geometry, level))


def representatives(geometry: Geometry, level: int) -> Tensor:
    """The first level-0 voxel int64 [V_l] within each voxel of a level."""
    device = geometry.levels[0].grid.device
    rows = torch.arange(len(geometry.levels[0]), device=device)
    for number in range(level):
        parents = geometry.levels[number].parents
        assert parents is not None
        lowest = torch.full((len(geometry.levels[number + 1]),), len(geometry.levels[0]), device=device)
        rows = lowest.scatter_reduce(0, parents, rows, "amin")
    return rows


def ascend(rows: Tensor, geometry: Geometry, level: int) -> Tensor:
    """Level-0 voxels int64 [...] to the voxels of a coarser level that hold them."""
    for number in range(level):
        parents = geometry.levels[number].parents
        assert parents is not None
        rows = parents.index_select(0, rows)
    return rows
