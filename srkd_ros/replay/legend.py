# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What a bird's-eye picture shows, in a strip below it: a title and the colours, for pictures that leave the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from srkd_ros.labels import UNLABELLED, LabelSet
from srkd_ros.replay import birdseye

Entry = tuple[str, Sequence[int]]  # a name and its colour, r g b in 0..255

_INK = (232, 237, 243)
_INK2 = (166, 178, 192)
_MARGIN = 12  # pixels


def with_legend(image: np.ndarray, title: str, about: str, entries: Sequence[Entry]) -> np.ndarray:
    """uint8 [H + strip, W, 3]: the picture uint8 [H, W, 3], and below it a title, a line about it and the entries."""
    height, width = image.shape[:2]
    large, small = birdseye.font(width // 38), birdseye.font(width // 46)
    line = round(width / 29)
    places, rows = _places([small.getlength(name) for name, _ in entries], width, line)
    strip = 2 * _MARGIN + round(2.4 * line) + rows * line
    picture = Image.new("RGB", (width, height + strip), birdseye.BACKGROUND)
    picture.paste(Image.fromarray(image))
    pen = ImageDraw.Draw(picture)
    pen.line((0, height, width, height), _INK2)
    y = height + _MARGIN + line / 2
    pen.text((_MARGIN, y), _cut(title, large, width), _INK, large, "lm")
    pen.text((_MARGIN, y + line), _cut(about, small, width), _INK2, small, "lm")
    y += 2.4 * line
    for (name, color), (x, row) in zip(entries, places, strict=True):
        middle, half = y + row * line, round(0.28 * line)
        box = (x, middle - half, x + 2 * half, middle + half)
        pen.rectangle(box, tuple(int(v) for v in color), _INK2)
        pen.text((x + line - 2, middle), name, _INK, small, "lm")
    return np.array(picture)


def of_classes(labels: LabelSet, shown: np.ndarray) -> list[Entry]:
    """Entries for birdseye.by_class of class ids uint8 [N]: the classes that occur, and points without one."""
    present = np.bincount(shown, minlength=256) > 0
    colors = birdseye.visible(labels.colors).tolist()
    entries: list[Entry] = [(name, colors[i]) for i, name in enumerate(labels.names) if present[i]]
    return entries + ([("unlabelled", birdseye.IGNORED)] if present[UNLABELLED] else [])


def of_errors() -> list[Entry]:
    """Entries for birdseye.by_error."""
    return [("right", birdseye.RIGHT), ("wrong", birdseye.WRONG), ("without a truth", birdseye.IGNORED)]


def of_confidence() -> list[Entry]:
    """Entries for birdseye.by_confidence, in quarters."""
    quarters = np.linspace(0, 1, 5)
    colors = birdseye.by_confidence(np.zeros(5, np.uint8), quarters).tolist()
    entries: list[Entry] = [(f"{q:g}", color) for q, color in zip(quarters, colors, strict=True)]
    return [*entries, ("unlabelled", birdseye.IGNORED)]


def _cut(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text as far as it fits into a strip of this width."""
    whole = text
    while text and font.getlength(whole) > width - 2 * _MARGIN:
        text = text[:-1]
        whole = f"{text}..."
    return whole


def _places(lengths: Sequence[float], width: int, line: int) -> tuple[list[tuple[float, int]], int]:
    """(x, row) of each entry, whose name takes `length` pixels, and the number of rows."""
    x, row, places = float(_MARGIN), 0, []
    for length in lengths:
        taken = line + length + 1.4 * _MARGIN
        if x > _MARGIN and x + taken - 1.4 * _MARGIN > width - _MARGIN:
            x, row = float(_MARGIN), row + 1
        places.append((x, row))
        x += taken
    return places, row + 1 if places else 0
