# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Which finished runs add up: all shards of a recording, each once, and runs of the same settings over others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from srkd_ros.errors import DataError

_SETTINGS = ("rate", "truth_ids", "runtime", "precision", "intensity_scale", "intensity_field", "version")


@dataclass
class Finished:
    """A run's folder, its metrics.json and its config.yaml."""

    folder: Path
    document: dict[str, Any]
    config: dict[str, Any]

    @property
    def shard(self) -> tuple[int, int]:
        i, n = self.config["selection"]["shard"].split("/")
        return int(i), int(n)

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Where its inputs lie, and their topics."""
        return tuple((i["path"], i["topic"]) for i in self.config["inputs"])

    @property
    def contents(self) -> tuple[tuple[str, str, int], ...]:
        """What its inputs are wherever they lie: shards run on machines with other folders."""
        return tuple((Path(i["path"]).name, i["topic"], i["clouds"]) for i in self.config["inputs"])


def read_config(folder: Path) -> dict[str, Any]:
    """config.yaml of a run; DataError in one line if there is none."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        run = Finished(folder, {}, config)
        _ = run.shard, run.places, run.contents  # all that is needed is there
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{folder}: no config.yaml of a run of srkd-replay in it ({type(error).__name__})") from error
    return config


def recordings(runs: Sequence[Finished]) -> list[list[Finished]]:
    """The runs by recording, shards in order. DataError in one line if they do not add up."""
    for run in runs[1:]:
        _same_settings(run, runs[0])
    groups: dict[Any, list[Finished]] = {}
    for run in runs:
        groups.setdefault(run.places, []).append(run)
    whole = [group for group in groups.values() if len(group) == group[0].shard[1]]
    scattered: dict[Any, list[Finished]] = {}  # shards from machines that keep the recording in different folders
    for group in groups.values():
        if len(group) != group[0].shard[1]:
            scattered.setdefault(group[0].contents, []).extend(group)
    found = [sorted(group, key=lambda run: run.shard) for group in (*whole, *scattered.values())]
    for group in found:
        _a_partition(group)
    _no_input_twice(found)
    return found


def _same_settings(run: Finished, first: Finished) -> None:
    a, b = run.document, first.document
    if [m["sha256"] for m in a["models"]] != [m["sha256"] for m in b["models"]]:
        raise DataError(f"{run.folder}: other models than in {first.folder}: results of different models do not add up")
    if a["mode"] != b["mode"]:
        raise DataError(f"{run.folder}: {a['mode']}, while {first.folder} is {b['mode']}")
    if (a["teacher"] or {}).get("sha256") != (b["teacher"] or {}).get("sha256"):
        raise DataError(f"{run.folder}: another --teacher than {first.folder}: agreements with both do not add up")
    if a["truth"]["kind"] != b["truth"]["kind"]:
        kinds = f"{a['truth']['kind']!r}, while that of {first.folder} is {b['truth']['kind']!r}"
        raise DataError(f"{run.folder}: its truth is of kind {kinds}: run both with the same kind of --truth")
    for key in _SETTINGS:
        mine, other = run.config.get(key), first.config.get(key)
        if mine != other:
            raise DataError(f"{run.folder}: made with {key} {mine!r}, while {first.folder} has {other!r}")


def _a_partition(group: Sequence[Finished]) -> None:
    """Each shard once, and all of the same selection, truth and intensity scale."""
    first, (_, n) = group[0], group[0].shard
    seen: dict[int, Finished] = {}
    for run in group:
        for what, mine, other in (
            ("selection", _selection(run), _selection(first)),
            ("truth", Path(run.document["truth"]["source"]).name, Path(first.document["truth"]["source"]).name),
            ("intensity scale", _scales(run), _scales(first)),
        ):
            if mine != other:
                raise DataError(f"{run.folder}: another {what} of the same input than {first.folder}: {mine}, {other}")
        i, of = run.shard
        if of != n:
            raise DataError(
                f"{run.folder}: shard {i}/{of} of the input of which {first.folder} is {first.shard[0]}/{n}"
            )
        if i in seen:
            raise DataError(f"{run.folder}: the same part of the same input as {seen[i].folder}: it counts once")
        seen[i] = run
    missing = [f"{i}/{n}" for i in range(n) if i not in seen]
    if missing:
        raise DataError(f"{first.folder}: shard {', '.join(missing)} of its input is not among the runs: name it, too")


def _no_input_twice(groups: Sequence[Sequence[Finished]]) -> None:
    seen: dict[tuple[str, str], Path] = {}
    for group in groups:
        for place in {place for run in group for place in run.places}:
            if place in seen:
                raise DataError(f"{group[0].folder}: {place[0]} is an input of {seen[place]}, too: it counts once")
            seen[place] = group[0].folder


def _selection(run: Finished) -> dict[str, Any]:
    return {k: v for k, v in run.config["selection"].items() if k != "shard"}


def _scales(run: Finished) -> list[Any]:
    return [m["intensity_scale"] for m in run.document["models"]]
