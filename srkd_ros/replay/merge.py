# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""srkd-replay merge: the shards of a run, or runs of one model on several recordings, as one result."""

from __future__ import annotations

import copy
import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from srkd_ros.errors import DataError
from srkd_ros.labels import LabelClass, LabelSet
from srkd_ros.replay import results
from srkd_ros.replay.arguments import ExamplesFirst, OneLine
from srkd_ros.replay.compare import load
from srkd_ros.replay.evaluation import Evaluation
from srkd_ros.replay.frames import Frame
from srkd_ros.replay.labelled_bag import join
from srkd_ros.replay.report import write_report
from srkd_ros.replay.table import print_summary
from srkd_ros.student import InputStatistics

EXAMPLES = """\
examples:
  srkd-replay merge out/*_shard*of4 -o out
  srkd-replay merge results/monday results/tuesday -o results/week --json week.json

The metrics are those of the unsplit run, bit for bit: sums of integers. Latency, memory and time are of all runs.
The labelled bags of the runs are linked into one where they lie on the same file system, else left where they are.
"""


def main(arguments: Sequence[str]) -> int:
    p = OneLine("srkd-replay merge", description=EXAMPLES, formatter_class=ExamplesFirst, add_help=False)
    p.usage = "srkd-replay merge DIR [DIR ...] [-o DIR]"
    g = p.add_argument_group("options")
    g.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="folders of finished runs")
    g.add_argument("-o", "--output", type=Path, default=Path("results"), metavar="DIR", help="(results)")
    g.add_argument("--json", metavar="FILE", help="also write metrics.json there; - for standard output")
    g.add_argument("-h", "--help", action="help", help="this text")
    given = p.parse_args(arguments)
    console = Console(stderr=True) if given.json == "-" else Console()
    folder = merge(given.runs, given.output)
    document = load(folder)
    print_summary(document, folder, console)
    results.write_copy(document, given.json)
    return 0


def merge(runs: Sequence[Path], output: Path) -> Path:
    """Merge finished runs into output/<timestamp>_merged and return it. DataError if they do not belong together."""
    documents = [load(run) for run in runs]
    states = [results.Checkpoint(run).load()[0] for run in runs]
    _check(runs, documents)
    folder = results.new_folder(output, "_merged")
    merged = _inputs_together(documents)
    for i, model in enumerate(merged["models"]):
        evaluation = _evaluation(model)
        for state in states:
            evaluation.merge(state[i])
        model.update(evaluation.to_dict())
    matched = merged["models"][0]["clouds_with_truth"]
    merged["truth"]["matched_clouds"] = matched
    merged["truth"]["unmatched_clouds"] = sum(d["truth"]["unmatched_clouds"] for d in documents)
    results.write_config(folder, {"merged": [str(run.resolve()) for run in runs]})
    _join_tables(runs, folder)
    _join_bags(runs, folder)
    results.write_json(folder / "metrics.json", merged)
    write_report(folder, merged, _frames(runs, folder))
    results.link_latest(folder)
    return folder


def _check(runs: Sequence[Path], documents: Sequence[dict[str, Any]]) -> None:
    first, parts = documents[0], [_part(d) for d in documents]
    hashes = [m["sha256"] for m in first["models"]]
    for i, (run, document) in enumerate(zip(runs, documents, strict=True)):
        if [m["sha256"] for m in document["models"]] != hashes:
            raise DataError(f"{run}: other models than in {runs[0]}: results of different models do not add up")
        if document["mode"] != first["mode"]:
            raise DataError(f"{run}: {document['mode']}, while {runs[0]} is {first['mode']}")
        if not document["complete"]:
            raise DataError(f"{run}: was interrupted: finish it with --resume first")
        if parts.index(parts[i]) != i:
            raise DataError(f"{run}: the same part of the same input as {runs[parts.index(parts[i])]}: it counts once")


def _part(document: dict[str, Any]) -> tuple[str, str]:
    return str(document["input"]["paths"]), str(document["input"]["selection"])


def _evaluation(model: dict[str, Any]) -> Evaluation:
    classes = zip(model["classes"], model["colors"], strict=True)
    labels = LabelSet(model["label_set"], tuple(LabelClass(n, (c[0], c[1], c[2]), ()) for n, c in classes))
    return Evaluation(labels, InputStatistics(**model["training_statistics"]))


def _inputs_together(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    merged = copy.deepcopy(documents[0])
    inputs = [d["input"] for d in documents]
    given = merged["input"]
    given["paths"] = list(dict.fromkeys(path for i in inputs for path in i["paths"]))
    given["topic"] = ", ".join(dict.fromkeys(i["topic"] for i in inputs))
    for key in ("clouds", "points", "unreadable_clouds", "backward_stamps"):
        given[key] = sum(i[key] for i in inputs)
    given["damage"] = list(dict.fromkeys(line for i in inputs for line in i["damage"]))
    given["first_unreadable"] = next((i["first_unreadable"] for i in inputs if i["first_unreadable"]), None)
    first = [i["first_stamp_ns"] for i in inputs if i["first_stamp_ns"] is not None]
    last = [i["last_stamp_ns"] for i in inputs if i["last_stamp_ns"] is not None]
    given["first_stamp_ns"], given["last_stamp_ns"] = min(first, default=None), max(last, default=None)
    given["duration_s"] = sum(i["duration_s"] for i in inputs)
    given["selection"] = {**given["selection"], "shard": "0/1"}
    merged["wall_s"] = sum(d["wall_s"] for d in documents)
    memory = [d["peak_memory_mb"] for d in documents]
    merged["peak_memory_mb"] = {k: max((m[k] for m in memory if m[k]), default=None) for k in ("process", "gpu")}
    return merged


def _join_tables(runs: Sequence[Path], folder: Path) -> None:
    with results.replacing(folder / "clouds.csv") as file:
        writer = csv.DictWriter(file, results.CLOUD_COLUMNS)
        writer.writeheader()
        for run in runs:
            writer.writerows(results.read_table(run / "clouds.csv"))


def _join_bags(runs: Sequence[Path], folder: Path) -> None:
    """Hard-link the parts of all labelled bags into one; nothing is copied."""
    parts: list[dict[str, Any]] = []
    bag = folder / "labelled"
    try:
        for run in runs:
            for part in results.Checkpoint(run).load()[1]["parts"]:
                name = part["relative_file_paths"][0]
                bag.mkdir(exist_ok=True)
                new = f"labelled_{len(parts)}.mcap"
                (bag / new).hardlink_to(run / "labelled" / name)
                parts.append(
                    {**part, "relative_file_paths": [new], "files": [{**f, "path": new} for f in part["files"]]}
                )
    except OSError:  # another file system, or a bag that was moved away
        shutil.rmtree(bag, ignore_errors=True)
        return
    if parts:
        parts.sort(key=lambda p: p["starting_time"]["nanoseconds_since_epoch"])
        with results.replacing(bag / "metadata.yaml") as file:
            yaml.safe_dump({"rosbag2_bagfile_information": join(parts)}, file, sort_keys=False)


def _frames(runs: Sequence[Path], folder: Path) -> list[Frame]:
    """The best and the worst frame of all runs, from the pictures that the runs drew."""
    frames = []
    for run in runs:
        index = run / "pictures" / "index.json"
        if index.is_file():
            frames += [Frame.from_dict(entry, index.parent) for entry in results.read_json(index)]
    frames = [f for f in frames if f.score is not None]
    best = max((f for f in frames if f.title == "best"), key=lambda f: f.score or 0.0, default=None)
    worst = min((f for f in frames if f.title == "worst"), key=lambda f: f.score or 0.0, default=None)
    return [f for f in (best, worst) if f is not None]
