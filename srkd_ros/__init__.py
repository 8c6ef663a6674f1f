# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Real-time LiDAR semantic segmentation with distilled point transformers: the robot's half."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srkd_ros.segmenter import Segmentation, Segmenter

__version__ = "0.1.0"
__all__ = ["Segmentation", "Segmenter", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Segmenter", "Segmentation"):  # torch takes seconds to import: only when it is needed
        from srkd_ros import segmenter

        return getattr(segmenter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
