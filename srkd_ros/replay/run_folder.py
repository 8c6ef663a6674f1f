# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""A run's folder: a new one, that of an interrupted run to go on with, and none of a run that came to nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from srkd_ros import __version__
from srkd_ros.replay import results
from srkd_ros.replay.models import Model, Options
from srkd_ros.replay.source import Source


@dataclass
class Progressed:
    """Where a run stands; JSON-able, kept in the checkpoint."""

    next_index: int = 0
    done: int = 0
    points: int = 0
    unreadable: int = 0
    without_truth: int = 0
    without_intensity: int = 0  # clouds with points, none of which has an intensity
    fields: list[str] = field(default_factory=list)  # of the first cloud with points
    first_unreadable: str = ""
    first_stamp: int | None = None
    last_stamp: int | None = None
    backward_stamps: int = 0
    spans: dict[str, list[int]] = field(default_factory=dict)  # input -> elapsed ns of its first and last cloud
    frame_id: str = ""
    dropped: int = 0
    seconds: float = 0.0
    complete: bool = False
    parts: list[dict[str, Any]] = field(default_factory=list)


def begin(
    options: Options, source: Source, models: list[Model], teacher: Model | None, console: Console
) -> tuple[Path, Progressed]:
    """A new run's folder with its config, or, with --resume, that of the same run interrupted before.

    Where --resume finds none to go on with, the console says why.
    """
    config = {
        "version": __version__,
        "inputs": [{"path": str(i.path.resolve()), "topic": i.topic, "clouds": i.count} for i in source.inputs],
        "models": [{"path": str(m.segmenter.path.resolve()), "sha256": m.segmenter.model_hash} for m in models],
        "teacher": {"path": str(teacher.segmenter.path), "sha256": teacher.segmenter.model_hash} if teacher else None,
        "truth": options.truth,
        "truth_ids": options.truth_ids,
        "selection": options.selection.to_dict(),
        "mode": "realtime" if options.realtime else "offline",
        "rate": options.rate if options.realtime else None,
        "device": options.device,
        "runtime": options.runtime,
        "precision": options.precision,
        "intensity_scale": options.intensity_scale,
        "intensity_field": options.intensity_field,
        "bag": options.bag,
    }
    if options.resume:
        interrupted, reason = results.unfinished(options.output, config)
        if interrupted:
            arrays, progress = results.Checkpoint(interrupted).load()
            for model, state in zip(models, arrays, strict=True):
                model.evaluation.merge(state)
            return interrupted, Progressed(**progress)
        text = f"[yellow]note:[/] --resume: {escape(reason)}: a new run begins"
        console.print(text, highlight=False, soft_wrap=True)
    shard, shards = options.selection.shard
    folder = results.new_folder(options.output, f"_shard{shard}of{shards}" if shards > 1 else "")
    results.write_config(folder, config)
    return folder, Progressed()


@contextmanager
def removed_if_nothing_was_evaluated(folder: Path, state: Progressed) -> Iterator[None]:
    """Leaves no folder of a run that fails before its first result, unless the error sends the reader there."""
    try:
        yield
    except BaseException as error:
        if state.done == state.unreadable and str(folder) not in str(error):
            shutil.rmtree(folder, ignore_errors=True)
            error.nothing_kept = True  # type: ignore[attr-defined]
        raise
