# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The scale of raw intensities: drivers publish 0..1, 0..255 or 16 bits, and a wrong one silently ruins the labels."""

from __future__ import annotations

import numpy as np

from srkd_ros.errors import ConfigError

_FULL_SCALES = (1.0, 255.0, 65535.0)
_TOLERATED = 1e-3  # share of points that may exceed a full scale: retroreflectors overshoot in some drivers


class IntensityScale:
    """Divides raw intensities by the stream's full scale, so that the model sees 0..1.

    "auto" takes the smallest of 1, 255 and 65535 that the values seen so far in the stream do not exceed; it only ever
    grows, so that one dark cloud does not change the scale. A field of type uint8 or uint16 settles it at once.
    """

    def __init__(self, setting: str | float = "auto") -> None:
        self.setting: str | float = setting if setting == "auto" else _positive(setting)
        self.resolved: float | None = None if self.setting == "auto" else float(self.setting)

    def reset(self) -> None:
        """Forget what was seen: another stream begins."""
        self.resolved = None if self.setting == "auto" else float(self.setting)

    def __call__(self, raw: np.ndarray, full_scale: float | None = None) -> np.ndarray:
        """Raw values [N] to float32 [N] in about 0..1. `full_scale`: that of an integer field, if the cloud has one."""
        raw = raw.astype(np.float32, copy=False)
        if self.setting == "auto":
            self.resolved = max(self.resolved or 1.0, full_scale or self._seen(raw))
        with np.errstate(invalid="ignore"):  # a signalling NaN stays a NaN without a word
            return raw / np.float32(self.resolved)

    @staticmethod
    def _seen(raw: np.ndarray) -> float:
        for scale in _FULL_SCALES[:-1]:
            if np.count_nonzero(raw > scale) <= _TOLERATED * len(raw):
                return scale
        return _FULL_SCALES[-1]


def _positive(setting: str | float) -> float:
    try:
        value = float(setting)
    except ValueError:
        value = 0.0
    if not value > 0 or value == float("inf"):
        raise ConfigError(f"intensity_scale: {setting!r} is neither 'auto' nor a positive number such as 255")
    return value
