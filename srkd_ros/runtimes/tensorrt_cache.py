# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Engine files: where they lie, what they were built for, and whether one may be used. No TensorRT is needed here.

A file is a line that says what it is, a line of JSON (key, plan's SHA-256), and TensorRT's serialised plan.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from srkd_ros.errors import ModelError

_MAGIC = b"srkd_ros TensorRT engine 1\n"
_log = logging.getLogger("srkd_ros.tensorrt")


@dataclass(frozen=True)
class EngineKey:
    """Everything that a plan depends on: with any of it changed, the engine is another one."""

    model: str  # SHA-256 of the .onnx file
    tensorrt: str  # which TensorRT, and its version
    gpu: str  # name and compute capability
    precision: str  # "fp32" or "fp16"
    points: int  # points of the sensor's scan; in a wanted key 0 stands for any number
    profile: str = ""  # how sizes follow from the points: the optimisation profile

    def digest(self) -> str:
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()

    def matches(self, other: EngineKey) -> bool:
        """True if an engine of the other key computes the same here, for clouds of as many points or more."""
        return dataclasses.replace(other, points=self.points) == self and other.points >= self.points


def cache_folder() -> Path:
    """Folder for engines whose model lies where we may not write: $SRKD_CACHE, or srkd_ros in the user's cache."""
    if folder := os.environ.get("SRKD_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "srkd_ros"


def candidates(model: Path) -> Iterator[Path]:
    """Engine files that may belong to a model: beside it, and in the cache folder."""
    for folder in (model.parent, cache_folder()):
        yield from sorted(folder.glob(f"{_escape(model.stem)}.engine"))
        yield from sorted(folder.glob(f"{_escape(model.stem)}.*.engine"))


def find(model: Path, wanted: EngineKey) -> tuple[bytes, EngineKey, Path] | None:
    """Plan, key and file of the smallest engine that fits; None if none does, or all that do are damaged.

    If any number of points will do, the engine that was built last: whoever built it wanted it.
    """
    best: tuple[bytes, EngineKey, Path] | None = None
    for path in sorted(candidates(model), key=_age):
        try:
            key, plan = read(path)
        except ModelError as error:
            _log.warning("%s; it is not used", error)
            continue
        if not wanted.matches(key):
            continue
        if wanted.points == 0:
            return plan, key, path
        if best is None or key.points < best[1].points:
            best = plan, key, path
    return best


def _age(path: Path) -> float:
    """To sort by: the youngest file first, one that is gone last."""
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0


def read(path: Path) -> tuple[EngineKey, bytes]:
    """Key and plan of an engine file; ModelError if it is damaged or not one of ours."""
    try:
        with open(path, "rb") as file:
            if file.readline(len(_MAGIC)) != _MAGIC:
                raise ModelError(f"{path}: not an engine file of this program")
            header = json.loads(file.readline(1 << 16))
            key, digest = EngineKey(**header["key"]), header["sha256"]
            plan = file.read()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path}: its header is damaged") from error
    if hashlib.sha256(plan).hexdigest() != digest:
        raise ModelError(f"{path}: damaged, its contents do not have the checksum of its header")
    return key, plan


def write(model: Path, key: EngineKey, plan: bytes, path: Path | None = None) -> Path:
    """Store a plan at `path`, or beside its model, or in the cache folder if that is read-only. Returns where."""
    name = f"{model.stem}.{key.digest()[:16]}.engine"
    if path is not None:
        return _write(path, key, plan)
    try:
        return _write(model.parent / name, key, plan)
    except OSError:
        return _write(cache_folder() / name, key, plan)


def _write(path: Path, key: EngineKey, plan: bytes) -> Path:
    header = {"key": dataclasses.asdict(key), "sha256": hashlib.sha256(plan).hexdigest()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(_MAGIC + json.dumps(header).encode() + b"\n" + plan)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _escape(stem: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)
