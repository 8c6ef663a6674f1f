# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The class map on `label_info`: vision_msgs/LabelInfo where installed, otherwise the same as JSON in a String."""

from __future__ import annotations

import json
from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import String

from srkd_ros.labels import UNLABELLED, LabelSet

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # not among the rclpy wheels
    LabelInfo = None

MESSAGE_TYPE = LabelInfo or String


def message(labels: LabelSet, threshold: float, stamp: Time) -> Any:
    """Ids and names of the classes; `threshold` is min_confidence. Id 255 means unlabelled.

    The String holds {"name", "classes": [{"id", "name", "color": [r, g, b]}], "unlabelled": 255, "threshold"}.
    """
    if LabelInfo is None:
        classes = [{k: c[k] for k in ("id", "name", "color")} for c in labels.to_dict()["classes"]]
        content = {"name": labels.name, "classes": classes, "unlabelled": UNLABELLED, "threshold": threshold}
        return String(data=json.dumps(content))
    info = LabelInfo(threshold=threshold)
    info.header.stamp = stamp
    info.class_map = [VisionClass(class_id=i, class_name=name) for i, name in enumerate(labels.names)]
    return info
