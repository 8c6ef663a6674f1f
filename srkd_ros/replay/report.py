# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""report.html: one self-contained page with everything a run measured. No scripts, nothing loaded from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from srkd_ros.replay import charts
from srkd_ros.replay.clock import Elapsed
from srkd_ros.replay.frames import Frame
from srkd_ros.replay.report_quality import classes, confusion, quality_charts, shown_classes
from srkd_ros.replay.report_style import STYLE
from srkd_ros.replay.results import read_table, replacing
from srkd_ros.replay.table import count, overview_rows, percent, plain

_MAX_POINTS = 1500  # of a line over time


def write_report(folder: Path, document: dict[str, Any], frames: Sequence[Frame]) -> None:
    """Write folder/report.html from metrics.json's content, clouds.csv and the chosen frames."""
    sections = [_head(document), _notes(document), _tiles(document), _pictures(frames, document), classes(document)]
    sections += [quality_charts(document), confusion(document), _speed(document), _over_time(folder, document)]
    sections += [_drift(document), _about(document)]
    title = escape(_title(document))
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>{''.join(sections)}</main></body></html>\n"
    )
    with replacing(folder / "report.html") as file:
        file.write(page)


def _title(document: dict[str, Any]) -> str:
    return f"{', '.join(m['name'] for m in document['models'])} on {', '.join(_inputs(document))}"


def _inputs(document: dict[str, Any]) -> list[str]:
    names = [Path(p).resolve().name for p in document["input"]["paths"]]
    return names if len(names) < 4 else [*names[:2], f"{len(names) - 2} more"]


def _head(document: dict[str, Any]) -> str:
    given, mode = document["input"], document["mode"]
    span = f"{given['duration_s']:.1f} s, " if given["duration_s"] else ""
    created = escape(document["created"][:16].replace("T", " "))
    live = "live, through the node over ROS 2" if mode == "realtime" else "every cloud, as fast as it goes"
    return (
        f"<header><p class=kicker>srkd-replay {escape(document['version'])}</p><h1>{escape(_title(document))}</h1>"
        f"<p class=sub>{given['clouds']:,} clouds, {span}{given['points']:,} points of "
        f"<code>{escape(str(given['topic']))}</code> &middot; {live} &middot; {created}</p>"
        "</header>"
    )


def _notes(document: dict[str, Any]) -> str:
    lines = list(document["notes"])
    if not document["complete"]:
        lines.insert(0, "this run was interrupted: the numbers are those of the clouds up to then")
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul class=notes>{items}</ul>" if items else ""


def _tiles(document: dict[str, Any]) -> str:
    if len(document["models"]) > 1:
        heads = "".join(
            f"<th><i class=key{i % 4}></i>{escape(m['name'])}</th>" for i, m in enumerate(document["models"])
        )
        rows = "".join(
            f"<tr><td>{escape(t)}</td>{''.join(f'<td class=n>{escape(x)}</td>' for x in texts)}</tr>"
            for t, texts in overview_rows(document)
        )
        table = f"<table class=side><thead><tr><th></th>{heads}</tr></thead>{rows}</table>"
        return f"<section><h2>Side by side</h2>{table}</section>"
    model = document["models"][0]
    latency = model["latency_ms"].get("total") or model["latency_ms"].get("end_to_end") or {}
    agreement = (model["agreement"] or {}).get("miou")
    tiles = [
        ("mIoU", percent(model["miou"]), "%", f"accuracy {percent(model['accuracy'])} %"),
        ("calibration error", percent(model["ece"]), "%", "ECE of the confidence"),
        ("teacher agreement", percent(agreement), "%", "mIoU against the teacher"),
        ("consistency", percent(model["temporal_consistency"]["share"]), "%", "voxels that keep their label"),
        (
            "latency",
            plain(latency.get("p50")),
            "ms",
            f"p95 {plain(latency.get('p95'))}, p99 {plain(latency.get('p99'))}",
        ),
        ("throughput", plain(model["clouds_per_s"]), "clouds/s", f"{plain(_million(model), 2)} M points/s"),
    ]
    cells = "".join(
        f"<div class=tile><b>{escape(title)}</b><strong>{value}<small> {unit}</small></strong>"
        f"<span>{escape(more)}</span></div>"
        for title, value, unit, more in tiles
        if value != "-"
    )
    return f"<section class=tiles>{cells}</section>"


def _million(model: dict[str, Any]) -> float | None:
    return model["points_per_s"] and model["points_per_s"] / 1e6


def _pictures(frames: Sequence[Frame], document: dict[str, Any]) -> str:
    if not frames:
        return ""
    blocks = []
    for f in frames:
        images = "".join(
            f'<figure><img alt="{escape(f.title)}: {escape(caption)}" src="data:image/png;base64,'
            f'{base64.b64encode(png).decode()}"><figcaption>{escape(caption)}</figcaption></figure>'
            for caption, png in f.pictures
        )
        blocks.append(
            f"<div class=frame><h3>{f.title.capitalize()} <small>{escape(f.about)}</small></h3>"
            f"<div class=images>{images}</div></div>"
        )
    legend = "".join(
        f'<span><i style="background:rgb({r},{g},{b})"></i>{escape(name)}</span>'
        for name, (r, g, b) in shown_classes(document)
    )
    errors = any(caption.startswith("error") for f in frames for caption, _ in f.pictures)
    error_key = (
        '<p class=sub>Error: <i class="dot wrong"></i>wrong, <i class="dot right"></i>right, '
        '<i class="dot ignored"></i>without a truth.</p>'
    )
    confidence_key = "<p class=sub>Confidence: <i class=ramp></i> from 0 to 1.</p>"
    key = error_key if errors else confidence_key
    return f"<section><h2>From above</h2>{''.join(blocks)}<div class=legend>{legend}</div>{key}</section>"


def _speed(document: dict[str, Any]) -> str:
    out = ""
    for m in document["models"]:
        rows = [(s.replace("_", " "), t["p50"], t["p95"], t["p99"]) for s, t in m["latency_ms"].items()]
        if rows:
            caption = f"{m['name']} on {m['device']} ({m['runtime']}): {m['runtime_reason']}"
            out += f"<figure>{charts.spread(rows, 'ms')}<figcaption>{escape(caption)}</figcaption></figure>"
    memory = document["peak_memory_mb"]
    gpu = f", {memory['gpu']:,.0f} MB on the GPU" if memory["gpu"] else ""
    host = document["host"]
    peak = f"peak memory {memory['process']:,.0f} MB{gpu}"
    sub = (
        f"<p class=sub>{escape(host['processor'] or host['machine'])}, {count(host['threads'], 'thread')}; {peak}.</p>"
    )
    live = document.get("live")
    if live:
        sub += (
            f"<p class=sub>Live: {live['published']} clouds published at {live['rate_hz']:.1f} Hz, "
            f"{live['received']} came back, {live['dropped']} dropped, {live.get('refused', 0)} refused; "
            f"the node took {_memory_of(live)}.</p>"
        )
    return f"<section><h2>Speed</h2>{sub}<div class=charts>{out}</div></section>" if out else ""


def _memory_of(live: dict[str, Any]) -> str:
    return f"{live['node_memory_mb']:,.0f} MB at most" if live["node_memory_mb"] else "an unknown amount of memory"


def _over_time(folder: Path, document: dict[str, Any]) -> str:
    series: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = {}
    for m in document["models"]:
        rows = [r for r in read_table(folder / "clouds.csv") if r["model"] == m["name"]]
        rows = rows[:: max(1, len(rows) // _MAX_POINTS)]
        elapsed = Elapsed()
        x = np.array([elapsed(int(r["stamp_ns"]), int(r["log_time_ns"])) * 1e-9 for r in rows])
        for column in ("miou", "agreement", "consistency", "total_ms"):
            y = np.array([float(r[column]) if r[column] else np.nan for r in rows])
            if np.isfinite(y).sum() > 1:
                series.setdefault(column, []).append((m["name"], x, y if column == "total_ms" else 100 * y))
    titles = {
        "miou": "mIoU in %",
        "agreement": "teacher agreement in %",
        "consistency": "consistency in %",
        "total_ms": "latency in ms",
    }
    figures = "".join(
        f"<figure>{charts.lines(series[c], 'time in s', title)}</figure>" for c, title in titles.items() if c in series
    )
    return f"<section><h2>Over time</h2><div class=charts>{figures}</div></section>" if figures else ""


def _drift(document: dict[str, Any]) -> str:
    rows = ""
    for m in document["models"]:
        for name in ("intensity", "range", "z"):
            d = m["drift"].get(name)
            if d:
                cells = "".join(
                    f"<td class=n>{d['input'][q]:.3g} <small>({d['training'][q]:.3g})</small></td>"
                    for q in ("0.01", "0.5", "0.99")
                    if q in d["training"]
                )
                css = " class=bad" if name in m["drift"]["drifted"] else ""
                rows += f"<tr><td>{escape(m['name'])}</td><td>{name}</td>{cells}<td{css}>{d['shift']:.2f}</td></tr>"
    if not rows:
        return ""
    return (
        "<section><h2>Input against training</h2><p class=sub>Quantiles of the points that were labelled (in brackets: "
        "of the training data). The shift is the largest difference, in units of training's spread; above 0.25 the "
        "labels deserve a second look.</p><table><thead><tr><th>model</th><th>input</th><th>1 %</th><th>median</th>"
        f"<th>99 %</th><th>shift</th></tr></thead>{rows}</table></section>"
    )


def _about(document: dict[str, Any]) -> str:
    rows = [("inputs", ", ".join(document["input"]["paths"])), ("frame", document["input"]["frame_id"])]
    truth = document["truth"]
    rows.append(("truth", f"{truth['kind']} {truth['source']}".strip()))
    for m in document["models"]:
        scale = m["intensity_scale"]
        scaled = f", intensity / {scale:g}" if scale else ""
        rows.append(
            (m["name"], f"{m['path']}, sha256 {m['sha256'][:16]}, {m['label_set']}, {m['voxel_size_m']} m{scaled}")
        )
    body = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in rows)
    return f"<section><h2>This run</h2><table class=about>{body}</table></section>"
