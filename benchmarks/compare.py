# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Compares a run with a committed one, by times relative to the calibrator, and names what got slower."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from srkd_ros.errors import ConfigError

Key = tuple[str, str, str]

SHORT = 2.0  # milliseconds: what takes less mostly moves memory, whose speed is another than the calibrator's


@dataclass(frozen=True)
class Change:
    """One method then and now, each in units of its own run's calibrator."""

    key: Key  # benchmark, input, method
    then: float
    now: float
    milliseconds: float  # then, median

    @property
    def factor(self) -> float:
        """Above 1: slower."""
        return self.now / self.then

    def __str__(self) -> str:
        return f"{', '.join(self.key)}: {self.factor:.2f} times the committed cost"


def load(path: Path) -> dict[str, Any]:
    """A results file; ConfigError if it is missing or something else."""
    try:
        results = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: no committed results; make them with `python -m benchmarks --all`") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error})") from error
    if not isinstance(results, dict) or results.get("format") != 1:
        raise ConfigError(
            f"{path}: not a results file of this program; make it again with `python -m benchmarks --all`"
        )
    return results


def changes(committed: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Methods in both whose input is the same, worst first.

    What disturbs the calibrator of one input makes all its methods look cheap, and slower than that the next time. So a
    cost counts in two units, the calibrator beside it and the usual one of its run, and the kinder change is taken.
    """
    then = {_key(row): row for row in committed}
    usual_then, usual_now = _usual_unit(committed), _usual_unit(rows)
    found = []
    for row in rows:
        before = then.get(_key(row))
        if before is not None and before["sizes"] == row["sizes"]:
            took = before["median_ms"]
            beside = Change(_key(row), before["calibrated"], row["calibrated"], took)
            usual = Change(_key(row), took / usual_then, row["median_ms"] / usual_now, took)
            found.append(min(beside, usual, key=lambda change: change.factor))
    return sorted(found, key=lambda change: -change.factor)


def _usual_unit(rows: Sequence[Mapping[str, Any]]) -> float:
    """Milliseconds of the calibrator in a run, by what its methods took in both units."""
    return median(row["median_ms"] / row["calibrated"] for row in rows) if rows else 1.0


def incomparable(committed: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why rows of a run have no counterpart."""
    then = {_key(row): row for row in committed}
    lines = []
    for row in rows:
        if _key(row) not in then:
            lines.append(f"{', '.join(_key(row))}: not among the committed results")
        elif then[_key(row)]["sizes"] != row["sizes"]:
            lines.append(f"{', '.join(_key(row))}: its input is another than in the committed results")
    return lines


def slower(found: Sequence[Change], threshold: float) -> list[Change]:
    """Those whose relative cost grew by more than `threshold` (0.3: 30 %), or twice that for very short work."""
    return [change for change in found if is_slower(change, threshold)]


def is_slower(change: Change, threshold: float) -> bool:
    """Whether a change counts: see slower."""
    return change.factor > 1 + threshold * (2 if change.milliseconds < SHORT else 1)


def unlike(committed: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what the machines of two runs differ (`hardware` of their results): costs may differ for that alone."""
    return [
        f"{name.replace('_', ' ')}: {now.get(name)} here, {committed.get(name)} in the committed results"
        for name in ("cpu", "cores", "torch_threads", "openmp", "gpu", "torch")
        if now.get(name) != committed.get(name)
    ]


def implausible(found: Sequence[Change], threshold: float) -> bool:
    """Whether costs fell as a whole by more than `threshold` allows: then the calibrator was disturbed."""
    return bool(found) and sorted(change.factor for change in found)[len(found) // 2] < 1 / (1 + threshold)


def best_of(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of two runs, of each method the cheaper: what is slow by chance is not slow twice."""
    again = {_key(row): row for row in second}
    return [min(row, again.get(_key(row), row), key=lambda r: r["calibrated"]) for row in first]


def _key(row: Mapping[str, Any]) -> Key:
    return row["benchmark"], row["input"], row["method"]
