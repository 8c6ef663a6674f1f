# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The node's diagnostics: model, clouds, latency, input. Each says in one line what mends it."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from srkd_ros.node.drift import Finding, findings
from srkd_ros.node.stream import duration
from srkd_ros.node.tally import Tally

if TYPE_CHECKING:
    from srkd_ros.node.work import Work  # imports torch, which takes seconds

SILENCE = 2.0  # seconds without a cloud until it is a warning
LOSS_SHARE = 0.05


@dataclass(frozen=True)
class Surroundings:
    """What the node knows of the graph at this moment."""

    topic: str
    publishers: list[str]
    candidates: list[str]  # other topics that carry a PointCloud2
    problem: str  # an incompatible publisher
    advice: str  # what to do against loss, for the middleware in use
    reliable: bool = False  # whether what was sent is sent again until it arrives


def model_status(work: Work | None, state: str, refused: str) -> DiagnosticStatus:
    """What runs, where, and how much memory it takes.

    `refused`: why the last model asked for was not taken, or why the node could not be configured.
    """
    values: dict[str, object] = {"state": state}
    level = DiagnosticStatus.WARN if refused else DiagnosticStatus.OK
    if refused:
        values["last refused model"] = refused
    if work is None:
        return _status("model", level, f"no model loaded ({state})" + (f": {refused}" if refused else ""), values)
    segmenter = work.segmenter
    values |= {
        "file": segmenter.path,
        "sha256": segmenter.model_hash,
        "runtime": segmenter.runtime,
        "runtime chosen because": segmenter.runtime_reason,
        "device": segmenter.device,
        "label set": f"{segmenter.labels.name} ({len(segmenter.labels)} classes)",
        "process memory [MB]": f"{_resident_megabytes():.0f}",
    }
    if segmenter.device.type == "cuda":
        torch = sys.modules["torch"]
        values["GPU memory allocated [MB]"] = f"{torch.cuda.memory_allocated(segmenter.device) / 1e6:.0f}"
        values["GPU memory reserved [MB]"] = f"{torch.cuda.memory_reserved(segmenter.device) / 1e6:.0f}"
    message = f"{segmenter.path.name} ({segmenter.model_hash[:12]}) on {segmenter.runtime}, {segmenter.device}"
    if refused:
        message += f"; another was refused: {refused}"
    return _status("model", level, message, values)


def cloud_status(tally: Tally, around: Surroundings, now: float) -> DiagnosticStatus:
    """Rates in and out, drops and losses."""
    received, published = tally.received.per_second(now), tally.published.per_second(now)
    loss = tally.loss.result()
    values: dict[str, object] = {
        "topic": around.topic,
        "publishers": ", ".join(around.publishers) or "none",
        "rate in [Hz]": f"{received:.1f}",
        "rate out [Hz]": f"{published:.1f}",
        "received": tally.received.total,
        "published": tally.published.total,
        "dropped for a newer cloud": tally.replaced.total,
        "not labelled for want of a subscriber": tally.idle,
        "malformed": tally.refused.total,
        "failed": tally.failed.total,
        "lost before this node, by the stamps (latest 100)": (
            "unknown" if loss is None else f"{loss.lost} of {loss.expected}" + ", or pauses" * around.reliable
        ),
        "lost before this node, as the middleware says": tally.lost.total,
        "stream's period [ms]": "unknown" if loss is None else f"{loss.period * 1e3:.1f}",
        "points": tally.points,
        "voxels": tally.voxels,
        "unlabelled points": f"{tally.unlabelled:.1%}",
        "last error": tally.last_error,
    }
    level, message = DiagnosticStatus.OK, f"{received:.1f} Hz in, {published:.1f} Hz out"
    silent = now - (tally.received.last or tally.since)
    if around.problem:
        level, message = DiagnosticStatus.ERROR, around.problem
    elif silent > SILENCE:
        level, message = DiagnosticStatus.WARN, silence(around, silent)
    elif tally.failed.per_second(now) > 0:
        level, message = DiagnosticStatus.ERROR, tally.last_error
    elif tally.refused.per_second(now) > 0:
        level, message = DiagnosticStatus.WARN, tally.last_error
    elif tally.missing(now, around.reliable) > LOSS_SHARE:
        level, message = DiagnosticStatus.WARN, lossy(tally.missing(now, around.reliable), around.advice)
    elif tally.replaced.per_second(now) > 0.1 * received > 0:
        level = DiagnosticStatus.WARN
        message += ": slower than the sensor, older clouds are dropped; a smaller student or a GPU keeps up"
    return _status("clouds", level, message, values)


def silence(around: Surroundings, seconds: float) -> str:
    """Why no cloud comes, and what to do."""
    if around.publishers:
        return f"no cloud on {around.topic} for {duration(seconds)}, though {', '.join(around.publishers)} publishes it"
    others = f"clouds are on {', '.join(around.candidates)}: remap with -r points:=TOPIC" if around.candidates else ""
    return f"nobody publishes {around.topic}; {others or 'no topic here carries clouds (same ROS_DOMAIN_ID?)'}"


def lossy(share: float, advice: str) -> str:
    """What to do about clouds that were sent and never arrive."""
    return f"{share:.0%} of the clouds never arrive: {advice}"


def latency_status(tally: Tally) -> DiagnosticStatus:
    """Percentiles by stage; from the stamp only where both clocks are one."""
    percentiles = tally.latencies.percentiles()
    values: dict[str, object] = {
        f"{stage} p50/p95/p99 [ms]": " / ".join(f"{p:.1f}" for p in values) for stage, values in percentiles.items()
    }
    if tally.stamp_note:
        values["from the stamp"] = f"unknown: {tally.stamp_note}"
    if "total" not in percentiles:
        return _status("latency", DiagnosticStatus.OK, "nothing labelled yet", values)
    p50, p95, p99 = percentiles["total"]
    message = f"{p50:.0f} / {p95:.0f} / {p99:.0f} ms (p50/p95/p99) from arrival to output"
    level = DiagnosticStatus.OK
    if tally.stamp_note and tally.stamp_note != "the clouds carry no stamp":
        level, message = DiagnosticStatus.WARN, f"{message}; {tally.stamp_note}"
    return _status("latency", level, message, values)


def input_findings(tally: Tally, work: Work) -> list[Finding]:
    """What differs from the training data; empty before the first labelled cloud."""
    live = work.monitor.summary()
    if live is None:
        return []
    scale = work.segmenter.resolved_intensity_scale
    return findings(live, work.segmenter.manifest, scale, tally.intensity_field, tally.fields)


def input_status(tally: Tally, work: Work) -> DiagnosticStatus:
    """The live stream against the student's training statistics."""
    live, trained = work.monitor.summary(), work.segmenter.manifest.statistics
    scale = work.segmenter.resolved_intensity_scale
    values: dict[str, object] = {
        "frame": tally.frame,
        "fields": ", ".join(tally.fields),
        "intensity field": tally.intensity_field or "none",
        "intensity scale": "unknown" if scale is None else f"{scale:g} ({work.settings.intensity_scale})",
    }
    if live is None:
        return _status("input", DiagnosticStatus.OK, "nothing labelled yet", values)
    for name, now, then in (
        ("intensity", live.intensity, trained.intensity),
        ("range [m]", live.range, trained.range),
        ("z [m]", live.z, trained.z),
    ):
        values[f"{name} 1/50/99 %"] = _triple(now)
        values[f"{name} 1/50/99 % in training"] = _triple(then)
    values["measured points"] = f"{live.measured:.1%}"
    values["measured points within the model's range"] = f"{live.in_range:.1%}"
    found = input_findings(tally, work)
    if not found:
        known = bool(trained.z or trained.intensity)
        message = "like the training data" if known else "not compared: the student's file has no statistics"
        return _status("input", DiagnosticStatus.OK, message, values)
    return _status("input", DiagnosticStatus.WARN, "; ".join(f.text for f in found), values)


def _status(part: str, level: bytes, message: str, values: dict[str, object]) -> DiagnosticStatus:
    pairs = [KeyValue(key=k, value=str(v)) for k, v in values.items()]
    return DiagnosticStatus(name=part, level=level, message=message, values=pairs)


def _triple(quantiles: dict[str, float]) -> str:
    return " / ".join(f"{v:.3g}" for v in quantiles.values()) or "unknown"


def _resident_megabytes() -> float:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return 0.0
