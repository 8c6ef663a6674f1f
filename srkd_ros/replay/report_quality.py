# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The report's sections on quality: IoU by class, by distance, calibration, confusion, or what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from srkd_ros.replay import charts
from srkd_ros.replay.birdseye import visible
from srkd_ros.replay.table import percent


def shown_classes(document: dict[str, Any]) -> list[tuple[str, Sequence[int]]]:
    """Names and colours (r g b) of the classes that a model predicted, or that occur in the truth."""
    shown: dict[str, Sequence[int]] = {}
    for m in document["models"]:
        for name, color in zip(m["classes"], m["colors"], strict=True):
            if m["predicted"][name] or (m["per_class"] or {}).get(name, {}).get("points"):
                shown.setdefault(name, visible(np.array(color)).tolist())
    return list(shown.items())


def _score(model: dict[str, Any]) -> dict[str, Any] | None:
    return model if model["miou"] is not None else model["agreement"]


def classes(document: dict[str, Any]) -> str:
    """The table of IoU by class and model; without a truth or a teacher, that of the classes predicted."""
    models = [m for m in document["models"] if _score(m)]
    if not models:
        return _predicted(document)
    against = "truth" if document["truth"]["matched_clouds"] else "teacher"
    first = _score(models[0]) or {}
    colors = dict(zip(models[0]["classes"], visible(np.array(models[0]["colors"])).tolist(), strict=True))
    heads = "".join(f"<th><i class=key{i % 4}></i>{escape(m['name'])}</th>" for i, m in enumerate(models))
    rows = []
    for name, c in first["per_class"].items():
        if not c["points"] and not c["predicted"]:
            continue
        bars = "".join(
            _iou_cell(((_score(m) or {})["per_class"].get(name) or {}).get("iou"), i) for i, m in enumerate(models)
        )
        swatch = '<i class=swatch style="background:rgb({},{},{})"></i>'.format(*colors[name])
        rows.append(
            f"<tr><td>{swatch}{escape(name)}</td>{bars}<td class=n>{percent(c['precision'])}</td>"
            f"<td class=n>{percent(c['recall'])}</td><td class=n>{c['points']:,}</td>"
            f"<td class=n>{c['predicted']:,}</td></tr>"
        )
    means = "".join(_iou_cell((_score(m) or {})["miou"], i) for i, m in enumerate(models))
    of = f" of {escape(models[0]['name'])}" if len(models) > 1 else ""
    return (
        f"<section><h2>By class</h2><table class=classes><thead><tr><th>IoU in %, against the {against}</th>{heads}"
        f"<th>precision{of}</th><th>recall</th><th>points</th><th>predicted</th></tr></thead><tbody>{''.join(rows)}</tbody>"
        f"<tfoot><tr><td>mean of the classes that occur</td>{means}<td colspan=4></td></tr></tfoot></table></section>"
    )


def _iou_cell(value: float | None, i: int) -> str:
    width = 0 if value is None else 100 * value
    return f"<td class=bar><span><u class=bar{i % 4} style='width:{width:.1f}%'></u></span>{percent(value)}</td>"


def _predicted(document: dict[str, Any]) -> str:
    """Without anything to compare with: how often each class was predicted."""
    models = document["models"]
    heads = "".join(f"<th>{escape(m['name'])}</th>" for m in models)
    rows = []
    for name, (r, g, b) in shown_classes(document):
        cells = "".join(
            _iou_cell(m["predicted"].get(name, 0) / max(sum(m["predicted"].values()), 1), i)
            for i, m in enumerate(models)
        )
        rows.append(f'<tr><td><i class=swatch style="background:rgb({r},{g},{b})"></i>{escape(name)}</td>{cells}</tr>')
    return (
        "<section><h2>Predicted classes</h2><p class=sub>No truth was given: the share of the points by predicted "
        f"class, in %.</p><table class=classes><thead><tr><th></th>{heads}</tr></thead>{''.join(rows)}</table>"
        "</section>"
    )


def quality_charts(document: dict[str, Any]) -> str:
    """mIoU by distance, and confidence against accuracy; empty without anything to compare with."""
    models = [m for m in document["models"] if _score(m)]
    if not models:
        return ""
    bins = (_score(models[0]) or {})["by_range"]
    used = [i for i, b in enumerate(bins) if b["points"]]
    names = [
        f"{bins[i]['from_m']:g} to {bins[i]['to_m']:g}" if bins[i]["to_m"] else f"over {bins[i]['from_m']:g}"
        for i in used
    ]
    rows = [(m["name"], [_times100((_score(m) or {})["by_range"][i]["miou"]) for i in used]) for m in models]
    out = f"<figure><h2>By distance</h2>{charts.bars(names, rows, 'distance in m', 'mIoU in %')}</figure>"
    curves = []
    for m in models:
        if m["calibration"]:
            total = sum(b["points"] for b in m["calibration"]["bins"]) or 1
            filled = [b for b in m["calibration"]["bins"] if b["points"]]
            curves.append((m["name"], [(b["confidence"], b["accuracy"], b["points"] / total) for b in filled]))
    if any(points for _, points in curves):
        out += (
            f"<figure class=square><h2>Calibration</h2>{charts.reliability(curves)}<figcaption>On the line, the "
            "confidence is the share that is right. Larger dots hold more points.</figcaption></figure>"
        )
    return f"<section class=charts>{out}</section>"


def _times100(value: float | None) -> float | None:
    return None if value is None else 100 * value


def confusion(document: dict[str, Any]) -> str:
    """A heat map for each model; empty without anything to compare with."""
    out = ""
    for m in document["models"]:
        score = _score(m)
        if score:
            counts = np.array(score["confusion"]["counts"])
            rows = list(score["per_class"])
            chart = charts.heatmap(counts, rows, score["confusion"]["columns"])
            caption = "rows are the truth, columns what it was labelled, in % of the row"
            out += f"<figure class=wide>{chart}<figcaption>{escape(m['name'])}: {caption}</figcaption></figure>"
    return f"<section><h2>Confusion</h2><div class=charts>{out}</div></section>" if out else ""
