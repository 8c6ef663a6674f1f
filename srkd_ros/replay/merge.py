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
from srkd_ros.replay.document import duration
from srkd_ros.replay.evaluation import Evaluation
from srkd_ros.replay.frames import Frame
from srkd_ros.replay.labelled_bag import join
from srkd_ros.replay.notes import notes
from srkd_ros.replay.partition import Finished, read_config, recordings
from srkd_ros.replay.report import write_report
from srkd_ros.replay.table import print_summary
from srkd_ros.replay.truth_ids import describe_ids
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
    results.check_target("--json", given.json)
    folder = merge(given.runs, given.output)
    document = load(folder)
    print_summary(document, folder, console)
    results.write_copy(document, given.json)
    return 0


def merge(runs: Sequence[Path], output: Path) -> Path:
    """Merge finished runs into output/<timestamp>_merged and return it. DataError if they do not belong together."""
    finished = [Finished(run, load(run), read_config(run)) for run in runs]
    for run in finished:
        if not run.document["complete"]:
            raise DataError(f"{run.folder}: was interrupted: finish it with --resume first")
        if "notes" not in run.document:
            raise DataError(f"{run.folder}: made by an earlier version, which counted less: run it again")
    groups = recordings(finished)
    runs = [run.folder for group in groups for run in group]
    documents = [run.document for group in groups for run in group]
    states = [results.Checkpoint(run).load()[0] for run in runs]
    merged = _inputs_together([[run.document["input"] for run in group] for group in groups], documents)
    given = merged["input"]
    if given["clouds"] and given["unreadable_clouds"] == given["clouds"]:
        raise DataError(f"{runs[0]}: no cloud of any shard could be evaluated; first: {given['first_unreadable']}")
    for i, model in enumerate(merged["models"]):
        evaluation = _evaluation(model)
        for state in states:
            evaluation.merge(state[i])
        ids = describe_ids(evaluation.truth_ids, merged["truth"]["ids"], evaluation.labels)
        model.update(evaluation.to_dict(), truth_ids=ids)
        if any(d["models"][i]["intensity_scale"] != model["intensity_scale"] for d in documents):
            model["intensity_scale"] = None  # "auto" found one for each recording
    matched = merged["models"][0]["clouds_with_truth"]
    merged["truth"]["matched_clouds"] = matched
    merged["truth"]["unmatched_clouds"] = sum(d["truth"]["unmatched_clouds"] for d in documents)
    merged["notes"] = notes(merged)
    folder = results.new_folder(output, "_merged")
    results.write_config(folder, {"merged": [str(run.resolve()) for run in runs]})
    _join_tables(runs, folder)
    _join_bags(runs, folder)
    results.write_json(folder / "metrics.json", merged)
    write_report(folder, merged, _frames(runs, folder))
    results.link_latest(folder)
    return folder


def _evaluation(model: dict[str, Any]) -> Evaluation:
    classes = zip(model["classes"], model["colors"], model["raw_ids"], strict=True)
    labels = LabelSet(model["label_set"], tuple(LabelClass(n, (c[0], c[1], c[2]), tuple(r)) for n, c, r in classes))
    return Evaluation(labels, InputStatistics(**model["training_statistics"]))


def _inputs_together(groups: Sequence[Sequence[dict[str, Any]]], documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """metrics.json but for the models. `groups`: `input` of each run, by recording."""
    merged = copy.deepcopy(documents[0])
    inputs = [given for group in groups for given in group]
    given = merged["input"]
    given["paths"] = list(dict.fromkeys(path for i in inputs for path in i["paths"]))
    given["topic"] = ", ".join(dict.fromkeys(i["topic"] for i in inputs))
    for key in ("clouds", "points", "unreadable_clouds", "backward_stamps", "clouds_without_intensity"):
        given[key] = sum(i[key] for i in inputs)
    given["damage"] = list(dict.fromkeys(line for i in inputs for line in i["damage"]))
    given["first_unreadable"] = next((i["first_unreadable"] for i in inputs if i["first_unreadable"]), None)
    given["fields"] = next((i["fields"] for i in inputs if i["fields"]), [])
    filled = [f for group in groups if (f := [i for i in group if i["first_stamp_ns"] is not None])]
    given["first_stamp_ns"] = min((group[0]["first_stamp_ns"] for group in filled), default=None)
    given["last_stamp_ns"] = max((group[-1]["last_stamp_ns"] for group in filled), default=None)
    given["spans"] = [span for group in groups for span in _spans(group)]
    given["duration_s"] = duration(given["spans"])
    given["selection"] = {**given["selection"], "shard": "0/1"}
    merged["wall_s"] = sum(d["wall_s"] for d in documents)
    memory = [d["peak_memory_mb"] for d in documents]
    merged["peak_memory_mb"] = {k: max((m[k] for m in memory if m[k]), default=None) for k in ("process", "gpu")}
    return merged


def _spans(shards: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """From the first to the last cloud of each input of one recording's shards."""
    spans: dict[int, dict[str, Any]] = {}
    for span in (span for shard in shards for span in shard["spans"]):
        known = spans.setdefault(span["input"], dict(span))
        known["last_ns"] = max(known["last_ns"], span["last_ns"])
    return list(spans.values())


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
