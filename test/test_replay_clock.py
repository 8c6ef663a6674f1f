# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""srkd-replay on recordings whose clock was set while they were made: no cloud, truth or second is lost."""

import csv

import numpy as np
import pytest
from replay_data import START, replay, write_clock_bag

from srkd_ros import Segmenter
from srkd_ros.replay import report, results
from srkd_ros.replay.labeller import Live
from srkd_ros.replay.matching import ByStamp
from srkd_ros.replay.messages import stamp_of
from srkd_ros.replay.source import Selection, open_source
from srkd_ros.replay.storage import open_bag

CLOCKS = {
    "steady": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5],
    "set back": [0.0, -100.0, -99.9, -99.8, -99.7, -99.6],
    "set ahead": [0.0, 0.1, 1e8, 1e8 + 0.1, 1e8 + 0.2, 1e8 + 0.3],
    "one ahead": [0.0, 0.1, 500.0, 0.3, 0.4, 0.5],
    "one back": [0.0, 0.1, -50.0, 0.3, 0.4, 0.5],
    "none": [-np.inf] * 6,
}


@pytest.fixture(autouse=True)
def _no_warm_up(monkeypatch):
    monkeypatch.setattr(Segmenter, "warm_up", lambda self, points=0: None)


@pytest.fixture(params=CLOCKS)
def clocked(request, tmp_path):
    return write_clock_bag(tmp_path / "bag", CLOCKS[request.param], labels=True)


def test_every_cloud_is_taken_at_its_time(clocked):
    def chosen(**selection):
        return list(open_source([clocked], "/points", Selection(**selection)))

    assert [c.index for c in chosen()] == [0, 1, 2, 3, 4, 5]
    assert np.allclose([c.elapsed * 1e-9 for c in chosen()], np.arange(6) / 10)
    assert [c.index for c in chosen(start=0.15)] == [2, 3, 4, 5]
    assert [c.index for c in chosen(end=0.35)] == [0, 1, 2, 3]


def test_every_cloud_finds_the_message_of_its_stamp(clocked):
    clouds = list(open_source([clocked], "/points"))
    for step in (1, 2, -1):
        find = ByStamp(open_bag(clocked), "/labels")
        for cloud in clouds[::step]:
            assert stamp_of(find(cloud.stamp)) == cloud.stamp
    assert ByStamp(open_bag(clocked), "/labels")(START + 17) is None


def test_what_the_live_node_answered_is_found_in_the_order_of_a_clock_set_back(tmp_path):
    bag = write_clock_bag(tmp_path / "bag", CLOCKS["set back"])
    live = Live(open_bag(bag), "/points", {})
    found = []
    live._find, find = (lambda stamp: found.append(find(stamp))), live._find
    assert [live(c, None, None) for c in open_source([bag])] == [None] * 6
    assert None not in found


def test_a_clock_set_back_is_said_and_scored(student_file, tmp_path):
    bag = write_clock_bag(tmp_path / "bag", CLOCKS["set back"], labels=True)
    _, document = replay(
        bag, "-m", student_file, "-t", "/points", "--truth", "/labels", "--no-bag", output=tmp_path / "out"
    )
    given = document["input"]
    assert (given["clouds"], given["unreadable_clouds"], given["backward_stamps"]) == (6, 0, 1)
    assert given["duration_s"] == pytest.approx(0.5)
    assert document["truth"]["matched_clouds"] == 6
    assert document["models"][0]["temporal_consistency"]["pairs"] == 4


def test_the_seconds_of_several_recordings_add_up(student_file, tmp_path):
    later, earlier = (write_clock_bag(tmp_path / str(i), [3600.0 * i, 3600.0 * i + 0.1]) for i in (1, 0))
    _, document = replay(later, earlier, "-m", student_file, "--no-bag", output=tmp_path / "out")
    assert document["input"]["duration_s"] == pytest.approx(0.2)
    assert [s["path"] for s in document["input"]["spans"]] == [str(later), str(earlier)]


def test_the_chart_over_time_goes_on_where_the_clock_was_set(tmp_path, monkeypatch):
    second = 10**9
    stamps = [100 * second, 101 * second, 5 * second, 6 * second]  # the clock went back to five
    with open(tmp_path / "clouds.csv", "w", newline="") as file:
        table = csv.DictWriter(file, results.CLOUD_COLUMNS)
        table.writeheader()
        for i, stamp in enumerate(stamps):
            row = {"index": i, "stamp_ns": stamp, "log_time_ns": (200 + i) * second, "model": "a", "total_ms": 7.0}
            table.writerow(row)
    drawn = []
    monkeypatch.setattr(report.charts, "lines", lambda series, x, y: drawn.extend(series) or "")
    report._over_time(tmp_path, {"models": [{"name": "a"}]})
    ((name, x, y),) = drawn
    assert (name, x.tolist(), y.tolist()) == ("a", [0.0, 1.0, 2.0, 3.0], [7.0] * 4)
