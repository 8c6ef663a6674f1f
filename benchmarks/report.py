# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Results as JSON and as Markdown, with the hardware they were measured on."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import timing

_OPENMP = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_PROC_BIND")


def hardware(command: str) -> dict[str, Any]:
    """Machine, versions, date and revision of a run."""
    return {
        "date": datetime.date.today().isoformat(),
        "revision": _revision(),
        "command": command.strip(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "openmp": {name: os.environ[name] for name in _OPENMP if name in os.environ},
        "load_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "memory_gb": _memory_gb(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def document(info: Mapping[str, Any], rows: Sequence[dict], skipped: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """What the JSON file holds."""
    return {"format": 1, "hardware": dict(info), "rows": list(rows), "skipped": [dict(s) for s in skipped]}


def markdown(results: Mapping[str, Any], titles: Mapping[str, str], plot: str | None = None) -> str:
    """The document as Markdown: one table a benchmark, ratios relative to the named method of each input."""
    info = results["hardware"]
    lines = [
        f"# Measured on {info['cpu']}",
        "",
        f"{info['cores']} cores, {info['torch_threads']} torch threads, {info['memory_gb']} GB, "
        f"GPU: {info['gpu'] or 'none'}. {info['system']}, Python {info['python']}, torch {info['torch']}. "
        f"{info['date']}, revision {info['revision']}, load {info['load_at_start']} at the start. "
        f"Made by `{info['command']}`; README.md says what is measured.",
        "",
        "Ratio: time relative to the method marked 1.00 of the same input, median over rounds in which all methods "
        "took turns. Peak: memory in use above what was in use before.",
    ]
    for benchmark, group in itertools.groupby(results["rows"], key=lambda row: row["benchmark"]):
        lines += ["", f"## {titles.get(benchmark, benchmark)}", ""]
        lines += table(list(group))
    if plot:
        lines += ["", "## Growth", "", f"![Time and memory against points]({plot})"]
    if results["skipped"]:
        lines += ["", "## Not measured here", ""]
        lines += [f"- {s['benchmark']}, {s['input']}, {s['method']}: {s['reason']}" for s in results["skipped"]]
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [
        "| input | method | threads | median ms | p95 ms | ratio | peak MB | rounds | of which, ms |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    last = ""
    for row in rows:
        sizes = ", ".join(f"{value:,} {name}" for name, value in row["sizes"].items())
        name = f"{row['input']} ({sizes})" if sizes else row["input"]
        cells = [
            "" if name == last else name,
            row["method"],
            str(row["threads"] or "all"),
            _milliseconds(row["median_ms"]),
            _milliseconds(row["p95_ms"]),
            f"{row['ratio']:.2f}" if row["ratio"] is not None and row["reference"] != timing.CALIBRATOR else "",
            "" if row["peak_mb"] is None else f"{row['peak_mb']:.1f}",
            str(row["rounds"]),
            ", ".join(f"{stage} {_milliseconds(value)}" for stage, value in row["stages_ms"].items()),
        ]
        lines.append("| " + " | ".join(cells) + " |")
        last = name
    return lines


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, results: Mapping[str, Any]) -> None:
    """One row a line, so that a difference between two runs can be read."""
    rows = ",\n".join("    " + json.dumps(row) for row in results["rows"])
    skipped = ",\n".join("    " + json.dumps(entry) for entry in results["skipped"])
    head = json.dumps(results["hardware"], indent=2).replace("\n", "\n  ")
    text = f'{{\n  "format": 1,\n  "hardware": {head},\n  "rows": [\n{rows}\n  ],\n  "skipped": [\n{skipped}\n  ]\n}}\n'
    write_text(path, text)


def _milliseconds(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _revision() -> str:
    try:
        folder = Path(__file__).resolve().parents[1]
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--tags"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gb() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)
    except (ValueError, OSError, AttributeError):
        return None
