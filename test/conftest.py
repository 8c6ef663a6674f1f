# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Fixtures shared by all tests: the folder of real scans, and ROS settings that keep tests on this machine."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before rclpy is imported anywhere: no test talks beyond the loopback, nor with another run on the same machine.
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(20 + os.getpid() % 80))


def pytest_configure() -> None:
    """One torch thread: tests start processes of their own, and threads that wait for a core make all of them crawl."""
    importlib.import_module("srkd_ros")  # sets OpenMP's way of waiting, which torch reads as it is imported
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    if not torch.cuda.is_available():  # read when Triton is imported: its interpreter runs our GPU kernels here
        os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def _nothing_stays_taken() -> Iterator[None]:
    """Students loaded on a GPU leave kernels in force there, which the next test would compare with themselves."""
    yield
    if "srkd_ros.gpu" in sys.modules:
        sys.modules["srkd_ros.gpu"]._taken.clear()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of recorded scans (SRKD_TEST_DATA, else ../shared/data); tests that need it skip without it."""
    folder = Path(os.environ.get("SRKD_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no recorded scans at {folder} (set SRKD_TEST_DATA)")
    return folder


@pytest.fixture(scope="module", params=["kernels", "torch"])
def either_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once with the C++ kernels, once without: what torch computes in their place is what GPUs and others run."""
    from srkd_ros import native

    if request.param == "kernels" and native.load_kernels() is None:
        pytest.skip("no C++ kernels were built")
    with native.without_kernels() if request.param == "torch" else contextlib.nullcontext():
        yield


@pytest.fixture(scope="session")
def student_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student file with the real nano network and random weights: for what does not depend on good labels."""
    import torch

    from srkd_ros import student
    from srkd_ros.labels import LabelSet
    from srkd_ros.network import PointTransformer, preset

    torch.manual_seed(0)
    config = preset("nano")
    statistics = student.InputStatistics(
        intensity={"0.01": 0.0, "0.5": 0.3, "0.99": 1.0},
        range={"0.01": 2.0, "0.5": 12.0, "0.99": 70.0},
        z={"0.01": -2.0, "0.5": -1.0, "0.99": 6.0},
    )
    preprocessing = student.Preprocessing(voxel_size=0.2)
    manifest = student.Manifest(config, LabelSet.load("semantickitti"), preprocessing, 1.0, statistics)
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    student.save(path, PointTransformer(config).state_dict(), manifest)
    return path


@pytest.fixture(scope="session")
def quick_student_file(student_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights with voxels of one metre: labels 128-beam clouds at sensor rate on one slow core."""
    import dataclasses

    from srkd_ros import student

    tensors, manifest = student.load(student_file)
    preprocessing = dataclasses.replace(manifest.preprocessing, voxel_size=1.0)
    path = tmp_path_factory.mktemp("models") / "quick.safetensors"
    student.save(path, tensors, dataclasses.replace(manifest, preprocessing=preprocessing))
    return path
