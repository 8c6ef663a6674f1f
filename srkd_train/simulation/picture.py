# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The picture of a simulated scan in the docs: `python -m srkd_train.simulation.picture OUT.png`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from srkd_ros.labels import LabelSet
from srkd_train.simulation.scanner import SimulatedScan, simulate_scan
from srkd_train.simulation.sensors import sensor_model
from srkd_train.simulation.town import build_town

BACKGROUND = "#0c0d12"


def perspective(points: np.ndarray, eye: np.ndarray, target: np.ndarray, focal: float) -> tuple[np.ndarray, np.ndarray]:
    """Image coordinates [N, 2] and depths [N] of points [N, 3] for a camera at eye that looks at target, z up."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    view = (points - eye) @ np.stack([right, np.cross(right, forward), forward], 1)
    return focal * view[:, :2] / np.maximum(view[:, 2:], 0.1), view[:, 2]


def draw(scan: SimulatedScan, path: Path, title: str) -> None:
    """Above: the scan from behind and above the sensor, by class. Below: from straight above, by intensity."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    labels = LabelSet.load("semantickitti")
    xyz, intensity = scan.xyz[scan.returned], scan.intensity[scan.returned]
    classes = labels.from_raw(scan.raw_ids[scan.returned] & 0xFFFF)
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(14, 13), height_ratios=(1.25, 1), facecolor=BACKGROUND, layout="constrained"
    )
    image, depth = perspective(xyz, np.array([-24.0, 5.0, 15.0]), np.array([10.0, 0.0, -2.0]), 1.0)
    order = np.argsort(-depth)
    order = order[depth[order] > 2]
    size = np.clip(60.0 / depth[order], 0.6, 6.0)
    top.scatter(*image[order].T, s=size, c=labels.palette[classes[order]] / 255.0, linewidths=0)
    top.set(xlim=(-0.85, 0.85), ylim=(-0.5, 0.32))
    bottom.scatter(xyz[:, 0], xyz[:, 1], s=0.7, c=np.sqrt(intensity), cmap="turbo", vmin=0, vmax=0.9, linewidths=0)
    bottom.set(xlim=(-50, 50), ylim=(-27, 27))
    for axis in (top, bottom):
        axis.set_aspect("equal")
        axis.set_facecolor(BACKGROUND)
        axis.axis("off")
    names, colors = labels.names, labels.colors / 255.0
    shown = [i for i in range(len(labels)) if (classes == i).sum() > 15]
    handles = [plt.Line2D([], [], marker="o", ls="", color=colors[i], label=names[i]) for i in shown]
    top.legend(
        handles=handles,
        ncols=9,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        frameon=False,
        labelcolor="white",
        fontsize=9,
    )
    top.set_title(title, color="white", fontsize=11)
    temporary = path.with_name(path.stem + ".tmp.png")
    figure.savefig(temporary, dpi=100, facecolor=BACKGROUND)
    plt.close(figure)
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sensor", default="os1-128")
    parser.add_argument("--style", default="residential")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--index", type=int, default=3)
    parser.add_argument("--time", type=float, default=8.0)
    arguments = parser.parse_args()
    sensor = sensor_model(arguments.sensor)
    town = build_town(arguments.seed, arguments.index, style=arguments.style)
    scan = simulate_scan(town, sensor, arguments.time)
    title = f"simulated {sensor.name}, {sensor.rings} x {sensor.columns}, {int(scan.returned.sum()):,} returns"
    draw(scan, arguments.out, title)


if __name__ == "__main__":
    main()
