# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The Fast DDS profile that carries large clouds through shared memory, and what to advise when clouds get lost.

With Fast DDS's defaults (0.5 MB of shared memory a participant) most best-effort clouds of 2 MB and more are lost.
It is the publisher's segment that counts, so the profile must reach the driver too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from srkd_ros.resources import find

PROFILE = "config/fastdds_shm.xml"
SEGMENT_BYTES = 64 << 20  # as in the profile
VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Humble to Jazzy; Kilted and later
SHARED_MEMORY = Path("/dev/shm")


def profile_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables to set before a ROS process starts, so that its clouds go through shared memory.

    Empty where the user has chosen a profile, transports or another middleware, or where shared memory is too small.
    """
    chosen = any(environment.get(name) for name in (*VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS"))
    other = environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp") not in (
        "rmw_fastrtps_cpp",
        "rmw_fastrtps_dynamic_cpp",
    )
    if chosen or other or not _fits():
        return {}
    return dict.fromkeys(VARIABLES, str(find(PROFILE)))


def _fits() -> bool:
    """Docker gives containers 64 MB of shared memory, all told; beyond it the process would be killed."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free >= 2 * SEGMENT_BYTES
    except OSError:
        return False


def loss_advice(middleware: str) -> str:
    """What to do about clouds lost between driver and node, for the middleware in use."""
    if "fastrtps" in middleware:
        return (
            f"start the driver with FASTRTPS_DEFAULT_PROFILES_FILE={find(PROFILE)}, or let it publish reliable "
            "(docs/node.md, Transport)"
        )
    if "cyclone" in middleware:
        return (
            "allow larger socket buffers: sysctl net.core.rmem_max=16777216 and SocketReceiveBufferSize min=10MB in "
            "CYCLONEDDS_URI (docs/node.md, Transport)"
        )
    return "let the driver publish reliable (docs/node.md, Transport)"
