# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The results folder: one folder a run named by its time, a `latest` link, files that are never seen half written."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import yaml

from srkd_ros.errors import DataError

CLOUD_COLUMNS = (
    "index",
    "input",
    "stamp_ns",
    "log_time_ns",
    "model",
    "points",
    "voxels",
    "miou",
    "accuracy",
    "agreement",
    "consistency",
    "confidence",
    "total_ms",
)


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and put it in its place when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, newline="" if "b" not in mode else None) as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    with replacing(path) as file:
        file.write(to_json(data))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def check_target(option: str, target: str | None) -> None:
    """DataError if a file that an option names cannot be written: before the work, not after it."""
    if not target or target == "-":
        return
    folder = Path(target).parent
    if not folder.is_dir():
        raise DataError(f"{option} {target}: there is no folder {folder}; make it first")
    if Path(target).is_dir():
        raise DataError(f"{option} {target}: is a folder; name a file in it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{option} {target}: {folder} is not writable")


def write_copy(document: Any, target: str | None) -> None:
    """The metrics for --json: a file, or standard output for "-"."""
    if target == "-":
        sys.stdout.write(to_json(document))
    elif target:
        try:
            write_json(Path(target), document)
        except OSError as error:
            raise DataError(f"--json {target}: cannot be written ({error.strerror})") from error


def to_json(data: Any) -> str:
    """Indented; lists of plain numbers stay on one line each."""
    text = json.dumps(data, indent=2, allow_nan=False)
    return re.sub(r"\[[-+0-9.eE,\s]+\]", lambda m: " ".join(m[0].split()), text) + "\n"


def new_folder(root: Path, suffix: str = "") -> Path:
    """Make `root/<timestamp><suffix>`, unique even if runs start within one second."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S") + suffix
    for attempt in range(1, 1000):
        folder = root / (stamp if attempt == 1 else f"{stamp}_{attempt}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise DataError(f"{root}: results cannot be written there ({error.strerror})") from error
    raise DataError(f"{root}: no free name for the results")


def link_latest(folder: Path) -> None:
    """Point `latest` beside the run's folder to it; where links are impossible, leave it out."""
    link = folder.parent / "latest"
    temporary = folder.parent / f".latest.{os.getpid()}"
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        os.replace(temporary, link)
    except OSError:  # a file system without links, or a real folder of that name
        temporary.unlink(missing_ok=True)


class Checkpoint:
    """state.npz of a run: the evaluations' arrays and what is needed to go on, written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state.npz"

    def save(self, arrays: list[dict[str, np.ndarray]], progress: Mapping[str, Any]) -> None:
        """`arrays`: one dict per model. `progress` must be JSON."""
        flat = {f"{i}/{name}": array for i, model in enumerate(arrays) for name, array in model.items()}
        text = np.frombuffer(json.dumps(progress).encode(), np.uint8)
        with replacing(self.path, "wb") as file:
            np.savez_compressed(file, progress=text, **flat)  # type: ignore[arg-type]

    def load(self) -> tuple[list[dict[str, np.ndarray]], dict[str, Any]]:
        """DataError in one line if the file is missing or damaged."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                progress = json.loads(file["progress"].tobytes())
                models: dict[int, dict[str, np.ndarray]] = {}
                for key in file.files:
                    if key != "progress":
                        number, _, name = key.partition("/")
                        models.setdefault(int(number), {})[name] = file[key]
        except Exception as error:  # numpy, zipfile and json each have errors of their own
            raise DataError(f"{self.path}: not a whole state of srkd-replay ({error})") from error
        return [models[i] for i in sorted(models)], progress


class CloudTable:
    """clouds.csv: a line for each cloud and model, appended as the run goes."""

    def __init__(self, folder: Path, before: int | None = None) -> None:
        """`before`: a resumed run goes on with this index; lines from it on are dropped."""
        self.path = folder / "clouds.csv"
        lines = [] if before is None else [row for row in read_table(self.path) if int(row["index"]) < before]
        with replacing(self.path) as file:
            writer = csv.DictWriter(file, CLOUD_COLUMNS)
            writer.writeheader()
            writer.writerows(lines)
        self._file = self.path.open("a", newline="")
        self._writer = csv.DictWriter(self._file, CLOUD_COLUMNS)

    def add(self, **row: Any) -> None:
        self._writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()})

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_table(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a clouds.csv, without a last line that a killed run left half written."""
    if not path.is_file():
        return
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row.get(CLOUD_COLUMNS[-1]) is not None:
                yield row


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    with replacing(folder / "config.yaml") as file:
        yaml.safe_dump(dict(config), file, sort_keys=False, allow_unicode=True)


def unfinished(root: Path, config: Mapping[str, Any]) -> tuple[Path | None, str]:
    """The newest run in `root` with the same config that was interrupted; without one, None and the reason."""
    folders = sorted((p.parent for p in root.glob("*/state.npz") if not p.parent.is_symlink()), reverse=True)
    wanted = json.loads(json.dumps(config))
    reasons = [(len(config) + 1, f"there is no interrupted run in {root}")]  # by the number of settings that differ
    for folder in folders:
        try:
            given = yaml.safe_load((folder / "config.yaml").read_text())
            other = [key for key in wanted if given.get(key) != wanted[key]]
            finished = (folder / "report.html").is_file() and Checkpoint(folder).load()[1]["complete"]
        except (OSError, yaml.YAMLError, DataError, KeyError, AttributeError):
            continue
        if not other and not finished:
            return folder, ""
        if not other:
            reasons.append((0, f"{folder} is the same run and complete"))
        elif not finished:
            reasons.append((len(other), f"{folder} was interrupted with other settings: {', '.join(other)}"))
    return None, min(reasons, key=lambda reason: reason[0])[1]
