# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Procedural streets and LiDAR models: the data of the demo, the tests and the benchmarks, labelled and free."""

from srkd_train.simulation.bag import write_bag
from srkd_train.simulation.scanner import SimulatedScan, simulate_scan
from srkd_train.simulation.sensors import SENSORS, Sensor, sensor_model
from srkd_train.simulation.town import Town, build_town
from srkd_train.simulation.writer import synthesize

__all__ = [
    "SENSORS",
    "Sensor",
    "SimulatedScan",
    "Town",
    "build_town",
    "sensor_model",
    "simulate_scan",
    "synthesize",
    "write_bag",
]
