# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The node's life: transitions, other publishers, signals, and what stops it at start."""

import array
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from node_harness import NodeProcess, Peer, column, rclpy, start, street
from sensor_msgs.msg import PointCloud2, PointField


@pytest.fixture(autouse=True, scope="module")
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()


def two_fields() -> PointCloud2:
    """A street with its intensity twice, in 16 and in 8 bits."""
    message = street()
    points = np.frombuffer(bytes(message.data), "<f4").reshape(-1, 4)
    packed = np.zeros(len(points), [("xyz", "<f4", 3), ("signal", "<u2"), ("near_ir", "u1"), ("_", "u1")])
    packed["xyz"], packed["signal"], packed["near_ir"] = points[:, :3], points[:, 3] * 65535, points[:, 3] * 255
    added = [("signal", 12, 4), ("near_ir", 14, 2)]
    message.fields = [*message.fields[:3], *(PointField(name=n, offset=o, datatype=t, count=1) for n, o, t in added)]
    message.data = array.array("B", packed.tobytes())
    return message


def test_scale_that_was_found_is_forgotten_with_its_field_and_its_sensor(tmp_path, quick_student_file):
    process, peer = start(tmp_path / "log.txt", quick_student_file, "-p", "intensity_field:=signal")

    def scale_is(expected: str, message: PointCloud2) -> bool:
        peer.answer(message)
        return peer.wait(lambda: peer.statuses["input"][2]["intensity scale"] == expected, 3.0)

    try:
        assert scale_is("65535 (auto)", two_fields())
        assert peer.set("intensity_field", "near_ir")[0]
        assert scale_is("255 (auto)", two_fields())
        assert peer.set("intensity_field", "auto")[0]
        assert scale_is("65535 (auto)", two_fields())
        assert peer.transition("deactivate")
        assert peer.transition("activate")
        assert peer.wait(peer.connected)
        assert scale_is("1 (auto)", street())
        assert peer.set("intensity_scale", 100.0)[0]
        assert peer.set("intensity_field", "intensity")[0]
        assert scale_is("100 (100.0)", street())
        assert peer.transition("deactivate")
        assert peer.transition("activate")
        assert peer.wait(peer.connected)
        assert scale_is("100 (100.0)", street())
    finally:
        process.stop()
        peer.close()


def test_best_effort_driver_that_starts_later(tmp_path, quick_student_file):
    process, peer = start(tmp_path / "log.txt", quick_student_file, best_effort=True)
    try:
        assert peer.wait(lambda: peer.points.get_subscription_count() > 0)
        peer.answer(street())
    finally:
        process.stop()
        peer.close()


@pytest.mark.parametrize("best_effort", [True, False])
def test_losses_on_the_way_are_explained_once(tmp_path, quick_student_file, best_effort):
    """A driver that is delivered reliably and sends now and then loses nothing."""
    process, peer = start(tmp_path / "log.txt", quick_student_file, best_effort=best_effort)
    try:
        message = street(50)
        lucky = np.random.default_rng(0).random(120) < 0.4  # of a stream of 10 Hz, three of five never arrive
        for i in np.flatnonzero(lucky).tolist():
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(10**18 + i * 10**8, 10**9)
            peer.points.publish(message)
            time.sleep(0.04)
        if not best_effort:
            period = "stream's period [ms]"
            assert peer.wait(lambda: peer.statuses["clouds"][2][period] != "unknown", 5.0), peer.statuses
            peer.wait(lambda: False, 1.5)
            assert "never arrive" not in peer.statuses["clouds"][1] + process.log
            return
        assert peer.wait(lambda: "never arrive" in peer.statuses["clouds"][1], 5.0), peer.statuses
        assert "FASTRTPS_DEFAULT_PROFILES_FILE" in peer.statuses["clouds"][1]
        assert "clock" in peer.statuses["latency"][1]  # stamps of 2001
        peer.wait(lambda: False, 1.5)
        assert process.log.count("never arrive") == 1
    finally:
        process.stop()
        peer.close()


def test_reliability_set_by_the_user_is_explained(tmp_path, quick_student_file):
    override = "qos_overrides./points.subscription.reliability:=reliable"
    process, peer = start(tmp_path / "log.txt", quick_student_file, "-p", override, best_effort=True, matched=False)
    try:
        assert peer.wait(lambda: peer.statuses["clouds"][0] == b"\x02", 10.0), peer.statuses
        assert "qos_overrides./points.subscription.reliability:=best_effort" in peer.statuses["clouds"][1]
        assert "does not match" in process.log
    finally:
        process.stop()
        peer.close()


def test_nothing_is_computed_for_nobody(tmp_path, quick_student_file):
    process, peer = start(tmp_path / "log.txt", quick_student_file, listen=False)
    try:
        for _ in range(3):
            peer.send(street())
            time.sleep(0.2)
        assert peer.wait(lambda: peer.statuses["clouds"][2]["not labelled for want of a subscriber"] == "3", 5.0)
        assert peer.statuses["clouds"][2]["published"] == "0"
        assert peer.statuses["clouds"][0] == b"\x00"
        peer.want_filtered()  # a subscriber that comes later is served
        assert peer.wait(lambda: peer.node.count_subscribers("filtered") == 1)
        assert peer.wait(lambda: peer.send(street()) and peer.wait(lambda: peer.filtered, 0.5), 5.0)
        assert peer.filtered[-1].width == street().width
    finally:
        process.stop()
        peer.close()


def test_says_where_the_clouds_are(tmp_path, quick_student_file):
    process, peer = start(tmp_path / "log.txt", quick_student_file, inputs="lidar/points", matched=False)
    try:
        assert peer.wait(lambda: "remap" in peer.statuses["clouds"][1], 10.0), peer.statuses
        assert "/lidar/points" in peer.statuses["clouds"][1]
    finally:
        process.stop()
        peer.close()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "model: not set"),
        (("-p", "model:=/no/such/file.safetensors"), "/no/such/file.safetensors"),
        (("-p", "model:={good}", "-p", "filter_classes:=[unicorn]"), "unicorn"),
        (("-p", "model:={good}", "-p", "device:=cuda:99"), "cuda:99"),
        (("-p", "model:={good}", "-p", "min_confidence:=7.0"), "min_confidence"),
        (("-p", "model:={good}", "-p", "intensity_scale:=bright"), "intensity_scale"),
        (("-p", "model:={good}", "-p", "keep_input_fields:=perhaps"), "keep_input_fields"),
        (("-p", "model:={good}", "-r", "points:=/p", "-r", "segmented:=/p"), "points and segmented are both /p"),
        (
            ("-p", "model:={good}", "-p", "qos_overrides./points.subscription.reliability:=bogus"),
            "qos_overrides./points.subscription.reliability: 'bogus'",
        ),
    ],
)
def test_what_stops_it_at_start(tmp_path, quick_student_file, arguments, says):
    process = NodeProcess(tmp_path / "log.txt", *(a.format(good=quick_student_file) for a in arguments))
    assert process.process.wait(60.0) == 2, process.log
    complaints = [line for line in process.log.splitlines() if "INFO" not in line]
    assert len(complaints) == 1, process.log
    assert says in complaints[0]


@pytest.mark.parametrize(("override", "configured"), [("filtered.publisher", False), ("points.subscription", True)])
def test_a_wrong_override_leaves_the_state_as_it_was(tmp_path, quick_student_file, override, configured):
    """Nothing of what was begun stays: no worker, no publisher, none that is active."""
    arguments = ("-p", "autostart:=false", "-p", f"qos_overrides./{override}.reliability:=bogus")
    process, peer = start(tmp_path / "log.txt", quick_student_file, *arguments, active=False)
    try:
        for _ in range(2):
            assert peer.transition("configure") == configured or peer.state() == "inactive"
        if configured:
            assert not peer.transition("activate")
            assert peer.state() == "inactive"
        else:
            assert peer.state() == "unconfigured"
            assert peer.node.count_publishers("segmented") == 0
            assert peer.set("device", "cpu")[0]  # which a node that holds a model refuses
        assert f"qos_overrides./{override}.reliability: 'bogus' is not one of its values" in process.log
    finally:
        assert process.stop()[0] == 0, process.log
        peer.close()


def test_signal_while_it_loads(tmp_path, student_file):
    process = NodeProcess(tmp_path / "log.txt", "-p", f"model:={student_file}")
    end = time.monotonic() + 60.0
    while "loading" not in process.log and time.monotonic() < end:
        time.sleep(0.01)
    status, seconds = process.stop(signal.SIGTERM)
    assert (status, "Traceback" in process.log) == (0, False), process.log
    assert seconds < 1.5


def test_two_nodes_in_one_process(tmp_path, quick_student_file):
    command = [sys.executable, "-c", PAIR, str(quick_student_file)]  # finds the package where pytest found it
    log = open(tmp_path / "log.txt", "w+")  # noqa: SIM115
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True)
    front, rear = Peer("front_segmenter", "front"), Peer("rear_segmenter", "rear")
    try:
        told = front.wait(lambda: "clouds" in front.statuses and "clouds" in rear.statuses, 60.0)
        assert told, (front.statuses, rear.statuses, (tmp_path / "log.txt").read_text())
        assert front.wait(lambda: front.points.get_subscription_count() and rear.points.get_subscription_count())
        for peer in (front, rear):
            assert (column(peer.answer(street()), "label") != 255).any()
    finally:
        process.terminate()
        process.wait(10.0)
        log.close()
        front.close()
        rear.close()


PAIR = """
import sys
import rclpy
from rclpy.executors import SingleThreadedExecutor
from srkd_ros.segmenter_node import SegmenterNode

rclpy.init()
executor = SingleThreadedExecutor()
for side in ("front", "rear"):
    arguments = ["--ros-args", "-r", f"__node:={side}_segmenter", "-r", f"points:={side}"]
    arguments += ["-p", f"model:={sys.argv[1]}", "-p", "threads:=1"]
    executor.add_node(SegmenterNode(cli_args=arguments, use_global_arguments=False))
executor.spin()
"""
