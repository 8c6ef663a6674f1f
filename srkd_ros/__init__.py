# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Real-time LiDAR semantic segmentation with distilled point transformers: the robot's half."""

import os
from typing import TYPE_CHECKING, Any

# Before torch is imported. By default its OpenMP threads spin for milliseconds while they wait for each other; on
# cores that others use too (a driver, a loader process) that stalls them: seconds for a cloud. Sleeping at once costs a
# wake-up at each of hundreds of small operations. Spinning briefly is as fast on idle cores and bearable on busy ones.
# "ACTIVE" only keeps libgomp from cutting that short as soon as a second thread of the process (another node, a model
# being loaded) uses torch: then every wait slept, and a cloud took four times as long. See docs/node.md.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ.update(OMP_WAIT_POLICY="ACTIVE", GOMP_SPINCOUNT="1000")
    os.environ.setdefault("KMP_BLOCKTIME", "1")  # the same for LLVM's and Intel's OpenMP, milliseconds

if TYPE_CHECKING:
    from srkd_ros.segmenter import Segmentation, Segmenter

__version__ = "0.1.0"
__all__ = ["Segmentation", "Segmenter", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Segmenter", "Segmentation"):  # torch takes seconds to import: only when it is needed
        from srkd_ros import segmenter

        return getattr(segmenter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
