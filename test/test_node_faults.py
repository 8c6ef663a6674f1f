# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Faults that no input can cause here, put in by hand: a full GPU, a defect of ours, an error while configuring."""

import threading

import pytest
import torch
from node_harness import Peer, rclpy, street
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

import srkd_ros.node.work
from srkd_ros.node.executor import CloudExecutor
from srkd_ros.node.work import Work
from srkd_ros.segmenter_node import SegmenterNode


@pytest.fixture
def node(quick_student_file):
    rclpy.init()
    overrides = [
        Parameter("model", value=str(quick_student_file)),
        Parameter("autostart", value=False),
        Parameter("threads", value=1),
    ]
    made = SegmenterNode(parameter_overrides=overrides)
    executor = CloudExecutor()
    executor.add_node(made)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield made
    made.close(5.0)
    executor.shutdown(1.0)
    thread.join(1.0)
    made.destroy_node()
    rclpy.try_shutdown()


def test_defects_and_a_full_gpu_cost_one_cloud(node, monkeypatch):
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    peer = Peer()
    try:
        assert peer.wait(lambda: peer.connected() and "clouds" in peer.statuses)
        label = Work.label
        for error, says in (
            (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "out of memory"),
            (IndexError("a defect"), "IndexError: a defect"),
        ):

            def fail(*_, error=error):
                raise error

            monkeypatch.setattr(Work, "label", fail)
            failed = node.tally.failed.total
            peer.send(street())
            assert peer.wait(lambda f=failed: node.tally.failed.total == f + 1)
            assert peer.wait(lambda s=says: s in peer.statuses["clouds"][1], 3.0), peer.statuses
            assert peer.statuses["clouds"][0] == b"\x02"
            monkeypatch.setattr(Work, "label", label)
            peer.answer(street())
    finally:
        peer.close()


def test_an_error_while_configuring_is_recovered_from(node, monkeypatch):
    def fail(*_):
        raise RuntimeError("a driver in a bad mood")

    with monkeypatch.context() as patched:
        patched.setattr(srkd_ros.node.work, "load", fail)
        assert node.trigger_configure() == TransitionCallbackReturn.ERROR
    assert node.state == "unconfigured"
    assert node.work is None
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    assert node.work is None


def test_the_model_given_at_start_may_lie_anywhere_but_not_the_next_one(node, quick_student_file, student_file):
    for value, taken in ((str(student_file), False), (quick_student_file.name, True), (str(quick_student_file), True)):
        (result,) = node.set_parameters([Parameter("model", value=value)])
        assert result.successful == taken, result.reason
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
