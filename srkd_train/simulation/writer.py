# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Synthetic data sets on disk: SemanticKITTI's layout, a town a sequence, written so that a killed run resumes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import yaml
from rich.progress import Progress

from srkd_ros.errors import ConfigError, DataError
from srkd_train.simulation.bag import write_bag
from srkd_train.simulation.scanner import SimulatedScan, simulate_scan
from srkd_train.simulation.sensors import Sensor, sensor_model
from srkd_train.simulation.town import ORDER, STYLES, build_town

VERSION = 3
"""Of the generator: raise it whenever the same settings give other bytes, so that old folders are not resumed."""


def synthesize(
    out: Path,
    sequences: int = 8,
    scans: int = 40,
    sensor: str = "os1-64",
    seed: int = 0,
    bag: bool = False,
    columns: int | None = None,
    progress: bool = True,
    stride: int | None = None,
) -> Path:
    """Write sequences towns of scans sweeps each under out/sequences, and return out.

    Each sequence is a town of its own; the last quarter of the sequences (at least one of two or more) is the
    validation split in out/dataset.yaml. stride: of how many revolutions one is kept; None: 1 with bag, else 5, for
    variety. bag: also a rosbag2 (mcap) per sequence in a driver's layout, and the truth of each of its clouds in
    bag_labels. A folder begun with the same settings is completed; DataError if it was begun with others;
    ConfigError names an impossible setting.
    """
    out = Path(out)
    model = sensor_model(sensor, columns)
    stride = stride or (1 if bag else 5)
    for name, value, most in (("sequences", sequences, 1000), ("scans", scans, 100_000), ("stride", stride, 1000)):
        if not 1 <= value <= most:
            raise ConfigError(f"{name} is {value}; 1 to {most} are possible")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; it must be 0 or more")
    settings = {
        "version": VERSION, "sequences": sequences, "scans": scans, "sensor": sensor, "columns": model.columns,
        "seed": seed, "stride": stride,
    }  # fmt: skip
    _claim(out, settings)
    names = [f"{i:02d}" for i in range(sequences)]
    held_out = max(1, sequences // 4) if sequences > 1 else 0
    _replace(
        out / "dataset.yaml",
        yaml.safe_dump(
            {
                "labels": "semantickitti",
                "intensity_scale": 1.0,
                "sensor": sensor,
                "rate": model.rate / stride,
                "split": {"train": names[: sequences - held_out], "val": names[sequences - held_out :]},
            },
            sort_keys=False,
        ).encode(),
    )
    with Progress(disable=not progress) as bars:
        task = bars.add_task(f"synthesizing {sensor}", total=sequences * scans)
        for index, name in enumerate(names):
            # Each split begins with the first style anew: no held-out style is one that training has not seen.
            style = ORDER[(index if index < sequences - held_out else index - sequences + held_out) % len(ORDER)]
            folder = out / "sequences" / name
            _sequence(folder, index, style, model, scans, seed, stride, bag, lambda: bars.advance(task))
    return out


def _claim(out: Path, settings: dict) -> None:
    """Write synth.json, or check that the one that is there says the same."""
    note = out / "synth.json"
    if note.is_file():
        try:
            known = json.loads(note.read_text())
        except ValueError:
            known = None
        if known != settings:
            raise DataError(
                f"{out} holds synthetic data of other settings (synth.json); delete it or name another folder"
            )
        return
    if out.exists() and (not out.is_dir() or any(p.suffix != ".tmp" for p in out.iterdir())):
        raise DataError(f"{out} exists and holds no synthetic data (no synth.json); name a new or empty folder")
    out.mkdir(parents=True, exist_ok=True)
    _replace(note, (json.dumps(settings, indent=1) + "\n").encode())


def _sequence(
    folder: Path,
    index: int,
    style: str,
    sensor: Sensor,
    scans: int,
    seed: int,
    stride: int,
    bag: bool,
    done: Callable[[], None],
) -> None:
    """Write what is missing of one sequence; calls done once a scan."""
    clouds, labels, truth = folder / "velodyne", folder / "labels", folder / "bag_labels"
    times = np.arange(scans) * (stride / sensor.rate)
    files = [(clouds / f"{i:06d}.bin", labels / f"{i:06d}.label") for i in range(scans)]
    missing = {i for i, pair in enumerate(files) if not all(path.is_file() for path in pair)}
    make_bag = bag and not (folder / "bag" / "metadata.yaml").is_file()
    if not missing and not make_bag and (folder / "times.txt").is_file():
        for _ in range(scans):
            done()
        return
    clouds.mkdir(parents=True, exist_ok=True)
    labels.mkdir(exist_ok=True)
    town = build_town(seed, index, STYLES[style].speed * float(times[-1]) + 20.0, style)
    first = town.pose(0.0)
    identity = "1 0 0 0 0 1 0 0 0 0 1 0"
    _replace(folder / "calib.txt", "".join(f"{k}: {identity}\n" for k in ("P0", "P1", "P2", "P3", "Tr")).encode())
    relative = [np.linalg.inv(first) @ town.pose(t) for t in times]
    _replace(
        folder / "poses.txt", "".join(" ".join(f"{v:.9e}" for v in p[:3].ravel()) + "\n" for p in relative).encode()
    )

    def sweeps() -> Iterator[SimulatedScan]:
        """Simulate, and write the files of each sweep before it is handed on."""
        for i, time in enumerate(times):
            if i in missing or make_bag:
                scan = simulate_scan(town, sensor, float(time), seed=(seed * 1009 + index) * 100_003 + i)
                _write_scan(scan, *files[i])
                if make_bag:
                    _replace(truth / f"{i:06d}.label", scan.raw_ids.astype("<u4").tobytes())
                yield scan
            done()

    if make_bag:
        truth.mkdir(exist_ok=True)
        write_bag(folder / "bag", sweeps(), sensor, seed=seed)
    else:
        for _ in sweeps():
            pass
    _replace(folder / "times.txt", "".join(f"{t:.6e}\n" for t in times).encode())


def _write_scan(scan: SimulatedScan, cloud: Path, label: Path) -> None:
    """The returned points in the order of the sweep; labels last, so that a pair is whole when its label exists."""
    seen = scan.returned
    points = np.concatenate([scan.xyz[seen], scan.intensity[seen][:, None]], 1)
    _replace(cloud, points.astype("<f4").tobytes())
    _replace(label, scan.raw_ids[seen].astype("<u4").tobytes())


def _replace(path: Path, data: bytes) -> None:
    """Write whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)
