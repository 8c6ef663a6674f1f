# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Where the files of `config/` and `launch/` lie: in a source tree, a pip install or a colcon install."""

import sys
from pathlib import Path

from srkd_ros.errors import ConfigError


def share_directories() -> list[Path]:
    """Folders that may hold `config/`, nearest first: source tree, ament prefixes, the interpreter's prefix."""
    package = Path(__file__).resolve().parent
    candidates = [package.parent]
    candidates += [parent / "share" / "srkd_ros" for parent in package.parents]
    candidates.append(Path(sys.prefix) / "share" / "srkd_ros")
    return [folder for folder in candidates if (folder / "config" / "labels").is_dir()]


def find(relative: str) -> Path:
    """Path of a shipped file such as `config/labels/semantickitti.yaml`; ConfigError if it is not installed."""
    for folder in share_directories():
        if (folder / relative).exists():
            return folder / relative
    raise ConfigError(f"{relative} is not installed with srkd_ros: reinstall the package")
