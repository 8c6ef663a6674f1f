# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""`make demo`: the main job end to end. Streets, a teacher, a student before and after distillation, the live node."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from srkd_ros.errors import SrkdError
from srkd_ros.replay import results
from srkd_ros.resources import find

SEQUENCES, SCANS, COLUMNS = 12, 16, 512  # streets to learn from; a quarter of the towns is held out
DRIVE_SCANS, DRIVE_SEED = 50, 1000  # the bag: a town that no training has seen, at 10 Hz
PERCENTILES = ("p50", "p95", "p99")
console = Console()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `python -m srkd_train.demo`: exit status 0, 2 with one line for wrong input."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--model", type=Path, help="your own student: only the live part is shown (needs --bag)")
    parser.add_argument("--bag", type=Path, help="your own bag: only the live part is shown (needs --model)")
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder of the results (results)")
    parser.add_argument("--steps", type=int, default=0, help="optimiser steps of each training (0: the recipes')")
    given = parser.parse_args(arguments)
    try:
        if (given.model is None) != (given.bag is None):
            raise SrkdError("MODEL and BAG belong together: make demo MODEL=student.safetensors BAG=drive.mcap")
        if given.model is not None:
            live(given.bag, given.model, given.output)
        else:
            whole_way(given.output, given.steps)
    except SrkdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def whole_way(root: Path, steps: int) -> Path:
    """All steps; returns the folder of results."""
    from srkd_train.simulation import synthesize

    folder = results.new_folder(root)
    seconds: dict[str, float] = {}
    with stage("1/5  Simulate streets", seconds):
        streets = synthesize(folder / "streets", SEQUENCES, SCANS, "os1-64", columns=COLUMNS)
        drive = synthesize(folder / "drive", 1, DRIVE_SCANS, "os1-64", DRIVE_SEED, bag=True, columns=COLUMNS)
    recipes = {name: folder / name for name in ("teacher", "student-before", "student-distilled")}
    alone = beside("teacher", "synthetic-student", streets, recipes["student-before"], steps)
    with stage("2/5  Train a teacher, and the student alone beside it", seconds), alone as plain:
        teacher = train("teacher", "synthetic-teacher", streets, recipes["teacher"], steps, 1)
        console.print("waiting for the student beside it", style="dim")
    with stage("3/5  Distil the student", seconds):
        more = ["--teacher", str(teacher)]
        student = train("distill", "synthetic-distill", streets, recipes["student-distilled"], steps, 1, more)
    with stage("4/5  Compare on held-out towns", seconds):
        scores = compare({"before": plain, "distilled": student, "teacher": teacher}, streets)
    with stage("5/5  Play a bag through the live node", seconds):
        sequence = drive / "sequences" / "00"
        measured = live(sequence / "bag", student, folder / "live", ["--truth", str(sequence / "bag_labels")])
    pictures = draw({"before": plain, "distilled": student, "teacher": teacher}, streets, folder)
    results.write_json(folder / "summary.json", {"models": scores, "live": measured, "seconds": seconds})
    results.link_latest(folder)
    report(scores, measured, seconds)
    for what, path in (
        ("student file", student),
        ("pictures", pictures),
        ("report of the live run", next((folder / "live").glob("*/report.html"), folder / "live")),
    ):
        console.print(f"{what:>24}  {path}", highlight=False, soft_wrap=True)
    return folder


@contextmanager
def stage(title: str, seconds: dict[str, float]) -> Iterator[None]:
    """A headline, and how long what follows took."""
    console.rule(f"[bold]{title}", align="left")
    start = time.monotonic()
    yield
    seconds[title.split("  ")[1]] = round(time.monotonic() - start, 1)


def training(command: str, recipe: str, data: Path, output: Path, steps: int, threads: int) -> list[str]:
    """Arguments of `srkd-train` for a shipped recipe."""
    arguments = [command, "--config", str(find(f"config/train/{recipe}.yaml")), "--data.root", str(data)]
    arguments += ["--output", str(output), "--trainer.threads", str(threads)]
    return arguments + (["--trainer.max_steps", str(steps)] if steps else [])


def train(
    command: str, recipe: str, data: Path, output: Path, steps: int, threads: int, more: Sequence[str] = ()
) -> Path:
    """One `srkd-train` training; returns the student file."""
    from srkd_train import cli

    if status := cli.main([*training(command, recipe, data, output, steps, threads), *more]):
        sys.exit(status)
    return output / "student.safetensors"


@contextmanager
def beside(command: str, recipe: str, data: Path, output: Path, steps: int) -> Iterator[Path]:
    """A training in a process of its own, on the other core, while the block runs; waits for it at the end."""
    output.mkdir(parents=True, exist_ok=True)
    arguments = training(command, recipe, data, output, steps, 1)
    with open(output / "train.log", "w") as log:
        process = subprocess.Popen([sys.executable, "-m", "srkd_train.cli", *arguments], stdout=log, stderr=log)
    try:
        yield output / "student.safetensors"
        if process.wait():
            raise SrkdError(f"{recipe} failed: see {output / 'train.log'}")
    finally:
        process.kill()


def compare(models: dict[str, Path], data: Path) -> dict[str, Any]:
    """Metrics of each model on the held-out towns."""
    from srkd_train.evaluation import EvaluationOptions, evaluate

    quiet = Console(quiet=True)
    options = EvaluationOptions()
    return {name: evaluate([path], data, options, quiet)["models"][0] for name, path in models.items()}


def live(bag: Path, model: Path, output: Path, more: Sequence[str] = ()) -> dict[str, Any]:
    """`srkd-replay BAG --model FILE --realtime`; returns its metrics."""
    from srkd_ros.replay import cli

    if status := cli.main([str(bag), "--model", str(model), "--realtime", "-o", str(output), *more]):
        sys.exit(status)
    return dict(results.read_json(output / "latest" / "metrics.json"))


def draw(models: dict[str, Path], data: Path, folder: Path) -> Path:
    """Bird's-eye views of one held-out scan: each model's prediction and error beside the truth."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from srkd_ros.replay import birdseye
    from srkd_ros.segmenter import Segmenter
    from srkd_train.datasets import open_dataset

    dataset = open_dataset("semantic_kitti", data, "val")
    scan = dataset[len(dataset) // 2]
    assert scan.labels is not None
    half = min(birdseye.extent(scan.xyz), 35.0)  # metres; what is farther is too thin to judge by eye
    palette = dataset.labels.palette
    figure, axes = plt.subplots(2, len(models) + 1, figsize=(4 * len(models) + 4, 8.2), layout="constrained")
    axes[0, 0].imshow(birdseye.draw(scan.xyz, birdseye.by_class(scan.labels, palette), half))
    axes[0, 0].set_title("truth")
    present = [i for i in range(len(dataset.labels)) if (scan.labels == i).any()]
    handles = [
        plt.Line2D([], [], marker="o", ls="", color=palette[i] / 255, label=dataset.labels.names[i]) for i in present
    ]
    axes[1, 0].legend(handles=handles, loc="center", ncols=2, frameon=False)
    for column, (name, path) in enumerate(models.items(), 1):
        labels = Segmenter.load(path, intensity_scale=dataset.intensity_scale)(scan.xyz, scan.intensity).labels
        axes[0, column].imshow(birdseye.draw(scan.xyz, birdseye.by_class(labels, palette), half))
        axes[0, column].set_title(name)
        axes[1, column].imshow(birdseye.draw(scan.xyz, birdseye.by_error(labels, scan.labels), half))
        wrong = (labels != scan.labels)[scan.labels != 255].mean()
        axes[1, column].set_title(f"{100 * wrong:.1f} % of points wrong (red)")
    for each in axes.flat:
        each.axis("off")
    path = folder / "predictions.png"
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return path


def report(scores: dict[str, Any], measured: dict[str, Any], seconds: dict[str, float]) -> None:
    """The tables at the end."""
    console.rule("[bold]Result", align="left")
    table = Table(title="IoU in percent on held-out towns", title_justify="left")
    table.add_column("class")
    for name in scores:
        table.add_column(f"student {name}" if name != "teacher" else name, justify="right")
    first = next(iter(scores.values()))
    for name, row in first["per_class"].items():
        if row["points"]:
            table.add_row(name, *(percent(s["per_class"][name]["iou"]) for s in scores.values()))
    table.add_section()
    table.add_row("[bold]mIoU", *(f"[bold]{percent(s['miou'])}" for s in scores.values()))
    table.add_row("parameters", *(f"{s['parameters'] / 1e6:.2f}M" if s["parameters"] else "-" for s in scores.values()))
    console.print(table)
    console.print(live_table(measured))
    took = ", ".join(f"{name.lower()} {value:.0f} s" for name, value in seconds.items())
    console.print(f"took {sum(seconds.values()):.0f} s: {took}", highlight=False)


def live_table(measured: dict[str, Any]) -> Table:
    """Latency and throughput of the live node: what came back, how fast."""
    live, model = measured["live"], measured["models"][0]
    table = Table(title="live node", title_justify="left", show_header=False)
    table.add_row("clouds played, labelled, dropped", f"{live['published']}, {live['received']}, {live['dropped']}")
    table.add_row("rate of playing", f"{live['rate_hz']:.1f} Hz")
    latency = " / ".join(
        "-" if live["end_to_end_ms"][p] is None else f"{live['end_to_end_ms'][p]:.1f}" for p in PERCENTILES
    )
    table.add_row("latency, published to received, p50 / p95 / p99", f"{latency} ms")
    points = measured["input"]["points"] / max(measured["input"]["clouds"], 1)
    table.add_row(
        "points per second", f"{points * live['rate_hz'] * live['received'] / max(live['published'], 1):,.0f}"
    )
    table.add_row("mIoU in the unseen town of the bag", percent(model["miou"]))
    return table


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
