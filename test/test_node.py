# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The node as a process, labelling clouds that another process publishes."""

import array
import time
from types import SimpleNamespace

import numpy as np
import pytest
from node_harness import PointCloud2, PointField, cloud, column, rclpy, real_clouds, stamp_of, start, street

from srkd_ros.labels import LabelSet
from srkd_ros.node.tally import Tally
from srkd_ros.segmenter_node import SegmenterNode


def timed(function) -> float:
    start = time.monotonic()
    function()
    return time.monotonic() - start


OUTPUT_FIELDS = ["x", "y", "z", "rgb", "label", "confidence"]


@pytest.fixture(scope="module")
def node(tmp_path_factory, quick_student_file):
    rclpy.init()
    log = tmp_path_factory.mktemp("node") / "log.txt"
    process, peer = start(log, quick_student_file)
    yield process, peer
    status, seconds = process.stop()
    peer.close()
    rclpy.try_shutdown()
    assert status == 0, process.log
    assert seconds < 1.0
    assert "Traceback" not in process.log


@pytest.mark.parametrize("topic", ["/ouster/points", "/lidar_top"])
def test_every_real_cloud_comes_out_once(node, shared_data, topic):
    process, peer = node
    sent = real_clouds(shared_data, topic) * 3
    peer.answer(sent[0])  # another layout and size than before: not timed
    slowest = max(timed(lambda: peer.answer(sent[0])) for _ in range(3))
    period = max(0.1, 2 * slowest)  # 10 Hz, unless other programs leave this machine too little
    peer.segmented.clear()
    stamps = []
    beat = time.monotonic()
    for message in sent:
        stamps.append(peer.send(message))
        beat = max(beat + period, time.monotonic())
        time.sleep(max(0.0, beat - time.monotonic()))
    assert peer.wait(lambda: len(peer.segmented) >= len(sent), 5.0), (peer.statuses, process.log)
    time.sleep(0.2)
    assert [stamp_of(m) for m in peer.segmented] == stamps
    for given, out in zip(sent, peer.segmented, strict=True):
        assert (out.height, out.width, out.header.frame_id) == (given.height, given.width, given.header.frame_id)
        assert [f.name for f in out.fields] == OUTPUT_FIELDS
        for name in ("x", "y", "z"):
            assert np.array_equal(column(out, name), column(given, name), equal_nan=True)
        labels = column(out, "label")
        assert set(np.unique(labels)) <= {*range(19), 255}
        origin = (column(given, "x") == 0) & (column(given, "y") == 0) & (column(given, "z") == 0)
        assert (labels[origin] == 255).all()
        assert (labels != 255).any()


@pytest.mark.parametrize(
    "xyz",
    [np.zeros((0, 3)), np.full((7, 3), np.nan), np.zeros((5, 3)), np.full((4, 3), 1e30), [[3.0, 4.0, -1.0]]],
    ids=["empty", "nan", "origin", "far", "one"],
)
def test_clouds_with_little_in_them(node, xyz):
    _, peer = node
    out = peer.answer(cloud(np.asarray(xyz)))
    assert out.width * out.height == len(xyz)
    assert (column(out, "label") == 255).all() or len(xyz) == 1


def broken_messages(count: int) -> list[PointCloud2]:
    """Contradictory clouds: wrong steps and sizes, truncated data, unknown types, no fields, changing layouts."""
    generator = np.random.default_rng(7)
    messages = []
    for _ in range(count):
        message = street(int(generator.integers(1, 200)), int(generator.integers(1000)))
        for _ in range(int(generator.integers(1, 4))):
            huge = int(generator.choice([0, 1, 3, 15, 17, 1 << 16, (1 << 31) - 1, (1 << 32) - 1]))
            what = generator.integers(0, 11)
            if what < 4:
                setattr(message, ("height", "width", "point_step", "row_step")[what], huge)
            elif what == 4:
                message.data = array.array("B", message.data[: int(generator.integers(0, len(message.data) + 1))])
            elif what == 5:
                message.fields = message.fields[: int(generator.integers(0, 4))]
            elif what == 6 and message.fields:
                message.fields[0].datatype = int(generator.integers(0, 256))
            elif what == 7 and message.fields:
                message.fields[-1].offset = huge
            elif what == 8 and message.fields:
                message.fields[0].count = huge
            elif what == 9:
                message.is_bigendian = True
                message.data = array.array("B", generator.integers(0, 256, len(message.data), np.uint8).tobytes())
            else:
                message.fields = [*message.fields, PointField(name="x", offset=2, datatype=8, count=1)]
        messages.append(message)
    return messages


def test_any_message_leaves_it_alive(node):
    process, peer = node
    messages = broken_messages(300)
    for i, message in enumerate(messages):
        message.header.stamp.sec = [-(1 << 31), 0, (1 << 31) - 1][i % 3]
        message.header.stamp.nanosec = (1 << 32) - 1
        peer.points.publish(message)
        time.sleep(0.02)  # time to read most of them: what a newer one replaces is not read
    assert process.alive(), process.log
    assert (column(peer.answer(street()), "label") != 255).all()
    assert peer.wait(lambda: int(peer.statuses["clouds"][2]["malformed"]) > 30, 5.0), peer.statuses["clouds"]
    assert process.log.count("cloud refused") < 10  # throttled
    assert int(peer.statuses["clouds"][2]["failed"]) == 0, process.log


def test_newest_cloud_wins(node):
    process, peer = node
    peer.wait(lambda: False, 1.5)  # diagnostics come once a second: let those of earlier clouds pass
    peer.segmented.clear()
    before = int(peer.statuses["clouds"][2]["dropped for a newer cloud"])
    message = street(60_000)
    stamps = [peer.send(message) for _ in range(30) if not time.sleep(0.01)]
    assert peer.wait(lambda: peer.segmented and stamp_of(peer.segmented[-1]) == stamps[-1], 20.0), "the last is missing"
    got = [stamp_of(m) for m in peer.segmented]
    assert got == sorted(set(got))
    assert set(got) <= set(stamps)
    assert len(got) < len(stamps)

    def dropped() -> int:
        return int(peer.statuses["clouds"][2]["dropped for a newer cloud"]) - before

    # All of them, except that on a machine without a free core the middleware may overwrite some before they are read.
    missing = len(stamps) - len(got)
    peer.wait(lambda: dropped() == missing, 2.5)
    assert missing / 2 < dropped() <= missing, process.log


def test_outputs_follow_the_parameters(node):
    _, peer = node
    plain = peer.answer(street())
    common = int(np.bincount(column(plain, "label")).argmax())
    names = LabelSet.load("semantickitti").names

    peer.want_filtered()
    assert peer.wait(lambda: peer.node.count_subscribers("filtered") == 1)
    assert peer.set("filter_classes", [names[common]]) == (True, "")
    peer.filtered.clear()
    out = peer.answer(street())
    assert peer.wait(lambda: peer.filtered)
    expected = int((column(out, "label") != common).sum())
    assert peer.filtered[-1].width == expected
    assert [f.name for f in peer.filtered[-1].fields] == ["x", "y", "z", "intensity"]

    assert peer.set("keep_input_fields", True)[0]
    out = peer.answer(street())
    assert [f.name for f in out.fields][:4] == ["x", "y", "z", "intensity"]
    assert {"rgb", "label", "confidence"} <= {f.name for f in out.fields}
    assert peer.set("keep_input_fields", False)[0]

    assert peer.set("min_confidence", 1.0)[0]
    assert (column(peer.answer(street()), "label") == 255).all()
    assert peer.set("min_confidence", 0)[0]

    for name, wrong in (("filter_classes", ["unicorn"]), ("intensity_scale", "bright"), ("min_confidence", 2.0)):
        taken, reason = peer.set(name, wrong)
        assert not taken
        assert "\n" not in reason
        assert reason
    assert peer.set("intensity_scale", 255)[0]
    assert peer.set("intensity_field", "no_such_field")[0]
    peer.send(street())
    assert peer.wait(lambda: "no_such_field" in peer.statuses["clouds"][1], 5.0)
    assert peer.set("intensity_field", "auto")[0]
    assert peer.set("intensity_scale", "auto")[0]
    peer.answer(street())


def test_class_map_is_latched(node):
    _, peer = node
    assert peer.wait(lambda: peer.label_info)
    info = peer.label_info[-1]
    text = info.data if hasattr(info, "data") else " ".join(c.class_name for c in info.class_map)
    assert "vegetation" in text


def test_diagnostics_tell_what_happens(node):
    _, peer = node
    for _ in range(12):
        peer.answer(street())
    peer.statuses.clear()
    assert peer.wait(lambda: {"model", "clouds", "latency", "input"} <= peer.statuses.keys(), 5.0)
    assert len(peer.statuses["model"][2]["sha256"]) == 64
    values = peer.statuses["latency"][2]
    assert float(values["from the stamp p50/p95/p99 [ms]"].split(" / ")[0]) > 0
    assert float(values["network p50/p95/p99 [ms]"].split(" / ")[0]) > 0
    assert float(peer.statuses["clouds"][2]["rate out [Hz]"]) > 0
    assert peer.statuses["input"][0] == b"\x00", peer.statuses["input"]


def test_frames_that_share_a_topic_are_each_another_stream_but_once():
    """What was found out of both together holds; another type of a field begins anew."""
    found = []
    work = SimpleNamespace(
        settings=SimpleNamespace(intensity_field="auto"),
        monitor=SimpleNamespace(clear=lambda: None),
        segmenter=SimpleNamespace(reset_stream=lambda: found.append(message.header.frame_id)),
    )
    log = SimpleNamespace(info=lambda text, throttle_duration_sec: None)
    node, tally = SimpleNamespace(get_logger=lambda: log), Tally()
    for frame in ("left", "right", "left", "right"):
        message = cloud(np.ones((3, 3)), frame=frame)
        SegmenterNode._follow_stream(node, work, tally, message)
    message.fields[3].datatype = 6
    SegmenterNode._follow_stream(node, work, tally, message)
    assert found == ["left", "right", "right"]
    assert tally.fields == ("x", "y", "z", "intensity")
