# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""srkd-replay --realtime: a player process, the real node and the recorder, over real ROS 2 topics."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from replay_data import START, labelled, write_bag, write_clock_bag

from srkd_ros import Segmenter
from srkd_ros.errors import SrkdError
from srkd_ros.replay import cli
from srkd_ros.replay.realtime import live_run

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


def test_a_node_that_does_not_start_says_why(slow_bag, student_file, tmp_path):
    with pytest.raises(SrkdError, match="gpu-of-my-dreams"):
        live_run(slow_bag, student_file, parameters={"device": "gpu-of-my-dreams"}, log_folder=tmp_path)
    assert not list(tmp_path.glob(".published*"))


def test_shards_and_resuming_are_refused_live(slow_bag, student_file, tmp_path, capsys):
    for option in (["--resume"], ["--shard", "0/2"]):
        arguments = [str(slow_bag), "-m", str(student_file), "--realtime", "-o", str(tmp_path / "out"), *option]
        assert cli.main(arguments) == 2
        assert "leave out --shard and --resume" in capsys.readouterr().err


SECONDS = [0.0, 0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize("clock", [SECONDS, [-np.inf] * 5, [0.0, *(-100.0 + s for s in SECONDS[1:])]])
def test_the_player_keeps_time_and_stops_on_a_signal(clock, tmp_path):
    """By a steady clock, by none (the clouds get the time of recording), and by one that is set back on the way."""
    from srkd_ros.replay.recorder import Recorder

    bag = write_clock_bag(tmp_path / "drive", clock)
    stamps = [START + round((s if np.isfinite(s) else s0) * 1e9) for s, s0 in zip(clock, SECONDS, strict=True)]

    topic, log = f"/player_test_{os.getpid()}", tmp_path / "times"
    recorder = Recorder(topic)
    command = [sys.executable, "-m", "srkd_ros.replay.player", str(bag), "--output-topic", topic]
    player = subprocess.Popen([*command, "--loop", "--clock", "--rate", "0.5", "--log", str(log)])
    try:
        end = time.monotonic() + 30
        while len(recorder.arrived) < 5 and time.monotonic() < end:
            recorder.spin(0.1)
        assert list(recorder.arrived) == stamps
        player.send_signal(signal.SIGINT)
        assert player.wait(10) == 0
    finally:
        player.kill()
        recorder.close()
    times = [int(line.split()[1]) for line in log.read_text().splitlines()[:5]]
    late = np.diff(times, prepend=times[0]).cumsum() * 1e-9 - 0.2 * np.arange(5)
    late -= late.min()  # behind the one that is most on time: a cloud that came early makes all others late
    assert np.median(late) < 0.05
    assert (times[-1] - times[0]) * 1e-9 == pytest.approx(0.8, abs=0.3)
