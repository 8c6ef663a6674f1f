# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""srkd-replay compare: bounds that hold, and numbers that are of one kind."""

import copy
import json

import pytest
from replay_data import replay, write_bag

from srkd_ros import Segmenter
from srkd_ros.replay import cli


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("bag") / "drive", 2, labels=True)


@pytest.fixture(autouse=True)
def _no_warm_up(monkeypatch):
    monkeypatch.setattr(Segmenter, "warm_up", lambda self, points=0: None)


def test_compare_gates(recording, student_file, tmp_path, capsys):
    folder, document = replay(
        recording, "-m", student_file, "-t", "/points", "--truth", "label", "-n", "2", "--no-bag", output=tmp_path
    )
    document["models"][0]["miou"] -= 0.01
    after = tmp_path / "after.json"
    after.write_text(json.dumps(document))
    assert cli.main(["compare", str(folder), str(folder), "--max-miou-drop", "0"]) == 0
    assert cli.main(["compare", str(folder), str(after), "--max-miou-drop", "0.5"]) == 1
    assert "mIoU fell by 1.00 points" in capsys.readouterr().out
    assert cli.main(["compare", str(folder), str(after), "--max-miou-drop", "2"]) == 0
    document["models"][0]["miou"] = None
    after.write_text(json.dumps(document))
    assert cli.main(["compare", str(folder), str(after), "--max-miou-drop", "2"]) == 2
    assert "has no miou" in capsys.readouterr().err


def test_truth_and_teacher_are_not_weighed_against_each_other(recording, student_file, tmp_path, capsys):
    base = (recording, "-m", student_file, "-t", "/points", "--no-bag")
    _, truth = replay(*base, "--truth", "label", output=tmp_path / "truth")
    _, taught = replay(*base, "--teacher", student_file, output=tmp_path / "taught")
    other = copy.deepcopy(taught)
    other["teacher"]["sha256"] = "0" * 64
    files = {}
    for name, document in (("truth", truth), ("taught", taught), ("other", other)):
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text(json.dumps(document))
    capsys.readouterr()

    def compared(a, b, *options):
        status = cli.main(["compare", str(files[a]), str(files[b]), *options])
        return status, capsys.readouterr()

    for option in ("--max-miou-drop", "--max-class-drop"):
        for a, b in (("truth", "taught"), ("taught", "truth"), ("taught", "other")):
            status, said = compared(a, b, option, "0.5")
            assert status == 2
            assert len(said.err.strip().splitlines()) == 1
            assert "same" in said.err
        assert compared("taught", "taught", option, "0.5")[0] == 0
    status, said = compared("truth", "taught", "--json")
    assert not [d for d in json.loads(said.out)["differences"] if "iou" in d["what"]]
    assert any("truth" in note for note in json.loads(said.out)["notes"])
    other = copy.deepcopy(taught)
    other["models"][0]["agreement"]["miou"] -= 0.01
    files["other"].write_text(json.dumps(other))
    status, said = compared("taught", "other", "--max-miou-drop", "0.5")
    assert status == 1
    assert "mIoU against the teacher fell by 1.00 points" in said.out


@pytest.mark.parametrize("bound", ["nan", "inf", "much"])
def test_a_bound_that_never_holds_back_is_refused(bound, tmp_path, capsys):
    for option in ("--max-miou-drop", "--max-class-drop", "--max-ece-increase", "--max-latency-increase"):
        with pytest.raises(SystemExit) as exit_:
            cli.main(["compare", str(tmp_path), str(tmp_path), option, bound])
        assert exit_.value.code == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert option in line
        assert bound in line
