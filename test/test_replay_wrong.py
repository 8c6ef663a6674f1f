# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What srkd-replay and its player refuse in one line with status 2, before the work where that is possible."""

import json
import shutil

import pytest
from replay_data import replay, write_bag, write_clock_bag

from srkd_ros import Segmenter
from srkd_ros.replay import cli, results


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
    assert not list(out.iterdir())
    shards = [replay(bag, "-m", student_file, "--shard", f"{i}/2", output=tmp_path / "s")[0] for i in range(2)]
    assert "no cloud of any shard" in refused(capsys, "merge", *shards, "-o", tmp_path / "merged")


@pytest.mark.parametrize("target", ["nodir/x.json", "folder"])
def test_a_copy_that_cannot_be_written_is_refused_before_the_work(target, recording, student_file, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    out = tmp_path / "out"
    arguments = (recording, "-m", student_file, "-t", "/points", "-o", out)
    assert "--json" in refused(capsys, *arguments, "--json", tmp_path / target)
    assert "--rerun" in refused(capsys, *arguments, "--rerun", tmp_path / target)
    assert "--json" in refused(capsys, "merge", tmp_path, "-o", out, "--json", tmp_path / target)
    assert not out.exists()


def test_a_copy_that_fails_after_all_is_one_line(recording, student_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "check_target", lambda option, target: None)
    arguments = (recording, "-m", student_file, "-t", "/points", "--no-bag", "-o", tmp_path / "out")
    assert "cannot be written" in refused(capsys, *arguments, "--json", tmp_path / "nodir" / "x.json")


def test_names_with_brackets_are_shown_as_they_are(recording, student_file, tmp_path, capsys):
    model = shutil.copy(student_file, tmp_path / "student[fp16].safetensors")
    base = (recording, "-t", "/points", "--truth", "label", "--no-bag")
    folder, _ = replay(*base, "-m", model, output=tmp_path / "x[" / "y]")
    said = capsys.readouterr().out
    assert said.count("student[fp16]") >= 2
    assert f"report: {folder.parent}" in said
    assert cli.main(["compare", str(folder), str(folder)]) == 0
    shown = document_with(folder, "[/car]", tmp_path / "named.json")
    capsys.readouterr()
    assert cli.main(["compare", str(shown), str(shown)]) == 0
    assert "iou/[/car] in %" in capsys.readouterr().out


def document_with(folder, name, file):
    """A metrics.json like that of a run, whose class `car` has another name."""
    document = json.loads((folder / "metrics.json").read_text())
    classes = document["models"][0]["per_class"]
    classes[name] = classes.pop("car")
    file.write_text(json.dumps(document))
    return file


@pytest.mark.parametrize("option", [("--log", "nodir/l"), ("--output-topic", "a b"), ("--output-topic", "{x}")])
def test_the_player_refuses_in_one_line(option, recording, tmp_path, monkeypatch, capsys):
    player = pytest.importorskip("srkd_ros.replay.player", reason="no rclpy", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(player.signal, "signal", lambda *_: None)  # this process keeps its handlers
    assert option[0] in refused(capsys, recording, "--topic", "/points", *option, main=player.main)
