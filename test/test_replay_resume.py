# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""srkd-replay --resume: goes on where a run was interrupted, and says why where it cannot."""

import os
import shutil
import signal

from replay_data import START, labelled, replay, write_bag

from srkd_ros import Segmenter
from srkd_ros.replay import cli, pipeline


def test_an_interrupted_run_resumes(student_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Segmenter, "warm_up", lambda self, points=0: None)
    recording = write_bag(tmp_path / "drive")
    base = (recording, "--model", student_file, "--truth", "label")
    _, whole = replay(*base, output=tmp_path / "whole")
    calls = 0
    one = pipeline.Run._one

    def interrupted(*arguments):
        nonlocal calls
        calls += 1
        if calls == 4:
            os.kill(os.getpid(), signal.SIGTERM)  # as a scheduler does; Ctrl-C takes the same way
        one(*arguments)  # the cloud at hand is finished

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.Run, "_one", interrupted)
        assert cli.main([*map(str, base), "-o", str(tmp_path / "out")]) == 130
    (first,) = (p for p in (tmp_path / "out").iterdir() if p.name != "latest")
    capsys.readouterr()
    other, _ = replay(*base[:-2], "--resume", "--no-bag", output=tmp_path / "out")
    said = f"note: --resume: {first} was interrupted with other settings: truth, bag: a new run begins"
    assert said in capsys.readouterr().out
    shutil.rmtree(other)
    folder, resumed = replay(*base, "--resume", output=tmp_path / "out")
    assert folder == first
    assert "--resume" not in capsys.readouterr().out
    timing = ("latency_ms", "clouds_per_s", "points_per_s")
    a, b = ({k: v for k, v in d["models"][0].items() if k not in timing} for d in (whole, resumed))
    assert a == b
    assert list(labelled(folder)) == [START + i * 10**8 for i in range(6)]
    assert len((folder / "clouds.csv").read_text().splitlines()) == 7
    for output, reason in (
        (tmp_path / "out", f"{first} is the same run and complete"),
        (tmp_path / "none", f"there is no interrupted run in {tmp_path / 'none'}"),
    ):
        capsys.readouterr()
        assert replay(*base, "--resume", output=output)[0] != first
        assert f"note: --resume: {reason}: a new run begins" in capsys.readouterr().out
