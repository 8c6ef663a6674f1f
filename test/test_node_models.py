# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Models of the node: loaded, swapped while it runs, and refused."""

import contextlib
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from node_harness import NodeProcess, rclpy, start, street


@pytest.fixture(autouse=True, scope="module")
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def model_dir(tmp_path, quick_student_file, student_file):
    """Two good models and some that are not."""
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(quick_student_file, folder / "first.safetensors")
    shutil.copy(student_file, folder / "second.safetensors")
    (folder / "torn.safetensors").write_bytes(quick_student_file.read_bytes()[:5000])
    whole = student_file.read_bytes()
    (folder / "nan.safetensors").write_bytes(whole[:-64] + b"\xff" * 64)  # the header is in order
    (folder / "made_elsewhere.engine").write_bytes(b"anything")
    shutil.copy(student_file, tmp_path / "outside.safetensors")
    return folder


def test_lifecycle_manager_and_live_swap(tmp_path, model_dir):
    model = model_dir / "first.safetensors"
    process, peer = start(tmp_path / "log.txt", model, "-p", "autostart:=false", active=False)
    try:
        assert peer.state() == "unconfigured"
        assert not peer.transition("activate")
        assert peer.transition("configure")
        assert peer.state() == "inactive"
        assert peer.transition("activate")
        assert peer.wait(peer.connected)
        peer.answer(street())

        assert peer.set("model", "second.safetensors") == (True, "")
        assert peer.wait(lambda: "second.safetensors" in peer.statuses["model"][1], 3.0)
        peer.answer(street())
        for wrong, why in (
            ("torn.safetensors", "torn.safetensors"),
            ("nan.safetensors", "no numbers"),
            ("missing.safetensors", "there are first.safetensors, nan.safetensors, second.safetensors"),
            ("made_elsewhere.engine", "neither a .safetensors nor an .onnx"),
            ("../outside.safetensors", "outside of model_dir"),
            (str(model_dir.parent / "outside.safetensors"), "outside of model_dir"),
        ):
            taken, reason = peer.set("model", wrong)
            assert not taken
            assert why in reason
            assert "\n" not in reason
        assert not peer.set("model_dir", "/")[0]
        assert not peer.request_transition(1)  # configure, which an active node cannot
        assert not peer.delete("filter_classes")[0]
        assert not peer.set("device", "cuda")[0]
        assert peer.wait(lambda: peer.statuses["model"][0] == b"\x01", 3.0)
        assert "second.safetensors" in peer.statuses["model"][1]
        peer.answer(street())

        assert peer.transition("deactivate")
        peer.segmented.clear()
        peer.send(street())
        assert not peer.wait(lambda: peer.segmented, 0.5)
        assert peer.transition("activate")
        assert peer.wait(peer.connected)
        peer.answer(street())
        assert peer.transition("deactivate")
        assert peer.transition("cleanup")
        assert peer.state() == "unconfigured"
        assert peer.set("model", "first.safetensors")[0]
        assert peer.transition("configure")
        assert peer.transition("cleanup")
    finally:
        status, seconds = process.stop(signal.SIGTERM)
        peer.close()
    assert (status, "Traceback" in process.log) == (0, False), process.log
    assert seconds < 1.0


def test_diagnostics_say_why_there_is_no_model(tmp_path, model_dir):
    missing = model_dir / "missing.safetensors"
    process, peer = start(tmp_path / "log.txt", missing, "-p", "autostart:=false", active=False)

    def told(level: bytes, *parts: str) -> bool:
        return peer.wait(
            lambda: peer.statuses["model"][0] == level and all(p in peer.statuses["model"][1] for p in parts), 3.0
        )

    try:
        assert told(b"\x00", "no model loaded (unconfigured)")
        assert not peer.transition("configure")
        assert told(b"\x01", "no model loaded (unconfigured)", f"{missing}: no such model file"), peer.statuses
        assert peer.set("model", "first.safetensors")[0]
        assert told(b"\x00")
        assert not peer.set("model", "typo.onnx")[0]
        assert told(b"\x01", "no 'typo.onnx'"), peer.statuses
        assert peer.transition("configure")
        assert told(b"\x00", "first.safetensors"), peer.statuses
        assert peer.transition("cleanup")
        assert told(b"\x00", "no model loaded")
    finally:
        process.stop()
        peer.close()


def test_swap_loses_no_more_than_one_cloud(tmp_path, model_dir):
    process, peer = start(tmp_path / "log.txt", model_dir / "first.safetensors")
    try:
        slow = max(0.2, 4 * min(_seconds(lambda: peer.answer(street())) for _ in range(5)))
        peer.segmented.clear()
        sent = 0
        swap = threading.Thread(target=lambda: results.append(peer.set("model", "first.safetensors")))
        results: list = []
        for i in range(30):
            if i == 5:
                swap.start()
            peer.send(street())
            sent += 1
            time.sleep(slow)
        swap.join(30.0)
        assert results == [(True, "")]
        assert peer.wait(lambda: len(peer.segmented) >= sent - 1, 3.0), (len(peer.segmented), sent, process.log)
    finally:
        process.stop()
        peer.close()


def niceness(process: NodeProcess) -> dict[int, int]:
    """Of every thread of a process."""
    found = {}
    for task in Path(f"/proc/{process.process.pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            found[int(task.name)] = int((task / "stat").read_text().rpartition(")")[2].split()[16])
    return found


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads Linux's /proc")
@pytest.mark.skipif(os.getpriority(os.PRIO_PROCESS, 0) == 19, reason="nothing can be nicer than this process")
def test_no_thread_stays_nice_after_a_swap(tmp_path, quick_student_file):
    pytest.importorskip("onnxruntime")
    export = pytest.importorskip("srkd_train.export")
    model = shutil.copy(quick_student_file, tmp_path / "first.safetensors")
    export.run_export(model)
    process, peer = start(tmp_path / "log.txt", model, "-p", "threads:=2")
    try:
        peer.answer(street())
        (usual,) = set(niceness(process).values())
        for name in ("first.onnx", "first.safetensors"):
            before = niceness(process).keys()
            assert peer.set("model", name) == (True, "")
            peer.answer(street())
            # The thread that loaded stays nice until it ends; what is new after it is onnxruntime's pool.
            assert peer.wait(lambda: set(niceness(process).values()) == {usual}, 5.0), niceness(process)
            if name == "first.onnx":
                assert niceness(process).keys() - before, "onnxruntime has started no pool"
    finally:
        process.stop()
        peer.close()


def _seconds(function) -> float:
    start_time = time.monotonic()
    function()
    return time.monotonic() - start_time
