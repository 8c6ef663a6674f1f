# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""metrics.json: everything that a run measured, as plain numbers in a stable schema (docs/replay.md)."""

from __future__ import annotations

import dataclasses
import platform
import resource
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from srkd_ros import __version__
from srkd_ros.replay.notes import notes
from srkd_ros.replay.truth_ids import describe_ids

if TYPE_CHECKING:
    from srkd_ros.replay.models import Model
    from srkd_ros.replay.pipeline import Run
    from srkd_ros.replay.realtime import LiveResult

SCHEMA = "srkd_ros.replay/1"


def describe(run: Run) -> dict[str, Any]:
    """metrics.json; its schema is described in docs/replay.md."""
    s, options, source = run.state, run.options, run.source
    spans = [
        {"input": int(i), "path": str(source.inputs[int(i)].path), "first_ns": a, "last_ns": b}
        for i, (a, b) in s.spans.items()
    ]
    document = {
        "schema": SCHEMA,
        "version": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "mode": "realtime" if options.realtime else "offline",
        "complete": s.complete,
        "input": {
            "paths": [str(p) for p in options.inputs],
            "topic": source.inputs[0].topic,
            "frame_id": s.frame_id,
            "clouds": s.done,
            "points": s.points,
            "first_stamp_ns": s.first_stamp,
            "last_stamp_ns": s.last_stamp,
            "duration_s": duration(spans),
            "spans": spans,
            "selection": options.selection.to_dict(),
            "damage": source.damage,
            "unreadable_clouds": s.unreadable,
            "first_unreadable": s.first_unreadable or None,
            "backward_stamps": s.backward_stamps,
            "fields": s.fields,
            "clouds_without_intensity": s.without_intensity,
        },
        "truth": {
            "kind": run.truth.kind,
            "source": run.truth.source,
            "ids": run.truth.ids,
            "label_set": run.truth.label_set.name if run.truth.label_set else None,
            "label_set_raw_ids": sorted(run.truth.label_set.raw_ids) if run.truth.label_set else None,
            "matched_clouds": int(run.models[0].evaluation.counts[7]),
            "unmatched_clouds": s.without_truth if run.truth.kind != "none" else 0,
        },
        "teacher": identity(run.teacher) if run.teacher else None,
        "host": host(run.models[0].segmenter.device),
        "wall_s": s.seconds,
        "peak_memory_mb": peak_memory(run.models[0].segmenter.device),
        "live": live(run.live) if run.live else None,
        "models": [
            {
                **identity(m),
                **m.evaluation.to_dict(),
                "truth_ids": describe_ids(m.evaluation.truth_ids, run.truth.ids, m.labels, run.truth.label_set),
            }
            for m in run.models
        ],
    }
    return {**document, "notes": notes(document)}


def duration(spans: Iterable[Mapping[str, Any]]) -> float:
    """Seconds from the first to the last cloud of each recording, added up."""
    return sum(span["last_ns"] - span["first_ns"] for span in spans) * 1e-9


def live(results: Mapping[str, LiveResult]) -> dict[str, Any]:
    """The first model's numbers, and those of all by name."""
    models = {name: result.to_dict() for name, result in results.items()}
    return {**next(iter(models.values())), "models": models}


def identity(model: Model) -> dict[str, Any]:
    s, spec = model.segmenter, model.segmenter.manifest.preprocessing
    return {
        "name": model.name,
        "path": str(s.path),
        "sha256": s.model_hash,
        "runtime": s.runtime,
        "runtime_reason": s.runtime_reason,
        "device": str(s.device),
        "label_set": s.labels.name,
        "classes": list(s.labels.names),
        "colors": s.labels.colors.tolist(),
        "raw_ids": [list(c.raw_ids) for c in s.labels.classes],
        "voxel_size_m": spec.voxel_size,
        "min_range_m": spec.min_range,
        "max_range_m": spec.max_range,
        "features": list(spec.features),
        "training_statistics": dataclasses.asdict(s.manifest.statistics),
        "intensity_scale": s.resolved_intensity_scale,
        "segmented_topic": model.topic,
    }


def host(device: torch.device) -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def peak_memory(device: torch.device) -> dict[str, float | None]:
    """Peak resident memory of this process and peak memory on the GPU, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    gpu = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
    return {"process": resident, "gpu": gpu}
