# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""LabelSet: the classes of a model or dataset, with their colours and the raw ids that files and topics carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from srkd_ros.errors import ConfigError
from srkd_ros.resources import find, share_directories

UNLABELLED = 255
"""The uint8 class id of a point without a label (the convention of vision_msgs/LabelInfo)."""


@dataclass(frozen=True)
class LabelClass:
    """One class: its name, its display colour (r, g, b in 0..255) and the raw ids in files that mean it."""

    name: str
    color: tuple[int, int, int]
    raw_ids: tuple[int, ...]


@dataclass(frozen=True)
class LabelSet:
    """Classes in order of their id 0..C-1. Raw ids that no class names map to 255, "unlabelled"."""

    name: str
    classes: tuple[LabelClass, ...] = field(default=())

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= 255:
            raise ConfigError(f"label set {self.name!r} has {len(self.classes)} classes; 1 to 255 are possible")
        seen: dict[int, str] = {}
        for c in self.classes:
            for raw in c.raw_ids:
                if raw in seen:
                    raise ConfigError(f"label set {self.name!r}: raw id {raw} is in both {seen[raw]!r} and {c.name!r}")
                seen[raw] = c.name

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.classes)

    @property
    def raw_ids(self) -> frozenset[int]:
        """Those of all classes."""
        return frozenset(raw for c in self.classes for raw in c.raw_ids)

    @cached_property
    def colors(self) -> np.ndarray:
        """uint8 [C, 3], r g b."""
        return np.array([c.color for c in self.classes], np.uint8)

    @cached_property
    def palette(self) -> np.ndarray:
        """uint8 [256, 3], r g b by class id; ids without a class, and 255, are grey."""
        palette = np.full((256, 3), 128, np.uint8)
        palette[: len(self)] = self.colors
        return palette

    def index(self, name: str) -> int:
        """Class id of a name; ConfigError naming the known ones."""
        if name not in self.names:
            raise ConfigError(f"label set {self.name!r} has no class {name!r}; it has {', '.join(self.names)}")
        return self.names.index(name)

    def from_raw(self, raw: np.ndarray) -> np.ndarray:
        """Raw ids (any integer dtype, any shape) to class ids, uint8; unknown raw ids become 255."""
        table = self._table
        small = np.minimum(raw.astype(np.int64, copy=False), len(table) - 1)
        return table[np.where(small < 0, len(table) - 1, small)]

    def to_raw(self, labels: np.ndarray) -> np.ndarray:
        """Class ids (uint8) to the first raw id of each class, uint32; 255 becomes 0."""
        raw = np.zeros(256, np.uint32)
        for i, c in enumerate(self.classes):
            raw[i] = c.raw_ids[0] if c.raw_ids else i
        return raw[labels]

    @cached_property
    def _table(self) -> np.ndarray:
        largest = max((max(c.raw_ids) for c in self.classes if c.raw_ids), default=0)
        table = np.full(largest + 2, UNLABELLED, np.uint8)  # the last entry stands for every larger id
        for i, c in enumerate(self.classes):
            table[list(c.raw_ids)] = i
        return table

    def to_dict(self) -> dict[str, Any]:
        """The form in YAML files and manifests."""
        return {
            "name": self.name,
            "classes": [
                {"id": i, "name": c.name, "color": list(c.color), "raw_ids": list(c.raw_ids)}
                for i, c in enumerate(self.classes)
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LabelSet:
        """Inverse of to_dict; ConfigError names the first entry that is wrong."""
        given = data.get("classes")
        if not isinstance(given, list) or not all(isinstance(c, Mapping) for c in given):
            raise ConfigError("label set: classes must be a list of entries with name and color (r, g, b), each")
        try:
            classes = tuple(_label_class(i, c) for i, c in enumerate(given))
            return cls(str(data["name"]), classes)
        except (KeyError, TypeError, ValueError) as error:
            wrong = str(error) if isinstance(error, ValueError) else f"{error!r} is missing or wrong"
            raise ConfigError(f"label set: {wrong}; needed are name and classes") from error

    @classmethod
    def load(cls, name_or_path: str | Path) -> LabelSet:
        """Read a shipped set by name (semantickitti, nuscenes, ...) or any YAML file by path."""
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            if name_or_path not in available():
                raise ConfigError(f"no label set {str(name_or_path)!r}; shipped are {', '.join(available())}")
            path = find(f"config/labels/{name_or_path}.yaml")
        try:
            data = yaml.safe_load(path.read_text())
        except OSError as error:
            raise ConfigError(f"label set {path}: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            place = f" in line {mark.line + 1}" if mark else ""
            raise ConfigError(f"label set {path}: not YAML{place}") from error
        if not isinstance(data, dict):
            raise ConfigError(f"label set {path}: expected a mapping with name and classes")
        return cls.from_dict(data)

    @classmethod
    def load_beside(cls, name: str, folder: Path) -> LabelSet:
        """As load, of a name in a file of `folder`: a YAML file is looked for there first."""
        return cls.load(folder / name if (folder / name).is_file() else name)


def available() -> list[str]:
    """Names of the shipped label sets."""
    return sorted({p.stem for folder in share_directories() for p in (folder / "config/labels").glob("*.yaml")})


def _label_class(i: int, c: Mapping[str, Any]) -> LabelClass:
    if int(c.get("id", i)) != i:
        raise ValueError(f"class {c['name']}: id {c['id']} stands at place {i}")
    color: Iterable[int] = c["color"]
    r, g, b = (int(v) for v in color)
    if not all(0 <= v <= 255 for v in (r, g, b)):
        raise ValueError(f"class {c['name']}: color {[r, g, b]} is not within 0 to 255")
    return LabelClass(str(c["name"]), (r, g, b), tuple(int(v) for v in c.get("raw_ids", ())))
