# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The launch files and what they ship: with the real launch and launch_ros where these are installed."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import yaml

from srkd_ros.node import settings

ROOT = Path(__file__).resolve().parents[1]
FILES = [ROOT / "launch" / "segment.launch.py", ROOT / "launch" / "replay.launch.py"]


def load(path: Path):
    pytest.importorskip("launch_ros.actions", reason="no launch_ros: it comes with a ROS installation")
    import importlib.util

    spec = importlib.util.spec_from_file_location(path.name.replace(".", "_"), path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_launch_files_compile(path):
    compile(path.read_text(), str(path), "exec")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_every_argument_is_described(path):
    description = load(path).generate_launch_description()
    arguments = description.get_launch_arguments()
    assert len(arguments) > 5
    for argument in arguments:
        assert "." in argument.description, argument.name
        if argument.choices:
            assert "".join(s.text for s in argument.default_value) in argument.choices, argument.name


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_arguments_that_are_not_given_leave_the_parameter_file_alone(path, monkeypatch):
    """With stand-ins, so that it holds without a ROS installation too."""
    names = ["launch", "launch_ros", "ament_index_python"]
    names += [f"launch.{n}" for n in ("actions", "conditions", "event_handlers", "events")]
    names += ["launch.launch_description_sources", "launch.substitutions", "ament_index_python.packages"]
    names += ["launch_ros.actions", "launch_ros.parameter_descriptions"]
    for name in names:
        monkeypatch.setitem(sys.modules, name, MagicMock())
    load(path).generate_launch_description()
    declared = {c.args[0]: c.kwargs for c in sys.modules["launch.actions"].DeclareLaunchArgument.call_args_list}
    parameters = declared.keys() & settings.PARAMETERS.keys()
    assert {"model", "runtime", "device", "intensity_scale"} <= parameters
    for name in {*parameters, *({"use_sim_time"} & declared.keys())}:
        assert declared[name].get("default_value", "") == "", name
        assert "" in (declared[name].get("choices") or [""]), name


def test_every_parameter_has_a_launch_argument():
    module = load(FILES[0])
    assert set(module.PARAMETERS) == set(settings.PARAMETERS)


def test_the_parameter_file_documents_every_default():
    parameters = yaml.safe_load((ROOT / "config" / "segment.yaml").read_text())["/**"]["ros__parameters"]
    assert parameters == {name: p.default for name, p in settings.PARAMETERS.items()}


def test_rviz_shows_colours_at_once():
    config = yaml.safe_load((ROOT / "config" / "segment.rviz").read_text())["Visualization Manager"]
    shown = [d for d in config["Displays"] if d["Enabled"] and d["Class"].endswith("PointCloud2")]
    assert [(d["Topic"]["Value"], d["Color Transformer"]) for d in shown] == [("/segmented", "RGB8")]


RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

path, *arguments = sys.argv[1:]
service = LaunchService()
include = IncludeLaunchDescription(
    PythonLaunchDescriptionSource(path), launch_arguments=[tuple(a.split(":=", 1)) for a in arguments]
)
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""


def launch(path: Path, log: Path, *arguments: str) -> subprocess.Popen:
    """A launch file in a session of its own, so that a signal reaches it as from a terminal."""
    with open(log, "w") as file:
        command = [sys.executable, "-c", RUN, str(path), *arguments]
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)


@pytest.fixture
def peer():
    from node_harness import Peer, rclpy

    rclpy.init()
    friend = Peer("labeller", "robot/lidar")
    yield friend
    friend.close()
    rclpy.try_shutdown()


def test_segment_launch_labels_clouds(tmp_path, quick_student_file, peer):
    load(FILES[0])
    from node_harness import street

    arguments = [f"model:={quick_student_file}", "points:=robot/lidar", "name:=labeller", "threads:=1"]
    arguments += ["filter_classes:=[car, person]", "intensity_scale:=255", "sensor_rpy:=[0, 0.1, 0]"]
    process = launch(FILES[0], tmp_path / "log.txt", *arguments)
    try:
        ready = peer.wait(lambda: process.poll() or (peer.connected() and "clouds" in peer.statuses), 60.0)
        assert ready, (tmp_path / "log.txt").read_text()
        assert process.poll() is None, (tmp_path / "log.txt").read_text()
        peer.answer(street())
        assert peer.wait(lambda: peer.statuses["input"][2].get("intensity scale") == "255 (255.0)", 5.0), peer.statuses
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(15.0) == 0, (tmp_path / "log.txt").read_text()


def test_replay_launch_plays_a_bag(tmp_path, quick_student_file, shared_data):
    load(FILES[1])
    from node_harness import Peer, rclpy

    rclpy.init()
    friend = Peer("segmenter", "unused")
    arguments = [f"model:={quick_student_file}", f"bag:={shared_data / 'real_lidar'}", "topic:=/lidar_top"]
    process = launch(FILES[1], tmp_path / "log.txt", *arguments, "rviz:=false", "rate:=0.2", "loop:=false")
    try:
        assert friend.wait(lambda: process.poll() or friend.segmented, 60.0), (tmp_path / "log.txt").read_text()
        end = time.monotonic() + 30.0
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        assert process.poll() == 0, (tmp_path / "log.txt").read_text()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(15.0)
        friend.close()
        rclpy.try_shutdown()
