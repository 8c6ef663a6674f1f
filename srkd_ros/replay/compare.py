# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""srkd-replay compare: what changed between two runs, and whether it is within given bounds. For a team's own CI."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from srkd_ros.errors import DataError
from srkd_ros.replay.arguments import ExamplesFirst, OneLine, bound
from srkd_ros.replay.document import SCHEMA
from srkd_ros.replay.table import percent, plain

EXAMPLES = """\
examples:
  srkd-replay compare results/before results/latest
  srkd-replay compare before/metrics.json after/metrics.json --max-miou-drop 0.5 --max-latency-increase 20

exit status: 0 within all bounds given, 1 past one of them, 2 for wrong input
"""


def main(arguments: Sequence[str]) -> int:
    p = OneLine("srkd-replay compare", description=EXAMPLES, formatter_class=ExamplesFirst, add_help=False)
    p.usage = "srkd-replay compare BEFORE AFTER [bounds]"
    g = p.add_argument_group("runs")
    g.add_argument("before", type=Path, metavar="BEFORE", help="metrics.json, or the folder that holds it")
    g.add_argument("after", type=Path, metavar="AFTER")
    g.add_argument("--model", metavar="NAME", help="of several models in a file: this one (the first)")
    g = p.add_argument_group("bounds (exit status 1 past them)")
    g.add_argument("--max-miou-drop", type=bound, metavar="X", help="percentage points of mIoU")
    g.add_argument("--max-class-drop", type=bound, metavar="X", help="percentage points of any class's IoU")
    g.add_argument("--max-ece-increase", type=bound, metavar="X", help="percentage points of calibration error")
    g.add_argument("--max-latency-increase", type=bound, metavar="X", help="percent of the p95 of the total latency")
    g = p.add_argument_group("other")
    g.add_argument("--json", action="store_true", help="print the differences as JSON instead of a table")
    g.add_argument("-h", "--help", action="help", help="this text")
    given = p.parse_args(arguments)

    before, after = load(given.before), load(given.after)
    differences = compare(
        _model(before, given.model, given.before),
        _model(after, given.model, given.after),
        same_truth=_truth(before) == _truth(after),
        same_teacher=_teacher(before) == _teacher(after),
    )
    _check_bounds(differences, given)
    broken, notes = past_bounds(differences, given), input_changes(before, after)
    if given.json:
        print(json.dumps({"differences": differences, "past_bounds": broken, "notes": notes}, indent=2))
    else:
        _print(differences, broken, notes)
    return 1 if broken else 0


def load(path: Path) -> dict[str, Any]:
    """A metrics.json; DataError in one line if it is none, or of another schema."""
    file = path / "metrics.json" if path.is_dir() else path
    try:
        document = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a metrics.json of srkd-replay ({error})") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{file}: schema {schema!r}, this program reads {SCHEMA!r}")
    return document


def _model(document: dict[str, Any], name: str | None, path: Path) -> dict[str, Any]:
    models = document["models"]
    if name is None:
        return models[0]
    found = [m for m in models if m["name"] == name]
    if not found:
        raise DataError(f"{path}: no model {name!r}; it has {', '.join(m['name'] for m in models)}")
    return found[0]


def _truth(document: dict[str, Any]) -> str:
    return document["truth"]["kind"]


def _teacher(document: dict[str, Any]) -> str | None:
    return (document["teacher"] or {}).get("sha256")


def compare(
    before: dict[str, Any], after: dict[str, Any], same_truth: bool = True, same_teacher: bool = True
) -> list[dict[str, Any]]:
    """One entry for each number that both models have: what, unit ("%", "ms", "1/s"), before, after.

    Scores against a truth are `miou`, `iou/CLASS`, `accuracy`, `ece`, those against a teacher `agreement/miou` ...;
    they are left out where the truths, or the teachers, are not the same.
    """
    a, b = _numbers(before), _numbers(after)
    left_out = (() if same_truth else ("miou", "iou/", "accuracy", "ece")) + (() if same_teacher else ("agreement/",))
    both = [k for k in a if k in b and not k.startswith(left_out)]
    return [{"what": k, "unit": a[k][1], "before": a[k][0], "after": b[k][0]} for k in both]


def _numbers(model: dict[str, Any]) -> dict[str, tuple[float, str]]:
    latency = {s: t["p95"] for s, t in model["latency_ms"].items() if s in ("total", "end_to_end")}
    numbers: dict[str, tuple[float | None, str]] = {
        **_scores(model),
        **{f"agreement/{name}": number for name, number in _scores(model["agreement"] or {}).items()},
        "ece": (model["ece"], "%"),
        "temporal_consistency": (model["temporal_consistency"]["share"], "%"),
        **{f"latency_p95/{stage}": (value, "ms") for stage, value in latency.items()},
        "clouds_per_s": (model["clouds_per_s"], "1/s"),
    }
    return {k: (v, unit) for k, (v, unit) in numbers.items() if v is not None}


def _scores(scored: dict[str, Any]) -> dict[str, tuple[float | None, str]]:
    return {
        "miou": (scored.get("miou"), "%"),
        **{f"iou/{name}": (c["iou"], "%") for name, c in (scored.get("per_class") or {}).items()},
        "accuracy": (scored.get("accuracy"), "%"),
    }


def _against(differences: list[dict[str, Any]]) -> str:
    """What the bounds on mIoU and IoU are for: "" the truth, or "agreement/" where there is a teacher alone."""
    return "" if any(d["what"] == "miou" for d in differences) else "agreement/"


def _check_bounds(differences: list[dict[str, Any]], bounds: argparse.Namespace) -> None:
    """A bound on what one of the runs did not measure must not pass for kept."""
    measured, against = tuple(d["what"] for d in differences), _against(differences)
    for option, prefixes in (
        ("miou-drop", ("miou", f"{against}miou")),
        ("class-drop", ("iou/", f"{against}iou/")),
        ("ece-increase", ("ece",)),
    ):
        given = getattr(bounds, f"max_{option.replace('-', '_')}") is not None
        if given and not any(what.startswith(prefixes) for what in measured):
            name = prefixes[0].strip("/")
            raise DataError(f"--max-{option}: one of the runs has no {name} against the same --truth kind or --teacher")
    if bounds.max_latency_increase is not None and not any(what.startswith("latency") for what in measured):
        raise DataError("--max-latency-increase: the runs have no latency in common (offline and realtime differ)")


def past_bounds(differences: list[dict[str, Any]], bounds: argparse.Namespace) -> list[str]:
    """A line for each bound that is exceeded."""
    lines, against = [], _against(differences)
    of, iou = " against the teacher" if against else "", f"{against}iou/"
    for d in differences:
        change, what = d["after"] - d["before"], d["what"]
        name = what.removeprefix(iou).replace("{", "{{").replace("}", "}}")
        checks = [
            (what == f"{against}miou", bounds.max_miou_drop, -100 * change, f"mIoU{of} fell by {{:.2f}} points"),
            (what.startswith(iou), bounds.max_class_drop, -100 * change, f"IoU of {name}{of} fell by {{:.2f}} points"),
            (what == "ece", bounds.max_ece_increase, 100 * change, "the calibration error rose by {:.2f} points"),
            (
                what[:11] == "latency_p95",
                bounds.max_latency_increase,
                100 * change / d["before"] if d["before"] else 0.0,
                f"the p95 of the {what[12:]} latency rose by {{:.1f}} %",
            ),
        ]
        lines += [
            f"{text.format(value)}, allowed are {bound:g}"
            for applies, bound, value, text in checks
            if applies and bound is not None and value > bound
        ]
    return lines


def input_changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What makes the two runs not comparable."""
    a, b = before["input"], after["input"]
    keys = ("paths", "topic", "clouds", "points", "selection")
    lines = [f"input {k}: {a[k]} -> {b[k]}" for k in keys if a[k] != b[k]]
    if _truth(before) != _truth(after):
        lines.append(f"truth: {_truth(before)} -> {_truth(after)}: the scores against it do not compare, left out")
    if _teacher(before) != _teacher(after):
        lines.append("the teachers differ: agreements do not compare, left out")
    if before["host"] != after["host"]:
        lines.append("the machines differ: latencies do not compare")
    return lines


def _print(differences: list[dict[str, Any]], broken: list[str], changes: list[str]) -> None:
    console = Console()
    table = Table()
    for column in ("", "before", "after", "change"):
        table.add_column(column, justify="right" if column else "left")
    for d in differences:
        change = d["after"] - d["before"]
        if d["unit"] == "%":
            cells, delta = [percent(d["before"], 2), percent(d["after"], 2)], f"{100 * change:+.2f}"
        else:
            cells, delta = [plain(d["before"], 2), plain(d["after"], 2)], f"{change:+.2f}"
        worse = change < 0 if not d["what"].startswith(("ece", "latency")) else change > 0
        style = "" if float(delta) == 0 else "red" if worse else "green"
        table.add_row(escape(f"{d['what']} in {d['unit']}"), *cells, f"[{style}]{delta}[/]" if style else delta)
    console.print(table)
    for line in changes:
        console.print(f"[yellow]note:[/] {escape(line)}", highlight=False, soft_wrap=True)
    for line in broken:
        console.print(f"[red]past the bound:[/] {escape(line)}", highlight=False, soft_wrap=True)
