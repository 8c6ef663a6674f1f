# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""srkd-replay --realtime: a player process, the real node and the recorder, over real ROS 2 topics."""

import json

import numpy as np
import pytest
import torch
from replay_data import START, write_bag
from test_replay import labelled

from srkd_ros import Segmenter
from srkd_ros.replay import cli

pytest.importorskip("rclpy", reason="no rclpy: pip install 'srkd_ros[ros]'")
torch.set_num_threads(1)


@pytest.fixture
def slow_bag(tmp_path):
    return write_bag(tmp_path / "drive", 5)


def test_live_labels_equal_offline_labels(slow_bag, student_file, tmp_path, monkeypatch):
    monkeypatch.setattr(Segmenter, "warm_up", lambda self, points=0: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    base = [str(slow_bag), "-m", str(student_file), "--truth", "label"]
    assert cli.main([*base, "-o", str(tmp_path / "offline")]) == 0
    assert cli.main([*base, "--realtime", "--rate", "0.2", "-o", str(tmp_path / "live")]) == 0
    offline, live = (labelled(tmp_path / mode / "latest") for mode in ("offline", "live"))
    document = json.loads((tmp_path / "live" / "latest" / "metrics.json").read_text())
    measured = document["live"]
    assert measured["published"] == 5
    assert measured["received"] == len(live) >= 1
    assert measured["dropped"] == 5 - len(live)
    assert set(live) <= set(offline) == {START + i * 10**8 for i in range(5)}
    for stamp, (labels, confidence) in live.items():
        assert np.array_equal(labels, offline[stamp][0])
        assert np.array_equal(confidence, offline[stamp][1])
    assert measured["end_to_end_ms"]["p50"] > 0
    assert document["models"][0]["clouds"] == len(live)
    assert document["models"][0]["latency_ms"]["end_to_end"]["p99"] > 0


def test_a_node_that_does_not_start_says_why(slow_bag, student_file, tmp_path, capsys):
    arguments = [str(slow_bag), "-m", str(student_file), "--realtime", "-o", str(tmp_path / "out")]
    assert cli.main([*arguments, "--intensity-field", "nowhere", "--resume"]) == 2
    assert "leave out --shard and --resume" in capsys.readouterr().err
