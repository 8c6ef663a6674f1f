# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The kernels' C++ files and their hash. setup.py runs this file by itself, where nothing is installed yet."""

import hashlib
from pathlib import Path


def source_files(folder: Path) -> list[Path]:
    """All *.cpp and *.h files, sorted; an editor's hidden ones are none."""
    return sorted(file for kind in ("*.cpp", "*.h") for file in folder.glob(kind) if file.name[0] != ".")


def sources_hash(folder: Path) -> str:
    """Tells kernels that were built from other sources apart; empty where there are no sources, as on a robot."""
    contents = [file.read_bytes() for file in source_files(folder)]
    return hashlib.sha256(b"".join(contents)).hexdigest()[:16] if contents else ""
