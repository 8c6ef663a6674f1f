# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The point transformer: sparse convolution, patch attention, and the U-Net that a configuration makes of them."""

from srkd_ros.network.config import PRESETS, PointTransformerConfig, preset
from srkd_ros.network.point_transformer import Features, PointTransformer, parameter_count

__all__ = ["PRESETS", "Features", "PointTransformer", "PointTransformerConfig", "parameter_count", "preset"]
