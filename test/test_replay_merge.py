# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""srkd-replay merge: the numbers of the unsplit run from its shards, and what does not add up."""

import json
import shutil

import pytest
from replay_data import START, labelled, replay, write_bag, write_clock_bag

from srkd_ros import Segmenter
from srkd_ros.replay import cli

TIMING = ("latency_ms", "clouds_per_s", "points_per_s")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("bag") / "drive", labels=True)


@pytest.fixture(autouse=True)
def _no_warm_up(monkeypatch):
    monkeypatch.setattr(Segmenter, "warm_up", lambda self, points=0: None)


def test_shards_merge_to_the_unsplit_run(recording, student_file, tmp_path):
    base = (recording, "--model", student_file, "--topic", "/points", "--truth", "label")
    _, whole = replay(*base, output=tmp_path / "whole")
    shards = [replay(*base, "--shard", f"{i}/4", output=tmp_path / "shards")[0] for i in range(4)]
    assert cli.main(["merge", *map(str, shards), "-o", str(tmp_path / "merged")]) == 0
    folder = (tmp_path / "merged" / "latest").resolve()
    merged = json.loads((folder / "metrics.json").read_text())
    timing = ("latency_ms", "clouds_per_s", "points_per_s")
    a, b = ({k: v for k, v in d["models"][0].items() if k not in timing} for d in (whole, merged))
    assert a == b
    assert merged["input"]["clouds"] == 6
    assert list(labelled(folder)) == [START + i * 10**8 for i in range(6)]
    assert cli.main(["merge", str(shards[0]), str(shards[0]), "-o", str(tmp_path / "twice")]) == 2


def test_shards_of_a_difficult_recording_merge_to_the_unsplit_run(student_file, tmp_path):
    """Clocks set back, unreadable clouds where blocks begin, several inputs: sums, seconds and pairs stay the same."""
    first = write_clock_bag(tmp_path / "first", [0.0, 0.1, 0.2, 0.3, -50.0, 0.5, 0.6], unreadable=(1, 2, 5))
    second = write_clock_bag(tmp_path / "second", [-99.0, -98.9, -98.8, -98.7], unreadable=(1,))
    base = (first, second, "--model", student_file, "--no-bag")
    _, whole = replay(*base, output=tmp_path / "whole")
    shards = [replay(*base, "--shard", f"{i}/5", output=tmp_path / "shards")[0] for i in range(5)]
    assert cli.main(["merge", *map(str, shards[::-1]), "-o", str(tmp_path / "merged")]) == 0
    merged = json.loads((tmp_path / "merged" / "latest" / "metrics.json").read_text())
    assert merged["input"] == whole["input"]
    a, b = ({k: v for k, v in d["models"][0].items() if k not in TIMING} for d in (whole, merged))
    assert a == b
    assert whole["input"]["duration_s"] == pytest.approx(0.9)
    assert whole["models"][0]["temporal_consistency"]["pairs"] == 3


@pytest.fixture(scope="module")
def shards(recording, student_file, tmp_path_factory):
    """Folders of shard 0, 1 and 2 of 3."""
    base = (recording, "-m", student_file, "-t", "/points", "--no-bag")
    output = tmp_path_factory.mktemp("shards")
    return [replay(*base, "--shard", f"{i}/3", output=output)[0] for i in range(3)]


def refused(capsys, output, *runs):
    """The one line with which merge refuses these runs."""
    capsys.readouterr()
    assert cli.main(["merge", *map(str, runs), "-o", str(output)]) == 2
    assert not output.exists()
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_only_all_shards_each_once_add_up(recording, shards, student_file, tmp_path, capsys):
    base = (recording, "-m", student_file, "-t", "/points", "--no-bag")
    assert "shard 1/3 of its input is not among the runs" in refused(capsys, tmp_path / "o", shards[0], shards[2])
    assert "shard 0/3, 2/3 of" in refused(capsys, tmp_path / "o", shards[1])
    assert "it counts once" in refused(capsys, tmp_path / "o", *shards, shards[1])
    unsplit, _ = replay(*base, output=tmp_path / "unsplit")
    assert "shard" in refused(capsys, tmp_path / "o", unsplit, shards[0])
    assert "shard" in refused(capsys, tmp_path / "o", unsplit, *shards)
    other, _ = replay(*base, "-n", "1", "--shard", "0/3", output=tmp_path / "other")
    assert "another selection" in refused(capsys, tmp_path / "o", other, *shards[1:])
    two, _ = replay(recording, write_bag(tmp_path / "b", 2), *base[1:], output=tmp_path / "two")
    assert "it counts once" in refused(capsys, tmp_path / "o", two, *shards)
    (shards[0] / "config.yaml").rename(tmp_path / "config.yaml")
    assert "no config.yaml" in refused(capsys, tmp_path / "o", *shards)
    (tmp_path / "config.yaml").rename(shards[0] / "config.yaml")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--truth", "label"), "truth is of kind 'field'"),
        (("--intensity-scale", "2"), "intensity_scale"),
        (("--intensity-field", ""), "intensity_field"),
        (("--teacher",), "another --teacher"),
    ],
)
def test_runs_of_other_settings_do_not_add_up(options, said, recording, shards, student_file, tmp_path, capsys):
    options = (*options, student_file) if options == ("--teacher",) else options
    base = (recording, "-m", student_file, "-t", "/points", "--no-bag", "--shard", "0/3")
    other, _ = replay(*base, *options, output=tmp_path / "other")
    assert said in refused(capsys, tmp_path / "o", *shards[1:], other)


def test_runs_over_other_recordings_and_from_other_machines_add_up(recording, shards, student_file, tmp_path):
    second, _ = replay(write_bag(tmp_path / "b", 2), "-m", student_file, "--no-bag", output=tmp_path / "second")
    elsewhere = shutil.copytree(shards[1], tmp_path / "elsewhere")
    config = (elsewhere / "config.yaml").read_text()
    (elsewhere / "config.yaml").write_text(config.replace(str(recording), f"/data/{recording.name}"))
    _, merged = merge(tmp_path / "merged", second, shards[2], elsewhere, shards[0])
    assert merged["input"]["clouds"] == 8
    assert merged["input"]["duration_s"] == pytest.approx(0.6)


def merge(output, *runs):
    assert cli.main(["merge", *map(str, runs), "-o", str(output)]) == 0
    folder = (output / "latest").resolve()
    return folder, json.loads((folder / "metrics.json").read_text())
