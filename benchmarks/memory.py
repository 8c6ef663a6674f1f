# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""python -m benchmarks memory: what a distillation step of a large batch takes, with and without recomputed blocks.

One step of all terms, teacher litept-s, float32, after which memory is that of every later step. Runs are left out that
would need more than the machine has.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from benchmarks import report
from benchmarks.models import check_device
from benchmarks.timing import Case, peak_of
from benchmarks.training import TEACHER, full_step
from srkd_ros.errors import ConfigError, SrkdError
from srkd_ros.network import PRESETS

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
KB_A_VOXEL = {False: {"nano": 18}, True: {"nano": 18, "litept-s": 40, "ptv3-half": 40}}
"""About, with recomputed blocks or without, only to leave out what would not fit; of other networks 75."""

console = Console(soft_wrap=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks memory",
        description=(__doc__ or "").partition(": ")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--students", nargs="+", default=["nano", "litept-s"], metavar="NAME")
    parser.add_argument("--sensor", default="os1-128", help="simulated sweep (default os1-128)")
    parser.add_argument("--voxel-size", type=float, default=0.07, help="metres; 0.07: some 60,000 voxels a sweep")
    parser.add_argument("--scans", type=int, default=8, help="of a batch (default 8)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR", help="folder to write to")
    given = parser.parse_args(arguments)
    try:
        for name in given.students:
            if name not in PRESETS:
                raise ConfigError(f"--students: {name!r} is not one of {', '.join(PRESETS)}")
        check_device(given.device)
        info = report.hardware(f"python -m benchmarks memory {shlex.join(arguments)}")
        lines: list[str] = []
        text = ""
        with Progress(console=console) as progress:
            jobs = [(name, recompute) for name in given.students for recompute in (True, False)]
            for name, recompute in progress.track(jobs):
                lines.append(measure(name, recompute, given))
                text = page(lines, info)
                report.write_text(given.output / f"memory-{given.device}.md", text)  # each takes minutes
    except (SrkdError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(Markdown(text))
    return 0


def measure(student: str, recompute: bool, given: argparse.Namespace) -> str:
    """A line of the table."""
    step, voxels = full_step(student, given.sensor, given.scans, given.voxel_size, recompute, given.device)
    blocks = "recomputed" if recompute else "kept"
    line = f"| {student}, blocks {blocks} | {given.scans} x {voxels // given.scans:,} | "
    needed, there = KB_A_VOXEL[recompute].get(student, 75) * 1e3 * voxels, free_memory(given.device)
    if needed > there:
        return f"{line}left out: some {needed / 1e9:.0f} GB, and {there / 1e9:.0f} are free | | |"
    begin = time.perf_counter()
    peak = peak_of(Case(student, step))
    seconds = time.perf_counter() - begin
    if peak is None:
        return f"{line}not known on this system | | {seconds:.0f} |"
    return f"{line}{peak / 1e3:.1f} | {peak / voxels * 100:.1f} | {seconds:.0f} |"


def free_memory(device: str) -> float:
    """Bytes that a step may take."""
    if device == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return float(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return float("inf")


def page(lines: Sequence[str], info: dict) -> str:
    """The page."""
    head = [
        f"# Memory of a distillation step on {info['gpu'] or info['cpu']}",
        "",
        f"{info['cores']} cores, {info['memory_gb']} GB. torch {info['torch']}. {info['date']}, revision "
        f"{info['revision']}, load {info['load_at_start']} at the start. Made by `{info['command']}`.",
        "",
        f"One step of all terms, teacher `{TEACHER}`, float32; peak above what the process had before it, networks and "
        "batch. `trainer.recompute` keeps of each block its input alone (docs/training.md).",
        "",
        "| student | scans x voxels | peak GB | GB for 100,000 voxels | seconds, first step |",
        "|---|---:|---:|---:|---:|",
    ]
    return "\n".join([*head, *lines]) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
