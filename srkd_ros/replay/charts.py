# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Charts as inline SVG. Their colours are CSS variables of the page, so that they follow light, dark and print."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 620, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40


class _Plot:
    """An SVG with axes; x and y map data to its coordinates."""

    def __init__(
        self, x_range: tuple[float, float], y_range: tuple[float, float], width: int = WIDTH, height: int = HEIGHT
    ) -> None:
        self.width, self.height = width, height
        self._x, self._y = x_range, y_range
        self.parts: list[str] = []

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        return self.height - _BOTTOM - (value - low) / (high - low) * (self.height - _TOP - _BOTTOM)

    def text(self, x: float, y: float, text: str, anchor: str = "middle", css: str = "") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">{escape(text)}</text>')

    def y_axis(self, label: str) -> None:
        for tick in ticks(*self._y):
            y = self.y(tick)
            self.parts.append(f'<line class="grid" x1="{_LEFT}" x2="{self.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self.text(_LEFT - 7, y + 4, f"{tick:g}", "end")
        middle = (self.height - _BOTTOM + _TOP) / 2
        self.parts.append(
            f'<text transform="translate(13 {middle:.0f}) rotate(-90)" text-anchor="middle" class="label">'
            f"{escape(label)}</text>"
        )

    def x_axis(self, label: str, values: Sequence[float] | None = None) -> None:
        for tick in ticks(*self._x) if values is None else values:
            self.text(self.x(tick), self.height - _BOTTOM + 17, f"{tick:g}")
        self.x_label(label)

    def x_label(self, label: str) -> None:
        self.text((_LEFT + self.width - _RIGHT) / 2, self.height - 5, label, css="label")

    def svg(self, title: str) -> str:
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(title)}">'
            f"{''.join(self.parts)}</svg>"
        )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high."""
    step = 10 ** np.floor(np.log10(max(high - low, 1e-12) / about))
    step *= next(f for f in (1, 2, 2.5, 5, 10) if (high - low) / (step * f) <= about)
    first = np.ceil(low / step - 1e-9)
    return [float(np.round((first + i) * step, 12)) for i in range(int((high - low) / step + 1e-9) + 1)]


def lines(series: Sequence[tuple[str, np.ndarray, np.ndarray]], x_label: str, y_label: str) -> str:
    """Lines over time: (name, x [n], y [n]) each; NaN leaves a gap. The y axis begins at 0."""
    xs = np.concatenate([x for _, x, _ in series])
    ys = np.concatenate([y[np.isfinite(y)] for _, _, y in series])
    plot = _Plot(_span(xs), (0.0, float(ys.max(initial=0.0)) * 1.1 or 1.0))
    plot.y_axis(y_label)
    plot.x_axis(x_label)
    for i, (name, x, y) in enumerate(series):
        for run in np.ma.clump_unmasked(np.ma.masked_invalid(y)):
            points = " ".join(f"{plot.x(a):.1f},{plot.y(b):.1f}" for a, b in zip(x[run], y[run], strict=True))
            if run.stop - run.start == 1:
                a, b = points.split(",")
                plot.parts.append(f'<circle class="fill{i % 4}" cx="{a}" cy="{b}" r="2.5"/>')
            else:
                plot.parts.append(
                    f'<polyline class="line{i % 4}" points="{points}"><title>{escape(name)}</title></polyline>'
                )
    return plot.svg(y_label)


def bars(
    categories: Sequence[str], series: Sequence[tuple[str, Sequence[float | None]]], x_label: str, y_label: str
) -> str:
    """Groups of bars, one for each category, with the value on top."""
    values = [v for _, row in series for v in row if v is not None]
    plot = _Plot((0, len(categories)), (0.0, max(values, default=1.0) * 1.15 or 1.0))
    plot.y_axis(y_label)
    plot.x_label(x_label)
    group = 0.8 / max(len(series), 1)
    for c, category in enumerate(categories):
        plot.text(plot.x(c + 0.5), plot.height - _BOTTOM + 17, category)
        for i, (name, row) in enumerate(series):
            value = row[c]
            if value is None:
                continue
            x0, x1 = plot.x(c + 0.1 + i * group), plot.x(c + 0.1 + (i + 1) * group)
            y = plot.y(value)
            title = f"<title>{escape(name)}, {escape(category)}: {value:.4g}</title>"
            plot.parts.append(
                f'<rect class="fill{i % 4}" x="{x0 + 1:.1f}" y="{y:.1f}" width="{max(x1 - x0 - 2, 1):.1f}" '
                f'height="{plot.y(0) - y:.1f}" rx="2">{title}</rect>'
            )
            plot.text((x0 + x1) / 2, y - 4, f"{value:.3g}", css="value")
    return plot.svg(y_label)


def reliability(series: Sequence[tuple[str, Sequence[tuple[float, float, float]]]]) -> str:
    """Accuracy over confidence, with the diagonal: (confidence, accuracy, share of points) for each filled bin."""
    plot = _Plot((0, 1), (0, 1), width=340, height=300)
    plot.y_axis("accuracy")
    plot.x_axis("confidence")
    plot.parts.append(
        f'<line class="diagonal" x1="{plot.x(0)}" y1="{plot.y(0)}" x2="{plot.x(1)}" y2="{plot.y(1):.1f}"/>'
    )
    for i, (name, bins) in enumerate(series):
        points = " ".join(f"{plot.x(c):.1f},{plot.y(a):.1f}" for c, a, _ in bins)
        plot.parts.append(f'<polyline class="line{i % 4}" points="{points}"/>')
        for c, a, share in bins:
            plot.parts.append(
                f'<circle class="fill{i % 4}" cx="{plot.x(c):.1f}" cy="{plot.y(a):.1f}" r="{2 + 9 * share**0.5:.1f}" '
                f'fill-opacity="0.75"><title>{escape(name)}: confidence {c:.2f}, right {a:.2f}, '
                f"{100 * share:.1f} % of the points</title></circle>"
            )
    return plot.svg("reliability diagram")


def heatmap(counts: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> str:
    """Confusion matrix [R, C], shaded by the share of each row; rows without points are left out."""
    kept = [i for i in range(len(rows)) if counts[i].sum()]
    used = [j for j in range(len(columns)) if counts[:, j].sum() or j in kept]
    cell, left, top = 26, 104, 96
    width, height = left + cell * len(used) + 56, top + cell * len(kept) + 8
    out = []
    for x, j in enumerate(used):
        at = left + cell * (x + 0.5) + 4
        out.append(
            f'<text transform="translate({at} {top - 8}) rotate(-50)" text-anchor="start">{escape(columns[j])}</text>'
        )
    for y, i in enumerate(kept):
        share = counts[i] / counts[i].sum()
        out.append(f'<text x="{left - 8}" y="{top + cell * (y + 0.5) + 4}" text-anchor="end">{escape(rows[i])}</text>')
        for x, j in enumerate(used):
            box = f'x="{left + cell * x + 1}" y="{top + cell * y + 1}" width="{cell - 2}" height="{cell - 2}" rx="3"'
            css, points = "hit" if i == j else "miss", f"{100 * share[j]:.1f} % ({int(counts[i, j]):,} points)"
            title = f"<title>{escape(rows[i])} labelled {escape(columns[j])}: {points}</title>"
            shade = f'class="{css}" fill-opacity="{share[j] ** 0.7:.3f}"'
            out.append(f'<rect class="cell" {box}/><rect {shade} {box}>{title}</rect>')
            if share[j] >= 0.005:
                inverse = " on" if share[j] > 0.55 else ""
                out.append(
                    f'<text class="share{inverse}" x="{left + cell * (x + 0.5)}" y="{top + cell * (y + 0.5) + 3.5}" '
                    f'text-anchor="middle">{100 * share[j]:.0f}</text>'
                )
    return f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img">{"".join(out)}</svg>'


def spread(rows: Sequence[tuple[str, float, float, float]], unit: str) -> str:
    """Horizontal bars (name, p50, p95, p99): the bar is the median, the ticks are p95 and p99."""
    row, left = 26, 96
    height = row * len(rows) + 40
    top = max((p99 for *_, p99 in rows), default=1.0) * 1.05 or 1.0

    def x(value: float) -> float:
        return left + value / top * (WIDTH - left - 76)

    out = []
    for tick in ticks(0, top):
        out.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="0" y2="{height - 36}"/>')
        out.append(f'<text x="{x(tick):.1f}" y="{height - 20}" text-anchor="middle">{tick:g}</text>')
    for i, (name, p50, p95, p99) in enumerate(rows):
        y = i * row + 5
        out.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
        out.append(f'<line class="whisker" x1="{x(p50):.1f}" x2="{x(p99):.1f}" y1="{y + 8}" y2="{y + 8}"/>')
        out.append(f'<rect class="fill0" x="{left}" y="{y}" width="{max(x(p50) - left, 1):.1f}" height="16" rx="2"/>')
        for value, half in ((p95, 5), (p99, 8)):
            span = f'y1="{y + 8 - half}" y2="{y + 8 + half}"'
            out.append(f'<line class="whisker" x1="{x(value):.1f}" x2="{x(value):.1f}" {span}/>')
        out.append(
            f'<text class="value" x="{x(p99) + 7:.1f}" y="{y + 12}" text-anchor="start">{short(p50)} {unit}</text>'
        )
    out.append(
        f'<text class="label" x="{WIDTH / 2}" y="{height - 4}" text-anchor="middle">{unit}: median, p95, p99</text>'
    )
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="latency by stage">{"".join(out)}</svg>'


def short(value: float) -> str:
    """About three digits, and never an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _span(xs: np.ndarray) -> tuple[float, float]:
    low, high = float(xs.min(initial=0.0)), float(xs.max(initial=0.0))
    return (low, high) if high > low else (low, low + 1.0)
