# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What srkd-replay says of a live run, of clouds that were dropped or refused: with a stand-in for the node, no ROS."""

import numpy as np
import pytest
from replay_data import CLOUD, START, STORE, replay, write_clock_bag

from srkd_ros import Segmenter, pointcloud2
from srkd_ros.errors import CloudError, SrkdError
from srkd_ros.replay import cli, realtime
from srkd_ros.replay.messages import stamp_of
from srkd_ros.replay.source import open_source

DROPPED = {START + 2 * 10**8, START + 5 * 10**8}


@pytest.fixture
def stand_in(monkeypatch):
    """Answers as the node does, but for the clouds in DROPPED; the i-th answer takes i^2 ms."""

    def live_run(paths, model, received, **options):
        segmenter, result = Segmenter.load(model), realtime.LiveResult(rate_hz=10.0)
        for cloud in open_source(paths):
            result.published += 1
            try:
                message = cloud.message()
                points = pointcloud2.read(message)
            except CloudError:
                result.missing.add(cloud.stamp)
                continue
            if cloud.stamp in DROPPED:
                result.missing.add(cloud.stamp)
                continue
            found = segmenter(points.xyz, points.intensity)
            out = pointcloud2.write(message, found.labels, found.confidence, segmenter.labels.palette)
            received(stamp_of(cloud.record), STORE.serialize_cdr(out, CLOUD))
            result.received += 1
            result.latency_ms[cloud.stamp] = float(cloud.index**2 + 1)
        return result

    monkeypatch.setattr(realtime, "live_run", live_run)


def test_dropped_and_refused_clouds_are_told_apart(stand_in, student_file, tmp_path, capsys):
    bag = write_clock_bag(tmp_path / "drive", np.arange(10) / 10, unreadable=(1, 3, 7))
    folder, document = replay(bag, "-m", student_file, "--truth", "label", "--realtime", output=tmp_path / "out")
    live = document["live"]
    assert [live[k] for k in ("published", "received", "dropped", "refused")] == [10, 5, 2, 3]
    assert document["input"]["unreadable_clouds"] == 3
    assert document["truth"]["unmatched_clouds"] == 0
    assert document["truth"]["matched_clouds"] == document["models"][0]["clouds"] == 5
    said = " ".join(capsys.readouterr().out.split())
    assert "the live node dropped 2 of 10 clouds" in said
    assert "clouds without a truth" not in said
    assert "2 dropped, 3 refused" in (folder / "report.html").read_text()


def test_the_same_latencies_have_the_same_percentiles(stand_in, student_file, tmp_path):
    bag = write_clock_bag(tmp_path / "drive", np.arange(10) / 10)
    _, document = replay(bag, "-m", student_file, "--realtime", output=tmp_path / "out")
    assert document["live"]["end_to_end_ms"] == document["models"][0]["latency_ms"]["end_to_end"]
    assert document["live"]["end_to_end_ms"]["p99"] == pytest.approx(82, rel=0.005)


@pytest.mark.parametrize(("said", "kept"), [("the model does not load", 0), ("see {folder}/node.log", 1)])
def test_a_live_run_that_fails_keeps_what_its_error_names(said, kept, student_file, tmp_path, monkeypatch, capsys):
    def fails(paths, model, log_folder, **options):
        (log_folder / "node.log").write_text("words")
        raise SrkdError(said.format(folder=log_folder))

    monkeypatch.setattr(realtime, "live_run", fails)
    bag, out = write_clock_bag(tmp_path / "drive", [0.0]), tmp_path / "out"
    assert cli.main([str(bag), "-m", str(student_file), "--realtime", "-o", str(out)]) == 2
    assert len(list(out.iterdir())) == kept
