# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The node's parameters as ROS holds them: declared with descriptions, read, and changed while the node runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from srkd_ros.errors import SrkdError
from srkd_ros.node import settings
from srkd_ros.node.watch import one_line


class Parameters:
    """Declares all of settings.PARAMETERS on a node; ConfigError if a value given at start is wrong.

    A change is checked by `apply`, which puts it into force or raises; then the old values stay, whoever asked gets the
    reason, and so does `refused`. Both are told the values that were to change.
    """

    def __init__(
        self,
        node: Node,
        apply: Callable[[Mapping[str, Any]], None],
        refused: Callable[[Mapping[str, Any], str], None],
    ) -> None:
        self._node, self._apply, self._refused = node, apply, refused
        for name, parameter in settings.PARAMETERS.items():
            node.declare_parameter(name, parameter.default, descriptor(parameter))
        self._given_model = self["model"]  # by whoever started the node, so any path goes
        self.settings()
        for line in settings.unknown_names(getattr(node, "_parameter_overrides", ())):
            node.get_logger().warning(line)
        node.add_on_set_parameters_callback(self._on_set)

    def __getitem__(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    def settings(self, changed: Mapping[str, Any] | None = None) -> settings.Settings:
        """The values, some of them perhaps about to change; ConfigError names the first that is wrong."""
        return settings.check({**{name: self[name] for name in settings.PARAMETERS}, **(changed or {})})

    def model_path(self, changed: Mapping[str, Any] | None = None) -> Path:
        """The file that `model` means; ModelError if there is none."""
        return settings.model_path((changed or self)["model"], self._given_model, self["model_dir"])

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        changed = {p.name: p.value for p in parameters if p.name in settings.PARAMETERS}
        for parameter in parameters:
            if parameter.name in changed and parameter.type_ == Parameter.Type.NOT_SET:
                return SetParametersResult(successful=False, reason=f"{parameter.name}: cannot be deleted")
        try:
            if changed:
                self._apply(changed)
        except Exception as error:
            reason = str(error) if isinstance(error, SrkdError) else one_line(error)
        else:
            return SetParametersResult(successful=True)
        self._refused(changed, reason)
        self._node.get_logger().warning(f"parameters refused: {reason}")
        return SetParametersResult(successful=False, reason=reason)


def descriptor(parameter: settings.Parameter) -> ParameterDescriptor:
    """What `ros2 param describe` tells.

    Numbers may come as integer or double, and intensity_scale as text or number: the checks are in settings.
    """
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
