# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""128-beam clouds at 20 Hz leave the node's memory flat; SRKD_SOAK=120 makes it two minutes."""

import os

import pytest

pytest.importorskip("rclpy", reason="no rclpy: pip install 'srkd_ros[ros]'")

from benchmarks.soak import run

SECONDS = float(os.environ.get("SRKD_SOAK", "10"))


def test_memory_stays_flat(quick_student_file):
    soak = run(quick_student_file, SECONDS, 20.0)
    assert soak.received > 0
    assert soak.clouds["failed"] == "0"
    assert soak.growth < 30, soak.megabytes  # two clouds and their outputs are 20 MB
    assert soak.received <= int(soak.clouds["published"])
    arrived, dropped = int(soak.clouds["received"]), int(soak.clouds["dropped for a newer cloud"])
    assert arrived - dropped - int(soak.clouds["published"]) <= 2  # one in work, one waiting
