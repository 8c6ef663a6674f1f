# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""TensorRT engines: built from an exported graph for this machine's GPU and a sensor, and kept in a cache."""

from __future__ import annotations

import importlib
import importlib.util

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")


def is_installed() -> bool:
    """True if TensorRT, or TensorRT for RTX, is there. Imports nothing."""
    return any(importlib.util.find_spec(name) is not None for name in MODULES)
