# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The design's import rules, read off the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*ROOT.glob("srkd_ros/**/*.py"), *ROOT.glob("srkd_train/**/*.py")])


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def offenders(package: str, allowed) -> list[str]:
    found = []
    for path in FILES:
        uses = any(name == package or name.startswith(f"{package}.") for name in imported(path))
        relative = path.relative_to(ROOT).as_posix()
        if uses and not allowed(relative):
            found.append(relative)
    return found


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("srkd_train", lambda p: p.startswith("srkd_train/")),
        ("srkd_ros.network", lambda p: not p.startswith("srkd_ros/geometry/")),
        (
            "rclpy",
            lambda p: (
                p.startswith("srkd_ros/segmenter_node")
                or p.startswith("srkd_ros/node")
                or p == "srkd_ros/replay/player.py"
                or p == "srkd_ros/replay/recorder.py"
            ),
        ),
        ("tensorrt", lambda p: p.startswith("srkd_ros/runtimes/tensorrt")),
        ("tensorrt_rtx", lambda p: p.startswith("srkd_ros/runtimes/tensorrt")),
        ("onnxruntime", lambda p: p == "srkd_ros/runtimes/onnx_runtime.py"),
        ("onnx", lambda p: p.startswith("srkd_train/export")),
        ("triton", lambda p: p.startswith("srkd_ros/gpu/")),
        ("lightning", lambda p: p.startswith("srkd_train/")),
    ],
)
def test_who_may_import_what(package, allowed):
    assert offenders(package, allowed) == []


def test_spconv_is_known_to_one_file():
    assert len(offenders("spconv", lambda _: False)) <= 1


def test_every_file_carries_its_licence():
    unlicensed = [p.name for p in FILES if not p.read_text().startswith("# SPDX-FileCopyrightText")]
    assert unlicensed == []
