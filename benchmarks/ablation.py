# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Does each term of SRKD help? Student alone, with each term, with all; at 100 %, 25 % and 5 % of the labels.

    python -m benchmarks.ablation --size cpu            about an hour on two cores, a training on each
    python -m benchmarks.ablation --size gpu            the same with larger networks and three seeds
    python -m benchmarks.ablation --size cpu-wide       all terms, lasting and fading, in four times as many towns
    python -m benchmarks.ablation --size cpu --shares 1.0 --variants student kl full      a part of it
    python -m benchmarks.ablation --size cpu --shares 1.0 --variants student full --steps 800      longer training

Trained on synthetic towns, measured on towns and on a sensor that training has not seen. Finished runs are kept in the
output folder and not repeated: an interrupted benchmark continues where it stopped, and more seeds can be added.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

TERMS = ("point_affinity", "voxel_affinity", "channel", "cross_sample", "feature")
VARIANTS: dict[str, tuple[str, ...]] = {
    "student": (),
    "kl": ("kl",),
    "kl + affinity": ("kl", "point_affinity", "voxel_affinity"),
    "kl + channel": ("kl", "channel"),
    "kl + cross-sample": ("kl", "cross_sample"),
    "kl + feature": ("kl", "feature"),
    "full": ("kl", *TERMS),
    "full + unlabelled": ("kl", *TERMS),
    "full + fade": ("kl", *TERMS),
}
FADE = "[0.2, 0.7]"
SIZES: dict[str, dict[str, Any]] = {
    "cpu": {
        "data": {"sequences": 12, "scans": 16, "columns": 512},
        "teacher": {"trainer.max_steps": 2400},
        "student": {"trainer.max_steps": 300},
        "jobs": 2,
        "threads": 1,
        "shares": (1.0, 0.25, 0.05),
        "variants": tuple(v for v in VARIANTS if v != "full + fade"),
        "fewer": {0.25: ("student", "kl", "full", "full + unlabelled")},  # an hour is short
    },
    "cpu-wide": {  # of every class enough to learn from and to measure on, and a teacher trained three times as long
        "data": {"sequences": 64, "scans": 8, "columns": 512},
        "teacher": {"trainer.max_steps": 4800},
        "student": {"trainer.max_steps": 1600},
        "jobs": 2,
        "threads": 1,
        "shares": (1.0,),
        "variants": ("student", "full", "full + fade"),
        "fewer": {},
    },
    "gpu": {
        "data": {"sequences": 40, "scans": 50, "columns": 1024},
        "teacher": {
            "network.preset": "ptv3",
            "network.encoder_channels": "[32, 64, 128, 256, 512]",
            "network.encoder_heads": "[2, 4, 8, 16, 32]",
            "network.decoder_channels": "[64, 64, 128, 256]",
            "trainer.max_steps": 6000,
            "trainer.precision": "bf16",
            "data.workers": 8,
        },
        "student": {"trainer.max_steps": 3000, "trainer.precision": "bf16", "data.workers": 8, "augment.sector": 360},
        "jobs": 1,
        "threads": 0,
        "shares": (1.0, 0.25, 0.05),
        "variants": tuple(VARIANTS),
        "fewer": {},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="cpu")
    parser.add_argument("--output", type=Path, default=Path("results/ablation"))
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--shares", type=float, nargs="+", help="of the labels; default: the size's")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), help="default: the size's")
    parser.add_argument("--steps", type=int, help="optimiser steps of the students; default: the size's")
    parser.add_argument("--jobs", type=int, help="trainings at a time; default: 2 on cpu, 1 on gpu")
    parser.add_argument("--threads", type=int, help="CPU threads of a training; default: 1 on cpu, torch's on gpu")
    parser.add_argument("--picture", type=Path, help="plot (default: OUTPUT/ablation.png)")
    given = parser.parse_args()
    console = Console()
    size = SIZES[given.size]
    shares, variants = given.shares or list(size["shares"]), given.variants or size["variants"]
    root = given.output / given.size
    data = {
        "towns": synthesize(root / "towns", seed=0, sensor="os1-64", **size["data"]),
        "sensor": synthesize(root / "sensor", 6, 6, "hdl-32e", seed=500),
    }
    splits = {"towns": "val", "sensor": "all"}
    jobs = given.jobs or size["jobs"]
    threads = size["threads"] if given.threads is None else given.threads
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # of measuring, too: torch is not imported yet
    suffix = f"-{given.steps}" if given.steps else ""  # of what these runs leave
    start = time.monotonic()
    rows: list[dict[str, Any]] = []
    lock = threading.Lock()

    def one(variant: str, share: float, seed: int) -> None:
        folder = root / f"{variant.replace(' ', '')}-{share:g}-{seed}{suffix}"
        settings = {**size["student"], "data.label_share": share}
        if given.steps:
            settings["trainer.max_steps"] = given.steps
        if VARIANTS[variant]:
            settings |= terms(variant) | {"teacher.file": teacher.result()}
        if variant == "full + unlabelled":
            settings["data.keep_unlabelled"] = "true"
        if variant == "full + fade":
            settings["losses.fade"] = FADE
        command, recipe = ("distill", "synthetic-distill") if VARIANTS[variant] else ("teacher", "synthetic-student")
        file = run(folder, command, recipe, data["towns"], settings, seed, threads)
        scores = measure(file, data, splits)
        with lock:
            rows.append({"variant": variant, "share": share, "seed": seed, **scores})
            text = table(rows, shares, jobs, time.monotonic() - start)
            (root / f"ablation{suffix}.md").write_text(text)
            (root / f"ablation{suffix}.json").write_text(json.dumps(rows, indent=1))

    def train_teacher() -> Path:
        file = run(root / "teacher", "teacher", "synthetic-teacher", data["towns"], size["teacher"], 0, threads)
        rows.insert(0, {"variant": "teacher", "share": 1.0, "seed": 0, **measure(file, data, splits)})
        return file

    wanted = [
        (variant, share, seed)
        for seed in range(given.seeds)
        for share in shares
        for variant in variants
        if not (variant == "full + unlabelled" and share == 1) and variant in size["fewer"].get(share, VARIANTS)
    ]
    wanted.sort(key=lambda each: bool(VARIANTS[each[0]]))  # students alone need not wait for the teacher
    with Progress(console=console) as progress, ThreadPoolExecutor(jobs) as pool:
        teacher = pool.submit(train_teacher)
        try:
            for future in progress.track(as_completed([pool.submit(one, *each) for each in wanted]), len(wanted)):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    console.print(table(rows, shares, jobs, time.monotonic() - start), highlight=False, soft_wrap=True)
    plot(rows, given.picture or root / f"ablation{suffix}.png")


def synthesize(folder: Path, sequences: int, scans: int, sensor: str, seed: int, columns: int | None = None) -> Path:
    from srkd_train.simulation import synthesize as make

    return make(folder, sequences, scans, sensor, seed, columns=columns)


def terms(variant: str) -> dict[str, Any]:
    """Settings that switch off the terms that a variant does not have; the recipe holds the weights of the others."""
    used = VARIANTS[variant]
    return {f"losses.{term}.weight": 0 for term in ("kl", *TERMS) if term not in used}


def run(
    folder: Path,
    command: str,
    recipe: str,
    data: Path,
    settings: dict[str, Any],
    seed: int,
    threads: int,
) -> Path:
    """One training in a process of its own, or what an earlier call left; returns the student file."""
    student, done = folder / "student.safetensors", folder / "done"
    if done.exists():
        return student
    arguments = [sys.executable, "-m", "srkd_train.cli", command, "--config", f"config/train/{recipe}.yaml"]
    arguments += ["--data.root", str(data), "--output", str(folder), "--seed", str(seed), "--resume"]
    arguments += ["--trainer.threads", str(threads)]
    for key, value in settings.items():
        arguments += [f"--{key}", str(value)]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "train.log", "a") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"error: a training failed: see {log.name}")
    done.write_text(f"{usage.ru_utime + usage.ru_stime:.1f}\n")  # of the processor: others may be using it too
    return student


def measure(file: Path, data: dict[str, Path], splits: dict[str, str]) -> dict[str, float]:
    """mIoU on each data set, and the seconds of training; kept beside the file."""
    kept = file.with_name("scores.json")
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    from srkd_train.evaluation import EvaluationOptions, evaluate

    scores = {
        name: evaluate([file], root, EvaluationOptions(split=splits[name]), Console(quiet=True))["models"][0]["miou"]
        for name, root in data.items()
    }
    scores["seconds"] = float(file.with_name("done").read_text())
    kept.write_text(json.dumps(scores))
    return scores


def hardware() -> str:
    """The machine and the date, for the table."""
    from benchmarks.report import hardware as measured

    info = measured("")
    return f"{info['gpu'] or info['cpu']}, {info['cores']} cores, {info['date']}"


def _mean(rows: list[dict[str, Any]], variant: str, share: float, key: str) -> tuple[float, float, int]:
    values = [100 * r[key] for r in rows if r["variant"] == variant and r["share"] == share]
    return (float(np.mean(values)), float(np.std(values)), len(values)) if values else (float("nan"), 0.0, 0)


def table(rows: list[dict[str, Any]], shares: list[float], jobs: int, seconds: float) -> str:
    """Markdown: mIoU in percent, mean and spread over seeds, on held-out towns and on the held-out sensor."""
    head = [f"{100 * s:g} % of the labels" for s in shares]
    lines = ["| | " + " | ".join(head) + " | other sensor | CPU time |", "|---|" + "---|" * (len(shares) + 2)]
    for variant in ["teacher", *VARIANTS]:
        cells = []
        for share in shares:
            mean, spread, count = _mean(rows, variant, share, "towns")
            cells.append("" if not count else f"{mean:.1f}" + (f" ± {spread:.1f}" if count > 1 else ""))
        if not any(cells):
            continue
        sensor = _mean(rows, variant, shares[0], "sensor")
        spent = np.mean([r["seconds"] for r in rows if r["variant"] == variant])
        other = f"{sensor[0]:.1f}" if sensor[2] else ""
        lines.append(f"| {variant} | " + " | ".join(cells) + f" | {other} | {spent:.0f} s |")
    alone = _mean(rows, "student", 1.0, "towns")[0]
    lead = _mean(rows, "teacher", 1.0, "towns")[0] - alone
    for variant in ("full", "full + fade"):
        reached = _mean(rows, variant, 1.0, "towns")[0]
        if np.isfinite(reached) and lead > 0:
            closed = f"{variant} closes {100 * (reached - alone) / lead:.0f} %"
            lines += ["", f"Of the teacher's lead of {lead:.1f} points, {closed}."]
    lines += ["", f"{hardware()}; {jobs} trainings at a time; {seconds / 60:.0f} minutes since the last start."]
    return "\n".join(lines) + "\n"


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """mIoU over the share of labels, a line a variant."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for variant in VARIANTS:
        shares = sorted({r["share"] for r in rows if r["variant"] == variant})
        if shares:
            means = [_mean(rows, variant, s, "towns") for s in shares]
            axes.errorbar(
                [100 * s for s in shares], [m[0] for m in means], [m[1] for m in means], marker="o", label=variant,
                lw=2.5 if variant in ("student", "full") else 1, capsize=3,
            )  # fmt: skip
    teacher = _mean(rows, "teacher", 1.0, "towns")[0]
    axes.axhline(teacher, color="black", ls="--", lw=1, label="teacher, all labels")
    axes.set_xscale("log")
    axes.set_xticks([5, 25, 100], ["5 %", "25 %", "100 %"])
    axes.set_xlabel("labelled scans")
    axes.set_ylabel("mIoU on held-out towns, percent")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
