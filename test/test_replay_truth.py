# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The numbers of a truth in srkd-replay: those of another label set are said, those that are no ids refused."""

import dataclasses

import numpy as np
import pytest
from replay_data import replay, street, write_bag, write_kitti, write_labels

from srkd_ros import Segmenter, student
from srkd_ros.labels import LabelClass, LabelSet
from srkd_ros.replay import cli
from srkd_ros.replay.truth_ids import class_ids, count_ids, describe_ids

RELLIS = np.uint32([3, 19, 33])  # grass, bush and mud: ids that SemanticKITTI does not have


@pytest.fixture(autouse=True)
def _no_warm_up(monkeypatch):
    monkeypatch.setattr(Segmenter, "warm_up", lambda self, points=0: None)


def said(capsys):
    return " ".join(capsys.readouterr().out.split())


def write_rellis(folder):
    """Two scans with RELLIS-3D's ids, a tenth of them void."""
    sequence = write_kitti(folder / "sequences" / "00", 2)
    for i, file in enumerate(sorted((sequence / "labels").iterdir())):
        raw = RELLIS[np.arange(len(street(i)[1])) % 3]
        raw[::10] = 0
        raw.tofile(file)
    return sequence


def test_truth_of_another_label_set_is_said(student_file, tmp_path, capsys):
    sequence = write_rellis(tmp_path / "drive")
    base = (sequence, "-m", student_file, "--no-bag")
    folder, document = replay(*base, output=tmp_path / "out")
    ids = document["models"][0]["truth_ids"]
    assert ids["unknown"] == ids["points"] == 5400
    assert set(ids["unknown_ids"]) == {"3", "19", "33"}
    assert ids["fits"] == ["label set rellis3d"]
    note = "no raw ids of the label set semantickitti"
    text = said(capsys)
    assert "100.0 % of the points with a truth" in text
    assert "they fit label set rellis3d" in text
    assert note in (folder / "report.html").read_text()
    shards = [replay(*base, "--shard", f"{i}/2", output=tmp_path / "s")[0] for i in range(2)]
    _, merged = replay("merge", *shards, output=tmp_path / "merged")
    assert merged["models"][0]["truth_ids"] == ids


def test_a_dataset_file_that_names_another_label_set_is_said(student_file, tmp_path, capsys):
    sequence = write_kitti(tmp_path / "drive" / "sequences" / "00", 1)
    (tmp_path / "drive" / "dataset.yaml").write_text("labels: rellis3d\n")
    base = (sequence, "-m", student_file, "--no-bag")
    _, document = replay(*base, output=tmp_path / "out")
    assert document["truth"]["label_set"] == "rellis3d"
    assert "names the label set rellis3d, the model's is semantickitti" in said(capsys)
    (tmp_path / "drive" / "dataset.yaml").write_text("labels: semantickitti\n")
    replay(*base, output=tmp_path / "out")
    assert "label set" not in said(capsys)


def test_a_model_of_merged_classes_is_at_home_in_its_dataset(student_file, tmp_path, capsys):
    """Its raw ids are the dataset's; those that it leaves out are left out on purpose."""
    sequence = write_kitti(tmp_path / "drive" / "sequences" / "00", 1)
    (tmp_path / "drive" / "dataset.yaml").write_text("labels: semantickitti\n")
    tensors, manifest = student.load(student_file)
    few = LabelSet("few", tuple(LabelClass(c.name, c.color, c.raw_ids[:1]) for c in manifest.labels.classes))
    student.save(tmp_path / "few.safetensors", tensors, dataclasses.replace(manifest, labels=few))
    _, document = replay(sequence, "-m", tmp_path / "few.safetensors", "--no-bag", output=tmp_path / "out")
    assert document["truth"]["label_set"] == "semantickitti"
    assert document["models"][0]["truth_ids"]["unknown"] == 0
    assert "label set" not in said(capsys)


def test_class_ids_read_as_raw_ids_and_the_other_way(student_file, tmp_path, capsys):
    base = (write_bag(tmp_path / "bag", 2), "-m", student_file, "--no-bag", "--truth", "label")
    _, document = replay(*base, "--truth-ids", "raw", output=tmp_path / "out")
    assert "--truth-ids class" in document["models"][0]["truth_ids"]["fits"]
    assert "they fit --truth-ids class" in said(capsys)
    _, document = replay(*base, output=tmp_path / "out")
    assert document["models"][0]["truth_ids"]["unknown"] == 0
    raw = np.repeat(np.array([0, 10, 40, 50], np.uint16), 100)
    kitti = LabelSet.load("semantickitti")
    assert "--truth-ids raw" in describe_ids(count_ids(raw, "class"), "class", kitti)["fits"]


def test_numbers_that_say_no_truth_are_not_unknown():
    kitti = LabelSet.load("semantickitti")
    for ids, values in (("raw", [0, 0, 10]), ("class", [255, 0, -1]), ("class", [np.nan, np.inf, 3.0])):
        counts = count_ids(np.array(values), ids)
        assert describe_ids(counts, ids, kitti)["unknown"] == 0
        assert counts.sum() == 1
    assert class_ids(np.array([np.nan, -np.inf, 3.0, 40.0]), "class", kitti).tolist() == [255, 255, 3, 255]


@pytest.mark.parametrize("truth", ["intensity", "/points:intensity"])
def test_a_truth_that_is_no_ids_is_refused(truth, student_file, tmp_path, capsys):
    bag, out = write_bag(tmp_path / "bag", 2), tmp_path / "out"
    assert cli.main([str(bag), "-m", str(student_file), "--truth", truth, "-o", str(out)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"--truth {truth}: the field holds numbers such as 0." in line
    assert not out.exists()


def test_a_truth_of_another_size_is_refused(student_file, tmp_path, capsys):
    labels = write_labels(tmp_path / "truth", 1)
    (labels / "000000.label").write_bytes(bytes(40))
    bag, out = write_bag(tmp_path / "bag", 2), tmp_path / "out"
    assert cli.main([str(bag), "-m", str(student_file), "--truth", str(labels), "-o", str(out)]) == 2
    assert "10 labels for a cloud of 3000 points" in capsys.readouterr().err
    assert not list(out.iterdir())
