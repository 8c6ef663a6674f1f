# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Whether a run in its output folder can be continued, and from which checkpoint."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from pathlib import Path
from typing import Any

import yaml

from srkd_ros.errors import ConfigError
from srkd_train.config import TrainConfig

# Where files lie may change between two machines; what they hold is compared by checkpoint (see Supervised).
_FREE_TO_CHANGE = (
    *("resume", "output", "data.root", "data.workers", "teacher.file", "teacher.cache"),
    *("trainer.accelerator", "trainer.recompute", "trainer.save_every", "trainer.log_every"),
)
_WHOLE = ("data.options",)  # compared as a whole: its keys are the dataset's


def checkpoint_to_resume(config: TrainConfig) -> Path | None:
    """The checkpoint that this run continues from, None if it begins; ConfigError if the two do not fit."""
    output = Path(config.output)
    last = output / "checkpoints" / "last.ckpt"
    rank_zero = int(os.environ.get("LOCAL_RANK", "0")) == 0
    if not config.resume:
        if last.exists() and rank_zero:
            raise ConfigError(f"output: {output} holds a run already; add --resume to continue it, or name another")
        return None
    if not last.is_file():  # killed before its first checkpoint, or another folder was meant
        if rank_zero:
            print(f"nothing to resume in {output}: beginning anew")
        return None
    if not zipfile.is_zipfile(last):
        raise ConfigError(f"resume: {last} is damaged, perhaps cut short; begin again in another output")
    before = _read(output / "config.yaml")
    for key, value in _flat(plain(config)).items():
        if key not in _FREE_TO_CHANGE and key in before and before[key] != value:
            raise ConfigError(f"{key}: {value} now, {before[key]} when the run began; resume with the same settings")
    return last


def write_config(config: TrainConfig, path: Path) -> None:
    """Every setting of a run, as YAML, to look up and to compare with when it is resumed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(yaml.safe_dump(plain(config), sort_keys=False))
    os.replace(temporary, path)


def plain(config: Any) -> dict[str, Any]:
    """A configuration in YAML's types."""

    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: convert(v) for k, v in value.items()}
        return [convert(v) for v in value] if isinstance(value, (list, tuple)) else value

    result: dict[str, Any] = convert(dataclasses.asdict(config))
    return result


def _read(path: Path) -> dict[str, Any]:
    """The settings of a run by key."""
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"resume: {path} cannot be read ({reason}); begin again in another output") from error
    if not isinstance(data, dict):
        raise ConfigError(f"resume: {path} is damaged, it holds no settings; begin again in another output")
    return _flat(data)


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict) and prefix + key not in _WHOLE:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
