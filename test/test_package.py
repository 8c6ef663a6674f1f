# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The installed package, by pip and by colcon: what a robot finds on its disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TRAINING = ("lightning", "jsonargparse", "tensorboard", "torchmetrics", "onnx", "embreex", "spconv")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the package's files, so that builds leave nothing in the working tree."""
    target = tmp_path_factory.mktemp("workspace") / "src" / "srkd_ros"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "*.so")
    for folder in ("srkd_ros", "srkd_train", "launch", "config", "resource"):
        shutil.copytree(ROOT / folder, target / folder, ignore=ignored)
    for file in ("setup.py", "setup.cfg", "package.xml", "pyproject.toml"):
        shutil.copy(ROOT / file, target)
    return target


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def check_share(share: Path) -> None:
    for name in ("package.xml", "config/labels/semantickitti.yaml", "config/segment.yaml", "launch/segment.launch.py"):
        assert (share / name).is_file(), name


def test_pip_install_is_whole(source, tmp_path):
    prefix = tmp_path / "prefix"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--prefix", str(prefix)]
    run(*pip, ".", cwd=source)
    check_share(prefix / "share" / "srkd_ros")
    assert {"segmenter_node", "srkd-replay", "srkd-train"} <= {p.name for p in (prefix / "bin").iterdir()}
    packages = next(prefix.glob("lib/python*/site-packages"))
    code = "import srkd_ros.labels as l; print(l.__file__); print(l.available()); "
    code += "import srkd_ros.native as n; k = n.load_kernels(); print(k and k.kind)"
    printed = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(packages)).splitlines()
    assert printed[0].startswith(str(packages))
    assert "semantickitti" in printed[1]
    assert (printed[2] == "None") == (shutil.which("g++") is None)  # its kernels, where there is a compiler


def test_without_a_compiler_the_package_installs_all_the_same(source, tmp_path):
    prefix = tmp_path / "prefix"
    shutil.rmtree(source / "build", ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--prefix", str(prefix)]
    run(*pip, ".", cwd=source, CC="/no/compiler", CXX="/no/compiler")
    packages = next(prefix.glob("lib/python*/site-packages"))
    assert not list(packages.glob("srkd_ros/native/*.so"))
    code = "import srkd_ros.native as n; print(n.load_kernels())"
    assert run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(packages)).strip() == "None"


def test_colcon_build_is_whole(source):
    pytest.importorskip("colcon_core")
    pytest.importorskip("colcon_ros")
    workspace = source.parents[1]
    run(sys.executable, "-m", "colcon", "--log-base", "log", "build", cwd=workspace)
    prefix = workspace / "install" / "srkd_ros"
    check_share(prefix / "share" / "srkd_ros")
    assert (prefix / "share/ament_index/resource_index/packages/srkd_ros").is_file()
    if shutil.which("g++"):
        assert list(prefix.glob("lib/python*/site-packages/srkd_ros/native/_*.so"))
    for name in ("segmenter_node", "srkd-replay", "srkd-train"):  # where ros2 run looks
        script = prefix / "lib" / "srkd_ros" / name
        assert script.is_file()
        assert sys.executable in script.read_text().splitlines()[0]


def test_the_robots_half_needs_no_training_package():
    code = f"""
import sys
for name in {TRAINING!r}:
    sys.modules[name] = None  # importing it now fails
import srkd_ros.segmenter, srkd_ros.pointcloud2, srkd_ros.replay.cli, srkd_ros.runtimes.torch_runtime
"""
    run(sys.executable, "-c", code, cwd=ROOT)


def test_versions_agree():
    import srkd_ros

    assert f"<version>{srkd_ros.__version__}</version>" in (ROOT / "package.xml").read_text()
