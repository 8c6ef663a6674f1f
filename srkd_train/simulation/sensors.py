# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Sensor models: beam elevations, columns, rate, range and noise of four spinning LiDARs, from their data sheets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from srkd_ros.errors import ConfigError


@dataclass(frozen=True)
class Sensor:
    """One spinning LiDAR. Ring 0 is the first row of an organised cloud; x forward, y left, z up (REP 103)."""

    name: str
    elevations: tuple[float, ...]  # degrees, in order of the driver's ring number
    columns: int  # firings per revolution
    rate: float  # revolutions per second
    range_min: float  # metres
    range_max: float  # metres
    range_at_10_percent: float  # metres at which half the returns of a 10 % Lambertian target are still seen
    sigma: float  # metres, standard deviation of the range of a good return
    dropout: float  # share of good returns lost at random
    family: str  # "ouster" or "velodyne": the field layout of the driver's clouds

    @property
    def rings(self) -> int:
        return len(self.elevations)

    def directions(self) -> np.ndarray:
        """Unit vectors of a revolution, float32 [H, W, 3]; columns turn clockwise, beginning at the back."""
        azimuth = np.pi - (np.arange(self.columns) + 0.5) * (2 * np.pi / self.columns)
        elevation = np.deg2rad(np.array(self.elevations))[:, None]
        direction = np.empty((self.rings, self.columns, 3), np.float32)
        direction[..., 0] = np.cos(elevation) * np.cos(azimuth)
        direction[..., 1] = np.cos(elevation) * np.sin(azimuth)
        direction[..., 2] = np.sin(elevation)
        return direction


def _ouster(name: str, rings: int) -> Sensor:
    # OS1 data sheet, revision 7: 42.4 degrees, uniform. The first ring looks highest; clouds are destaggered.
    elevations = tuple(np.linspace(21.2, -21.2, rings).tolist())
    return Sensor(name, elevations, 1024, 10.0, 0.5, 120.0, 70.0, 0.015, 0.01, "ouster")


SENSORS: dict[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        _ouster("os1-64", 64),
        _ouster("os1-128", 128),
        # HDL-32E user manual: 32 beams from -30.67 to +10.67 degrees, 46.08 us a firing; 1084 of them in 1/20 s.
        Sensor(
            "hdl-32e",
            tuple(np.linspace(-92 / 3, 32 / 3, 32).tolist()),
            1084,
            20.0,
            1.0,
            100.0,
            65.0,
            0.02,
            0.01,
            "velodyne",
        ),
        # VLP-16 user manual: 16 beams, 2 degrees apart, 55.296 us a firing; 1808 of them in 1/10 s.
        Sensor(
            "vlp-16",
            tuple(np.linspace(-15.0, 15.0, 16).tolist()),
            1808,
            10.0,
            0.9,
            100.0,
            65.0,
            0.02,
            0.01,
            "velodyne",
        ),
    )
}


def sensor_model(name: str, columns: int | None = None) -> Sensor:
    """The sensor of that name, with another number of columns if given; ConfigError names the known ones."""
    if name not in SENSORS:
        raise ConfigError(f"no sensor {name!r}; known are {', '.join(SENSORS)}")
    if columns is None:
        return SENSORS[name]
    if not 16 <= columns <= 8192:
        raise ConfigError(f"columns is {columns}; 16 to 8192 are possible")
    return replace(SENSORS[name], columns=columns)
