# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Parameter descriptors: what `ros2 param describe` tells."""

from __future__ import annotations

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from srkd_ros.node.settings import Parameter


def descriptor(parameter: Parameter) -> ParameterDescriptor:
    """Numbers may come as integer or double, and intensity_scale as text or number: the checks are in settings."""
    made = ParameterDescriptor(
        description=parameter.description, read_only=parameter.fixed, dynamic_typing=not parameter.fixed
    )
    if parameter.bounds is not None:
        low, high = parameter.bounds
        if isinstance(parameter.default, int):
            made.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        else:
            made.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return made
