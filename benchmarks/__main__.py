# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""python -m benchmarks: runs entries, writes docs/benchmarks, or compares with what is committed there."""

from __future__ import annotations

import argparse
import runpy
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import compare, report
from benchmarks.entries import ENTRIES, SCRIPTS
from benchmarks.jobs import Job, Settings, run_job
from benchmarks.models import check_device
from srkd_ros.errors import SrkdError

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
FAILED = "failed with "
EXAMPLES = """examples:
  python -m benchmarks --all                    everything, into docs/benchmarks (about twelve minutes on two cores)
  python -m benchmarks --quick                  a part of it, compared with docs/benchmarks (under three minutes)
  python -m benchmarks decode voxelize          some entries, printed
  python -m benchmarks --all --output /tmp/x    everything, elsewhere
entries: {entries}
with options of their own (python -m benchmarks NAME --help): {scripts}
"""

console = Console(soft_wrap=True)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time and memory of srkd_ros and its peers, measured in turns.",
        epilog=EXAMPLES.format(entries=", ".join(ENTRIES), scripts=", ".join(SCRIPTS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("entries", nargs="*", metavar="NAME", help="entries to run")
    made.add_argument("--all", action="store_true", help="run all entries and write DEVICE.md, DEVICE.json, growth.png")
    made.add_argument("--quick", action="store_true", help="run the quick part and compare; exit status 1 if slower")
    made.add_argument("--output", type=Path, metavar="DIR", help="folder to write to (with --all: docs/benchmarks)")
    made.add_argument(
        "--against", type=Path, metavar="FILE", help="results to compare with (docs/benchmarks/DEVICE.json)"
    )
    made.add_argument(
        "--threshold", type=float, default=0.3, help="growth of a ratio that counts as slower (0.3: 30 %%)"
    )
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where geometry and networks run")
    return made


def main(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in SCRIPTS:
        sys.argv = [f"python -m benchmarks {arguments[0]}", *arguments[1:]]
        runpy.run_module(f"benchmarks.{arguments[0]}", run_name="__main__")
        return 0
    options = parser().parse_args(arguments)
    try:
        return run(options, "python -m benchmarks " + shlex.join(arguments))
    except (SrkdError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(options: argparse.Namespace, command: str) -> int:
    """Measure, then print, write or compare."""
    names = options.entries or (list(ENTRIES) if options.all or options.quick else [])
    unknown = [name for name in names if name not in ENTRIES]
    if unknown:
        raise SrkdError(f"no benchmark {unknown[0]!r}; there are {', '.join([*ENTRIES, *SCRIPTS])}")
    if not names:
        parser().print_help()
        return 0
    check_device(options.device)
    against = options.against or FOLDER / f"{options.device}.json"
    committed = compare.load(against) if options.quick else None
    output = options.output or (FOLDER if options.all else None)

    settings = Settings(options.device, options.quick)
    info = report.hardware(command)
    if info["load_at_start"] is not None and info["load_at_start"] > 0.5:
        console.print(f"load {info['load_at_start']}: other programs are running; times, and ratios too, will be off")
    jobs = [job for name in names for job in ENTRIES[name].jobs(settings) if job.quick or not options.quick]
    rows, skipped = run_jobs(jobs, settings)
    results = report.document(info, rows, skipped)
    titles = {name: entry.title for name, entry in ENTRIES.items()}
    if output is not None:
        write(output, options.device, results, titles)
    failed = any(entry["reason"].startswith(FAILED) for entry in skipped)
    if committed is not None:
        for line in compare.unlike(committed["hardware"], info):
            console.print(f"  note  {line}", highlight=False)
        return max(judge(committed["rows"], rows, jobs, settings, options.threshold), failed)
    if output is None:
        console.print(Markdown(report.markdown(results, titles)))
    return int(failed)


def run_jobs(jobs: Sequence[Job], settings: Settings) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows of all jobs, and what was left out."""
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=sum(job.seconds for job in jobs))
        done = 0.0
        for job in jobs:
            progress.update(task, description=f"{job.benchmark}: {job.input}", completed=done)
            try:
                found, left_out = run_job(job, settings.quick, _step(progress, task, done, job.seconds))
            except Exception as error:  # the other jobs are still worth their minutes
                found, left_out = [], {"all": f"{FAILED}{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
                progress.console.print(f"{job.benchmark}, {job.input}: {left_out['all']}", highlight=False)
            rows += found
            skipped += [
                {"benchmark": job.benchmark, "input": job.input, "method": method, "reason": reason}
                for method, reason in left_out.items()
            ]
            done += job.seconds
        progress.update(task, description="done", completed=done)
    return rows, skipped


def _step(progress: Progress, task: Any, done: float, seconds: float) -> Callable[[float], None]:
    return lambda share: progress.update(task, completed=done + share * seconds)


def write(folder: Path, device: str, results: dict[str, Any], titles: dict[str, str]) -> None:
    """DEVICE.json, DEVICE.md, and the plot if growth was measured."""
    from benchmarks.growth import plot

    drawn = plot(results["rows"], folder / "growth.png")
    report.write_json(folder / f"{device}.json", results)
    report.write_text(folder / f"{device}.md", report.markdown(results, titles, "growth.png" if drawn else None))
    console.print(f"wrote {folder / device}.md and .json")


def judge(
    committed: Sequence[dict[str, Any]],
    rows: list[dict[str, Any]],
    jobs: Sequence[Job],
    settings: Settings,
    threshold: float,
) -> int:
    """Print how ratios changed; 1 if one got worse twice."""
    found = compare.changes(committed, rows)
    suspects = {change.key[:2] for change in compare.slower(found, threshold)}
    if suspects:
        console.print(f"measuring again what looks slower: {len(suspects)} inputs")
        again, _ = run_jobs([job for job in jobs if (job.benchmark, job.input) in suspects], settings)
        rows = compare.best_of(rows, again)
        found = compare.changes(committed, rows)
    for line in compare.incomparable(committed, rows):
        console.print(f"     -  {line}", highlight=False)
    for change in found:
        mark = "slower" if compare.is_slower(change, threshold) else "ok"
        console.print(f"{mark:>6}  {change}", highlight=False)
    if not found:
        raise SrkdError("nothing to compare; make new results with `python -m benchmarks --all`")
    if compare.implausible(found, threshold):
        console.print(
            "nearly all costs are far below the committed ones: another program disturbed the fixed work that they are "
            "measured in; run it on an idle machine. If all did get faster, commit new results"
        )
        return 1
    return 1 if compare.slower(found, threshold) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
