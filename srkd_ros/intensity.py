# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The scale of raw intensities: drivers publish 0..1, 0..255 or 16 bits, and a wrong one silently ruins the labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from srkd_ros.errors import ConfigError

_FULL_SCALES = (1.0, 255.0, 65535.0)
_TOLERATED = 1e-3  # share of points that may exceed a full scale: retroreflectors overshoot in some drivers
_SURE = 0.5  # share of points above a full scale that settles at once that it is another
_PATIENCE = 3  # clouds in a row that settle it with fewer: one garbled cloud must not ruin the hours after it


class IntensityScale:
    """Divides raw intensities by the stream's full scale, so that the model sees 0..1.

    "auto" takes the smallest of 1, 255 and 65535 that the values seen so far in the stream do not exceed, single clouds
    apart in which less than half of them do. It only ever grows, so that one dark cloud does not change the scale. A
    field of type uint8 or uint16 settles it at once.
    """

    def __init__(self, setting: str | float = "auto") -> None:
        self.setting: str | float = setting if setting == "auto" else _positive(setting)
        self.reset()

    def reset(self) -> None:
        """Forget what was seen: another stream begins."""
        self.resolved: float | None = None if self.setting == "auto" else float(self.setting)
        self._settled = _FULL_SCALES[0]
        self._above, self._only_above = 0, True  # clouds in a row with a few values above the scale; all so far?

    def __call__(self, raw: np.ndarray, full_scale: float | None = None) -> np.ndarray:
        """Raw values [N] to float32 [N] in about 0..1. `full_scale`: that of an integer field, if the cloud has one."""
        raw = raw.astype(np.float32, copy=False)
        if self.setting == "auto":
            self.resolved = self._resolve(raw, full_scale)
        with np.errstate(invalid="ignore"):  # a signalling NaN stays a NaN without a word
            return raw / np.float32(self.resolved)

    def _resolve(self, raw: np.ndarray, full_scale: float | None) -> float:
        above = [] if full_scale else [int(np.count_nonzero(raw > scale)) for scale in _FULL_SCALES[:-1]]
        sure, seen = (full_scale or _smallest(above, share * len(raw)) for share in (_SURE, _TOLERATED))
        self._settled = max(self._settled, sure)
        if seen <= self._settled:
            self._above, self._only_above = 0, False
            return self._settled
        self._above += 1
        if self._above >= _PATIENCE:
            self._settled = seen
        return seen if self._only_above else self._settled


def _smallest(above: Sequence[int], bearable: float) -> float:
    """The smallest full scale that no more than so many values exceed; `above`: values above each but the largest."""
    fitting = (scale for scale, count in zip(_FULL_SCALES, above, strict=False) if count <= bearable)
    return next(fitting, _FULL_SCALES[-1])


def _positive(setting: str | float) -> float:
    try:
        value = float(setting)
    except ValueError:
        value = 0.0
    if not value > 0 or value == float("inf"):
        raise ConfigError(f"intensity_scale: {setting!r} is neither 'auto' nor a positive number such as 255")
    return value
