# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Jobs: what the entries hand to the runner, and the rows that measuring a job gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.timing import CALIBRATOR, Case, Group, Timing, best_ratio, calibrator, measure, paired_ratio
from srkd_ros.errors import SrkdError


@dataclass(frozen=True)
class Settings:
    """Of a run."""

    device: str = "cpu"  # where geometry and networks run
    quick: bool = False  # leave out what is slow


@dataclass(frozen=True)
class Job:
    """One table: a benchmark on one input. `build` makes clouds and models, and is called when the job's turn comes."""

    benchmark: str
    input: str
    build: Callable[[], Group]
    seconds: float = 2.0  # of measuring; at least five rounds are made, however long they take
    quick: bool = False  # also in a quick run


class Skip(Exception):
    """Raised by `build` where a job cannot run on this machine; the text says why."""


def run_job(job: Job, quick: bool, on_progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Rows of a job, and which methods were left out and why."""
    try:
        group = job.build()
    except (Skip, SrkdError) as reason:
        return [], {"all": str(reason)}
    try:
        cases = [calibrator(), *(case for case in group.cases if case.quick or not quick)]
        seconds, least = (job.seconds / 2, 3) if quick else (job.seconds, 5)
        timings = measure(cases, seconds, least, on_round=on_progress)
    finally:
        group.close()
    by_method = dict(zip((case.method for case in cases), timings, strict=True))
    rows = [_row(job, group, case, by_method) for case in group.cases if case.method in by_method]
    return rows, group.skipped


def _row(job: Job, group: Group, case: Case, timings: dict[str, Timing]) -> dict[str, Any]:
    own = timings[case.method]
    reference = timings.get(group.reference)
    return {
        "benchmark": job.benchmark,
        "input": job.input,
        "method": case.method,
        "threads": case.threads,
        "sizes": group.sizes,
        "rounds": len(own.times),
        "median_ms": _digits(own.median),
        "p95_ms": _digits(own.p95),
        "peak_mb": None if own.peak_mb is None else round(own.peak_mb, 1),
        "stages_ms": {name: _digits(value) for name, value in own.stages.items()},
        "reference": group.reference,
        "ratio": None if reference is None else _digits(paired_ratio(own.times, reference.times)),
        "calibrated": _digits(best_ratio(own.times, timings[CALIBRATOR].times)),
    }


def _digits(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")
