# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""CloudExecutor with a real node: subscriptions stay prompt, others run beside them, nothing is handed over twice."""

import threading
import time

import pytest
from lifecycle_msgs.srv import GetState
from node_harness import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.task import Future
from std_msgs.msg import String

from srkd_ros.node.executor import CloudExecutor


@pytest.fixture
def spun():
    """A node in a spinning CloudExecutor, and what its spinning raised."""
    rclpy.init()
    node = rclpy.create_node("spun")
    executor = CloudExecutor()
    executor.add_node(node)
    raised = []

    def spin():
        try:
            executor.spin()
        except ValueError as error:
            raised.append(error)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    yield node, executor, raised
    executor.shutdown(1.0)
    thread.join(2.0)
    assert not thread.is_alive()
    node.destroy_node()
    rclpy.try_shutdown()


def wait(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_messages_pass_a_slow_timer(spun):
    node, _, _ = spun
    heard, release, entered = [], threading.Event(), threading.Event()

    def slow():
        entered.set()
        release.wait(20.0)

    node.create_timer(0.05, slow, MutuallyExclusiveCallbackGroup())
    node.create_subscription(String, "words", heard.append, 10, callback_group=MutuallyExclusiveCallbackGroup())
    publisher = node.create_publisher(String, "words", 10)
    assert entered.wait(10.0)
    assert wait(lambda: publisher.get_subscription_count() == 1)
    for word in "abc":
        publisher.publish(String(data=word))
    assert wait(lambda: len(heard) == 3), heard
    assert [m.data for m in heard] == ["a", "b", "c"]
    assert not release.is_set()
    release.set()


def test_a_callback_is_handed_over_once_even_if_no_thread_gets_to_run(spun, monkeypatch):
    """rclpy's MultiThreadedExecutor hands it over hundreds of times while another thread holds Python's lock."""
    node, executor, _ = spun
    handed, ticked, stop = [], [], threading.Event()
    submit = executor._threads.submit
    monkeypatch.setattr(executor._threads, "submit", lambda handler: handed.append(handler) or submit(handler))

    def hog():
        while not stop.is_set():
            sum(range(2000))

    threading.Thread(target=hog, daemon=True).start()
    node.create_timer(0.02, lambda: ticked.append(1), MutuallyExclusiveCallbackGroup())
    assert wait(lambda: len(ticked) > 10)
    stop.set()
    assert len(ticked) <= len(handed) <= len(ticked) + 1


def test_what_a_service_raises_is_logged_and_the_spinning_goes_on(spun):
    node, _, raised = spun
    served, ticked = [], []

    def fail(request, response):
        served.append(request)
        raise ValueError("a defect")

    node.create_service(GetState, "fails", fail)
    client = node.create_client(GetState, "fails", callback_group=MutuallyExclusiveCallbackGroup())
    assert client.wait_for_service(10.0)
    client.call_async(GetState.Request())
    assert wait(lambda: served)
    node.create_timer(0.05, lambda: ticked.append(1), MutuallyExclusiveCallbackGroup())
    assert wait(lambda: len(ticked) > 2)
    assert not raised


def test_spinning_until_a_future_of_another_thread():
    rclpy.init()
    try:
        executor, future = CloudExecutor(), Future()
        threading.Timer(0.3, future.set_result, ("done",)).start()
        start = time.monotonic()
        executor.spin_until_future_complete(future, 10.0)
        assert time.monotonic() - start < 5.0
        assert future.result() == "done"
        executor.shutdown(1.0)
    finally:
        rclpy.try_shutdown()


@pytest.mark.parametrize("kind", ["subscription", "timer"])
def test_what_a_callback_raises_ends_the_spinning(spun, kind):
    node, _, raised = spun

    def fail(*_):
        raise ValueError("a defect")

    if kind == "timer":
        node.create_timer(0.05, fail)
    else:
        node.create_subscription(String, "words", fail, 10)
        publisher = node.create_publisher(String, "words", 10)
        assert wait(lambda: publisher.get_subscription_count() == 1)
        publisher.publish(String(data="x"))
    assert wait(lambda: raised)
    assert str(raised[0]) == "a defect"
