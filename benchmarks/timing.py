# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Time and memory of a few methods on one input, measured in turns, so that their ratios are fair on a busy machine."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srkd_ros import gpu
from srkd_ros.native import without_kernels

CALIBRATOR = "calibrator"
_THREADS = torch.get_num_threads()


@dataclass
class Case:
    """One method of a group."""

    method: str
    run: Callable[[], Any]
    threads: int | None = None  # of torch; None: as many as torch chose at the start
    stages: Callable[[Any], dict[str, float]] | None = None  # milliseconds by stage, from what `run` returned
    process: int | None = None  # the process whose memory counts; None: this one
    quick: bool = True  # also in a quick run
    torchs: bool = True  # whether the memory that it takes on a GPU is torch's, which counts it


@dataclass
class Group:
    """Methods that do the same job on the same input."""

    cases: list[Case]
    reference: str = CALIBRATOR  # the method that the table's ratios are relative to
    sizes: dict[str, int] = field(default_factory=dict)  # points, voxels
    skipped: dict[str, str] = field(default_factory=dict)  # method -> why it is not there
    close: Callable[[], None] = lambda: None  # ends what the cases started


@dataclass
class Timing:
    """What was measured of a case: one time in milliseconds a round, the same rounds for all cases of a group."""

    times: list[float]
    peak_mb: float | None = None  # above what was in use before, in MB (1e6 bytes); None where it cannot be known
    stages: dict[str, float] = field(default_factory=dict)  # medians

    @property
    def median(self) -> float:
        return float(np.median(self.times))

    @property
    def p95(self) -> float:
        return float(np.quantile(self.times, 0.95))


def one_thread(case: Case) -> Case:
    """The same on one torch thread."""
    return replace(case, method=f"{case.method}, one thread", threads=1)


@contextlib.contextmanager
def torch_only() -> Iterator[None]:
    """Without the C++ kernels (srkd_ros.native) and, on GPUs, without what trials take there (srkd_ros.gpu)."""
    before = os.environ.get("SRKD_TRIALS")
    os.environ["SRKD_TRIALS"] = "0"  # for students that are loaded now
    devices = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(without_kernels())
            for device in devices:
                stack.enter_context(gpu.taking(device, None))
            yield
    finally:
        os.environ.pop("SRKD_TRIALS")
        if before is not None:
            os.environ["SRKD_TRIALS"] = before


def torch_alone(case: Case) -> Case:
    """The same without kernels of ours."""

    def run() -> Any:
        with torch_only():
            return case.run()

    return replace(case, method=f"{case.method}, without kernels", run=run, quick=False)


def paired_ratio(times: Sequence[float], reference: Sequence[float]) -> float:
    """Median over rounds of time / reference: what slows a whole round down leaves it as it is."""
    return float(np.median(np.asarray(times) / np.asarray(reference)))


def best_ratio(times: Sequence[float], reference: Sequence[float]) -> float:
    """Fastest time / fastest reference: what both cost undisturbed, to compare with another day's run."""
    return min(times) / min(reference)


def calibrator() -> Case:
    """Fixed work of the kinds that a cloud costs (sort, gather, matrix product): a machine's own unit of time."""
    generator = torch.Generator().manual_seed(0)
    keys = torch.randint(1 << 48, (120_000,), generator=generator)
    features = torch.randn(20_000, 64, generator=generator)
    weight = torch.randn(64, 64, generator=generator)

    def run() -> torch.Tensor:
        order = torch.sort(keys).indices % 20_000
        return features.index_select(0, order) @ weight

    return Case(CALIBRATOR, run)


def measure(
    cases: Sequence[Case],
    seconds: float,
    least: int = 5,
    most: int = 100,
    on_round: Callable[[float], None] = lambda share: None,
) -> list[Timing]:
    """Run the cases in turns until `seconds` have passed, at least `least` and at most `most` rounds.

    One run of each warms up and gives the peak memory; it does not count. The order rotates from round to round, so
    that no method always follows the same other one. `on_round` gets the share of the work that is done.
    """
    timings = [Timing([], peak_of(case)) for case in cases]
    stages: list[list[dict[str, float]]] = [[] for _ in cases]
    begin = time.perf_counter()
    rounds = 0
    while rounds < least or (rounds < most and time.perf_counter() - begin < seconds):
        gc.collect()
        gc.disable()
        for step in range(len(cases)):
            number = (step + rounds) % len(cases)
            _use_threads(cases[number])
            milliseconds, result = _timed(cases[number].run)
            timings[number].times.append(milliseconds)
            if (split := cases[number].stages) is not None:
                stages[number].append(split(result))
        gc.enable()
        rounds += 1
        elapsed = (time.perf_counter() - begin) / max(seconds, 1e-9)
        on_round(min(1.0, max(rounds / most, min(elapsed, rounds / least))))
    for timing, seen in zip(timings, stages, strict=True):
        if seen:
            timing.stages = {name: float(np.median([s[name] for s in seen])) for name in seen[0]}
    torch.set_num_threads(_THREADS)
    return timings


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    _synchronize()
    begin = time.perf_counter()
    result = run()
    _synchronize()
    return (time.perf_counter() - begin) * 1e3, result


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _use_threads(case: Case) -> None:
    wanted = case.threads or _THREADS
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)
    torch.ones(1 << 17).add_(1)  # wakes the threads, so that the case does not pay for it


def peak_of(case: Case) -> float | None:
    """Peak memory of the first runs above what was there before, in MB: what a runtime keeps for later runs is in it.

    Of a case that takes memory on a GPU, torch's count of that over three runs, in which graphs are recorded; None
    where another runtime takes it. Of others the kernel's count of resident memory, free memory being given back: it
    sees numpy, torch and runtimes alike. Linux only.
    """
    _use_threads(case)
    if not torch.cuda.is_available():
        return _resident_peak_of(case)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    resident = _resident_peak_of(case)
    for _ in range(2):
        case.run()
    torch.cuda.synchronize()
    if not case.torchs:
        return None
    return (torch.cuda.max_memory_allocated() - before) / 1e6 or resident


def _resident_peak_of(case: Case) -> float | None:
    process = Path("/proc") / str(case.process or "self")
    try:
        if case.process is None:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
            before = _memory(process, "VmRSS")
            (process / "clear_refs").write_text("5")  # sets the high-water mark back to now
        else:
            before = 0  # another process: all of it
    except (OSError, AttributeError, LookupError):
        case.run()
        return None
    case.run()
    return max(_memory(process, "VmHWM") - before, 0) / 1e6


def _memory(process: Path, key: str) -> int:
    """Bytes, of VmRSS or VmHWM."""
    for line in (process / "status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(key)
