# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The summary in the terminal: one table of quality by class, one of speed, and where the files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def percent(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f}"


def plain(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def print_summary(document: dict[str, Any], folder: Path, console: Console) -> None:
    models = document["models"]
    if any(_quality(m) for m in models):
        console.print(_classes(document))
    console.print(_overview(document))
    for line in document["notes"]:
        console.print(f"[yellow]note:[/] {escape(line)}", highlight=False, soft_wrap=True)
    console.print(f"report: {escape(str(folder / 'report.html'))}", highlight=False, soft_wrap=True)


def _quality(model: dict[str, Any]) -> dict[str, Any] | None:
    """The scores against the truth, else those against the teacher."""
    return model if model["miou"] is not None else model["agreement"]


def _classes(document: dict[str, Any]) -> Table:
    models = document["models"]
    against = "truth" if document["truth"]["matched_clouds"] else "teacher"
    table = Table(title=f"IoU in percent, against the {against}", title_justify="left")
    table.add_column("class")
    for model in models:
        table.add_column(escape(model["name"]), justify="right")
    table.add_column("points", justify="right")
    names = list(dict.fromkeys(n for m in models for n in m["classes"]))
    for name in names:
        cells = [((_quality(m) or {}).get("per_class") or {}).get(name) for m in models]
        points = next((c["points"] for c in cells if c), 0)
        if points:
            table.add_row(escape(name), *(percent(c and c["iou"]) for c in cells), f"{points:,}")
    table.add_section()
    table.add_row("mean", *(f"[bold]{percent((_quality(m) or {}).get('miou'))}[/]" for m in models), "")
    return table


def _overview(document: dict[str, Any]) -> Table:
    table = Table(title=count(document["input"]["clouds"], "cloud"), title_justify="left")
    table.add_column("")
    for model in document["models"]:
        table.add_column(escape(model["name"]), justify="right")
    for title, text in overview_rows(document):
        table.add_row(title, *map(escape, text))
    return table


def overview_rows(document: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """(what, a text for each model): what the terminal and the report both say in few lines."""
    models = document["models"]
    rows: list[tuple[str, list[str]]] = []

    def add(title: str, texts: list[str]) -> None:
        if any(t != "-" for t in texts):
            rows.append((title, texts))

    add("mIoU in %", [percent(m["miou"]) for m in models])
    add("accuracy in %", [percent(m["accuracy"]) for m in models])
    add("calibration error (ECE) in %", [percent(m["ece"]) for m in models])
    add("mIoU against the teacher in %", [percent((m["agreement"] or {}).get("miou")) for m in models])
    add("temporal consistency in %", [percent(m["temporal_consistency"]["share"]) for m in models])
    for stage, title in (("total", "latency"), ("end_to_end", "end-to-end latency")):
        latencies = [m["latency_ms"].get(stage, {}) for m in models]
        texts = [" / ".join(plain(t.get(p)) for p in ("p50", "p95", "p99")) if t else "-" for t in latencies]
        add(f"{title} p50 / p95 / p99 in ms", texts)
    add("clouds per second", [plain(m["clouds_per_s"]) for m in models])
    add("million points per second", [plain(m["points_per_s"] and m["points_per_s"] / 1e6, 2) for m in models])
    add("runtime", [f"{m['runtime']} on {m['device']}" for m in models])
    return rows
