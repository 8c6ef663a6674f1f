# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Fixtures shared by all tests: the folder of real scans, and ROS settings that keep tests on this machine."""

import os
from pathlib import Path

import pytest

# Before rclpy is imported anywhere: no test talks beyond the loopback, nor with another run on the same machine.
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(20 + os.getpid() % 80))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of recorded scans (SRKD_TEST_DATA, else ../shared/data); tests that need it skip without it."""
    folder = Path(os.environ.get("SRKD_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no recorded scans at {folder} (set SRKD_TEST_DATA)")
    return folder
