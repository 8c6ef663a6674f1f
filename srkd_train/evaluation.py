# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""`srkd-train eval`: students (and a teacher beside them) against the ground truth of a dataset."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from srkd_ros.errors import ConfigError, DataError
from srkd_ros.metrics import Confusion, summary
from srkd_ros.segmenter import Segmenter
from srkd_ros.student import unique_names
from srkd_train.datasets import ScanDataset, open_dataset
from srkd_train.loading import evenly_spread, intensity_scale, say_skipped
from srkd_train.teacher import check_labels


@dataclass
class EvaluationOptions:
    """What to evaluate on, and how."""

    kind: str = "semantic_kitti"
    split: str = "val"
    labels: str = ""  # label set of the data's raw ids; empty: the dataset's own
    scans: int = 0  # evenly spread; 0 all
    tta: bool = False  # test-time augmentation beside the single pass
    device: str = "auto"
    runtime: str = "auto"
    precision: str = "auto"  # of matrix products in torch, as in Segmenter.load
    picture: Path | None = None  # of the confusion matrices
    on_corrupt: Literal["refuse", "skip"] = "refuse"  # a scan that cannot be read: stop, or name, count and skip it


def evaluate(models: Sequence[Path], data: Path, options: EvaluationOptions, console: Console) -> dict[str, Any]:
    """Metrics of each model, as plain numbers: {"data": ..., "models": [{"name", "model", "mode", "miou", ...}]}.

    The models' classes have to be those of the dataset (or of `labels`), or other unions of the raw ids that it names.
    DataError or ModelError in one line if something cannot be read or does not fit. With `on_corrupt` "skip" scans that
    cannot be read are left out for all models, and counted as `skipped` of `data`, whose `scans` are the others.
    """
    segmenters = [Segmenter.load(m, options.runtime, options.device, precision=options.precision) for m in models]
    dataset = _open(data, options, segmenters)
    chosen = evenly_spread(len(dataset), min(options.scans or len(dataset), len(dataset)))
    results = []
    corrupt: set[int] | None = set() if options.on_corrupt == "skip" else None
    for name, segmenter in zip(unique_names(models), segmenters, strict=True):
        for mode in ("single pass", "tta") if options.tta else ("single pass",):
            results.append({"name": name, **_evaluate_one(segmenter, dataset, chosen, mode, console, corrupt)})
    skipped = len(corrupt or ())
    document = {
        "data": {
            "path": str(data),
            "kind": options.kind,
            "split": options.split,
            "scans": len(chosen) - skipped,
            "skipped": skipped,
        },
        "models": results,
    }
    print_tables(document, dataset.labels.names, console)
    if options.picture:
        confusion_picture(results, options.picture)
        console.print(f"confusion matrix: {options.picture}", highlight=False, soft_wrap=True)
    return document


def _open(data: Path, options: EvaluationOptions, segmenters: Sequence[Segmenter]) -> ScanDataset:
    """The dataset in the models' classes; ConfigError if it has others."""
    if options.kind == "bag":
        raise ConfigError("--kind bag: bags hold no labels to measure against; srkd-replay BAG --truth FOLDER does it")
    dataset = open_dataset(options.kind, data, options.split, labels=options.labels or None)
    wanted = segmenters[0].labels
    if not options.labels and wanted.names != dataset.labels.names and wanted.raw_ids <= dataset.labels.raw_ids:
        # Made of the dataset's classes. The raw ids of another dataset are others, or mean something else.
        dataset = open_dataset(options.kind, data, options.split, labels=wanted)
    cure = "take a model of these classes, or name the label set of the data's raw ids with --labels"
    for segmenter in segmenters:
        check_labels(segmenter.manifest, dataset.labels, str(segmenter.path), cure)
    return dataset


def _evaluate_one(
    segmenter: Segmenter,
    dataset: ScanDataset,
    chosen: np.ndarray,
    mode: str,
    console: Console,
    corrupt: set[int] | None,
) -> dict[str, Any]:
    """`corrupt`: scans known to be unreadable, and added to; None refuses them."""
    confusion = Confusion(len(dataset.labels))
    label = f"{segmenter.path.name}, {mode}"
    for index in track(chosen.tolist(), description=label, console=console, transient=True):
        if corrupt and index in corrupt:
            continue
        try:
            scan = dataset[index]
        except DataError as error:
            if corrupt is None:
                raise
            corrupt.add(index)
            say_skipped(len(corrupt), error)
            continue
        if scan.labels is None:
            raise DataError(f"{scan.name}: has no labels to evaluate against; choose a labelled split")
        segmenter.intensity_scale = intensity_scale(dataset, scan)
        if mode == "tta":
            from srkd_train.tta import predict  # type: ignore[import-not-found, unused-ignore]

            prediction = predict(segmenter, scan.xyz, scan.intensity, scan.extra)[0]
        else:
            prediction = segmenter(scan.xyz, scan.intensity, scan.extra).labels
        confusion.add(scan.labels, prediction, np.linalg.norm(scan.xyz, axis=1))
    if corrupt and len(corrupt) == len(chosen):
        raise DataError(f"not one of {len(chosen)} scans of the split can be read; copy the dataset again")
    if not confusion.counts.sum():
        raise DataError("not one labelled point in the split; choose another, or other labels")
    return {
        "model": str(segmenter.path),
        "mode": mode,
        "runtime": segmenter.runtime,
        "device": str(segmenter.device),
        "precision": segmenter.precision,
        "parameters": segmenter.manifest.provenance.get("parameters"),
        **summary(confusion, dataset.labels.names),
    }


def print_tables(document: dict[str, Any], names: Sequence[str], console: Console) -> None:
    """IoU by class and mIoU by range, a column a model."""
    results = document["models"]
    titles = [
        (r["name"] + ("" if r["mode"] == "single pass" else f"/{r['mode']}")).replace("/", "/\n") for r in results
    ]
    table = Table(title=f"IoU in percent, {document['data']['scans']} scans", title_justify="left")
    table.add_column("class", no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", overflow="fold")
    table.add_column("points", justify="right", no_wrap=True)
    for name in names:
        points = results[0]["per_class"][name]["points"]
        if points:
            table.add_row(name, *(_percent(r["per_class"][name]["iou"]) for r in results), f"{points:,}")
    table.add_section()
    table.add_row("[bold]mIoU", *(f"[bold]{_percent(r['miou'])}" for r in results), f"{results[0]['points']:,}")
    table.add_row("accuracy", *(_percent(r["accuracy"]) for r in results), "")
    table.add_section()
    for i, bin_ in enumerate(results[0]["by_range"]):
        end = "and more" if bin_["to_m"] is None else f"to {bin_['to_m']:g}"
        row = f"mIoU {bin_['from_m']:g} {end} m"
        table.add_row(row, *(_percent(r["by_range"][i]["miou"]) for r in results), f"{bin_['points']:,}")
    console.print(table)
    if skipped := document["data"]["skipped"]:
        total = document["data"]["scans"] + skipped
        console.print(f"{skipped} of {total} scans skipped: they cannot be read", highlight=False)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def confusion_picture(results: Sequence[dict[str, Any]], path: Path) -> None:
    """A picture of the models' confusion matrices side by side: what the points of each class are taken for.

    A row is a class of the truth and adds up to 100 percent; a column is a class that is in the truth or that one of
    the models predicts. `results` are those of `evaluate`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    counts = [np.array(r["confusion"]["counts"], np.float64) for r in results]
    rows = np.flatnonzero(counts[0].sum(1))
    columns = np.union1d(rows, np.flatnonzero(np.sum(counts, axis=(0, 1))))
    names = np.array(results[0]["confusion"]["columns"])
    across = min(len(results), 2)
    down = -(-len(results) // across)
    width, height = max(0.42 * len(columns), 3.0), max(0.42 * len(rows), 1.2)  # inches of a matrix
    size = (across * (width + 0.3) + 1.8, down * (height + 1.8) + 0.3)
    figure, grid = plt.subplots(down, across, figsize=size, layout="constrained", squeeze=False)
    for axes in grid.flat[len(results) :]:
        axes.axis("off")
    for axes, result, matrix in zip(grid.flat, results, counts, strict=False):
        _matrix(axes, matrix[np.ix_(rows, columns)] / matrix[rows].sum(1, keepdims=True))
        axes.set_xticks(range(len(columns)), names[columns], rotation=60, ha="right", rotation_mode="anchor")
        axes.set_xlabel("prediction")
        axes.set_yticks([])
        name = result["name"] + ("" if result["mode"] == "single pass" else f", {result['mode']}")
        name = textwrap.fill(name, int(12 * width))  # letters of 1/12 inch
        axes.set_title(f"{name}\nmIoU {_percent(result['miou'])}", fontsize=10)
    for axes in grid[:, 0]:
        axes.set_yticks(range(len(rows)), names[rows])
        axes.set_ylabel("truth")
    figure.suptitle("share of a class's points in percent", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix or '.png'}")
    figure.savefig(temporary, dpi=130)
    plt.close(figure)
    os.replace(temporary, path)


def _matrix(axes: Any, share: np.ndarray) -> None:
    """Shares [rows, columns] in shades of blue, those of half a percent and more as numbers."""
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j in np.argwhere(share >= 0.005):
        color = "white" if share[i, j] > 0.5 else "black"
        axes.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", fontsize=8, color=color)


def write_json(document: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    os.replace(temporary, path)
