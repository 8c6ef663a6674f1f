# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Bird's-eye pictures of a labelled cloud: prediction, truth, error, confidence. Forward (x) is up."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from srkd_ros.labels import UNLABELLED

BACKGROUND = (14, 18, 24)
_RING = (52, 62, 78)
_METRES = (214, 222, 232)
IGNORED = (62, 70, 82)
RIGHT = (70, 132, 104)
WRONG = (255, 72, 66)
# Dark violet over teal to yellow, in steps of 1/8: even in lightness, and readable with any colour vision.
_RAMP = np.array(
    [
        [(68, 1, 84), (71, 44, 122), (59, 81, 139)],
        [(44, 113, 142), (33, 144, 141), (39, 173, 129)],
        [(92, 200, 99), (170, 220, 50), (253, 231, 37)],
    ],
    np.float64,
).reshape(9, 3)


def extent(xyz: np.ndarray) -> float:
    """Half the side in metres of a square that shows nearly all of the cloud: 15 to 60."""
    reach = np.abs(xyz[np.isfinite(xyz).all(1), :2]).max(1, initial=0.0)
    reach = reach[reach > 0]
    return float(np.clip(np.quantile(reach, 0.97) if len(reach) else 60.0, 15.0, 60.0))


def draw(xyz: np.ndarray, colors: np.ndarray, half: float, size: int = 640, dot: int = 2) -> np.ndarray:
    """uint8 [size, size, 3] of points [N, 3] in metres with colours uint8 [N, 3]; higher points cover lower ones.

    The square reaches `half` metres from the sensor to each side; rings every ring_step(half) say their metres.
    """
    image = _rings(half, size)
    inside = np.isfinite(xyz).all(1) & (np.abs(xyz[:, :2]) < half).all(1) & (np.abs(xyz[:, :2]) > 1e-3).any(1)
    xyz, colors = xyz[inside], colors[inside]
    order = np.argsort(xyz[:, 2], kind="stable")
    scale = size / (2 * half)
    row = ((half - xyz[order, 0]) * scale).astype(np.int64)
    column = ((half - xyz[order, 1]) * scale).astype(np.int64)
    for dy in range(dot):
        for dx in range(dot):
            image[np.minimum(row + dy, size - 1), np.minimum(column + dx, size - 1)] = colors[order]
    return _with_metres(image, half)


def ring_step(half: float) -> float:
    """Metres from ring to ring in a picture that reaches `half` metres to each side."""
    return 10.0 if half < 40 else 20.0


def font(pixels: int) -> ImageFont.FreeTypeFont:
    """The sans-serif that comes with matplotlib: Pillow's own has one size, and many systems have none."""
    from matplotlib.font_manager import findfont

    return ImageFont.truetype(findfont("DejaVu Sans"), pixels)


def _with_metres(image: np.ndarray, half: float) -> np.ndarray:
    """The metres of each ring, ahead of the sensor and to its right, where the middle's many points are not."""
    size, step = len(image), ring_step(half)
    picture = Image.fromarray(image)
    pen, letters = ImageDraw.Draw(picture), font(size // 40)
    for metres in np.arange(step, half * 1.3, step):
        place = size / 2 + metres * np.sqrt(0.5) * size / (2 * half)
        text = f"{metres:.0f} m"
        pen.text((place, size - place), text, _METRES, letters, "mm", stroke_width=2, stroke_fill=BACKGROUND)
    return np.array(picture)


def _rings(half: float, size: int) -> np.ndarray:
    axis = (np.arange(size) + 0.5) / size * 2 * half - half
    distance = np.hypot(axis[:, None], axis[None, :])
    step, pixel = ring_step(half), 2 * half / size
    ring = np.abs((distance + step / 2) % step - step / 2) < 0.6 * pixel
    image = np.empty((size, size, 3), np.uint8)
    image[:] = BACKGROUND
    image[ring & (distance > step / 2)] = _RING
    return image


def by_class(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colours uint8 [N, 3] of class ids uint8 [N]; points without one are dim."""
    colors = visible(palette)[labels]
    colors[labels == UNLABELLED] = IGNORED
    return colors


def visible(palette: np.ndarray) -> np.ndarray:
    """Colours [..., 3] with the darkest of them (SemanticKITTI's sidewalk) made to stand out from the background."""
    brightest = palette.max(-1, keepdims=True).astype(np.float64)
    return np.round(palette * np.maximum(1.0, 140 / np.maximum(brightest, 1.0))).astype(np.uint8)


def by_error(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Wrong points red, right ones green, those without a truth dim."""
    colors = np.empty((len(labels), 3), np.uint8)
    colors[:] = RIGHT
    colors[labels != truth] = WRONG
    colors[truth == UNLABELLED] = IGNORED
    return colors


def by_confidence(labels: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Confidence 0..1 from violet to yellow; points without a prediction are dim."""
    position = np.clip(confidence.astype(np.float64), 0, 1) * (len(_RAMP) - 1)
    low = np.minimum(position.astype(np.int64), len(_RAMP) - 2)
    part = (position - low)[:, None]
    colors = (_RAMP[low] * (1 - part) + _RAMP[low + 1] * part).astype(np.uint8)
    colors[labels == UNLABELLED] = IGNORED
    return colors


def png(image: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(image).quantize(128, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
