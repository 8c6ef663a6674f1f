# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What srkd-replay and its player refuse in one line with status 2, before the work where that is possible."""


import pytest
from replay_data import replay, write_bag, write_clock_bag

from srkd_ros import Segmenter
from srkd_ros.replay import cli


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("bag") / "drive", 2, labels=True)


@pytest.fixture(autouse=True)
def _no_warm_up(monkeypatch):
    monkeypatch.setattr(Segmenter, "warm_up", lambda self, points=0: None)


def refused(capsys, *arguments, main=cli.main):
    """The one line with which a command refuses its arguments."""
    capsys.readouterr()
    assert main([*map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("option", "value", "field"),
    [
        ("--truth", "lable", "lable"),
        ("--truth", "/points:foo", "foo"),
        ("--truth", "/labels:foo", "foo"),
        ("--intensity-field", "typo", "typo"),
    ],
)
def test_a_field_that_no_cloud_has_is_refused_before_the_work(
    option, value, field, recording, student_file, tmp_path, capsys
):
    out = tmp_path / "out"
    line = refused(capsys, recording, "-m", student_file, "-t", "/points", option, value, "-o", out)
    assert option in line
    assert f"no field '{field}'; they have x, y, z, intensity, label" in line
    assert not out.exists()


def test_a_run_without_a_readable_cloud_is_refused(recording, student_file, tmp_path, capsys):
    bag = write_clock_bag(tmp_path / "bag", [0.0, 0.1], unreadable=(0, 1))
    out = tmp_path / "out"
    assert "no cloud could be evaluated" in refused(capsys, bag, "-m", student_file, "-o", out)
    assert not (out / "latest").exists()
    shards = [replay(bag, "-m", student_file, "--shard", f"{i}/2", output=tmp_path / "s")[0] for i in range(2)]
    assert "no cloud of any shard" in refused(capsys, "merge", *shards, "-o", tmp_path / "merged")
