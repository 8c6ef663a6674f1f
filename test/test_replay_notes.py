# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The notes of srkd-replay on input that spoils the numbers: the same in the terminal, the report and metrics.json."""

import dataclasses

import numpy as np
import pytest
from replay_data import CLOUD, START, STORE, cloud, replay, street
from rosbags.rosbag2 import StoragePlugin, Writer

from srkd_ros import Segmenter, student


@pytest.fixture(autouse=True)
def _no_warm_up(monkeypatch):
    monkeypatch.setattr(Segmenter, "warm_up", lambda self, points=0: None)


def write(path, clouds, fields=4):
    """A bag of these points [N, 4], with the first `fields` of x y z intensity."""
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/points", CLOUD, typestore=STORE)
        for i, points in enumerate(clouds):
            message = cloud(np.float32(points), START + i * 10**8)
            message.fields = message.fields[:fields]
            writer.write(connection, START + i * 10**8, STORE.serialize_cdr(message, CLOUD))
    return path


def noted(bag, student, output, capsys):
    """metrics.json, after a look that every note is in the table and the report."""
    folder, document = replay(bag, "-m", student, "--no-bag", output=output)
    said, report = capsys.readouterr().out, (folder / "report.html").read_text().replace("&#x27;", "'")
    for note in document["notes"]:
        assert f"note: {note}" in said
        assert f"<li>{note}</li>" in report
    return document


STREET = [street(i)[0] for i in range(3)]
IN_MM = [points * [1000, 1000, 1000, 1] for points in STREET]
NOTHING = [points * np.nan for points in STREET]
EMPTY = [points[:0] for points in STREET]


@pytest.mark.parametrize(
    ("clouds", "said"),
    [
        (IN_MM, "have no label: 100.0 % lie beyond its 100 m, 0.0 % nearer than 0.5 m; are the coordinates in metres?"),
        ([p * [0.001, 0.001, 0.001, 1] for p in STREET], "100.0 % nearer than 0.5 m; are the coordinates in metres?"),
        (NOTHING, "no point is finite and off the origin: nothing was labelled"),
        (EMPTY, "every cloud is empty: nothing was labelled"),
    ],
)
def test_nothing_labelled_is_said_and_has_no_speed(clouds, said, student_file, tmp_path, capsys):
    document = noted(write(tmp_path / "bag", clouds), student_file, tmp_path / "out", capsys)
    assert any(said in note for note in document["notes"])
    (model,) = document["models"]
    assert model["clouds"] == 3
    assert model["clouds_per_s"] is model["points_per_s"] is None
    assert model["latency_ms"] == {}


def test_clouds_without_a_label_do_not_make_a_model_fast(student_file, tmp_path, capsys):
    bag = write(tmp_path / "bag", [IN_MM[0], STREET[1], *EMPTY, *NOTHING])
    (model,) = noted(bag, student_file, tmp_path / "out", capsys)["models"]
    assert model["clouds"] == 8
    assert model["clouds_per_s"] == pytest.approx(1e3 / model["latency_ms"]["total"]["p50"], rel=0.01)
    assert model["points_per_s"] == pytest.approx(3000 * model["clouds_per_s"])
    assert model["measured"] == {"points": 6000, "too_near": 0, "too_far": 3000}


def test_empty_clouds_among_others_are_said(student_file, tmp_path, capsys):
    document = noted(write(tmp_path / "bag", [STREET[0], *EMPTY]), student_file, tmp_path / "out", capsys)
    assert "student: no point has a label in 3 of 4 clouds" in document["notes"]


def test_a_missing_intensity_is_said(student_file, tmp_path, capsys):
    document = noted(write(tmp_path / "bag", STREET + EMPTY, fields=3), student_file, tmp_path / "out", capsys)
    assert document["input"]["clouds_without_intensity"] == 3
    assert document["input"]["fields"] == ["x", "y", "z"]
    said = "student: trained with intensity, and none is read in 3 clouds of 6; the fields are x, y, z: name one with"
    assert any(note.startswith(said) for note in document["notes"])


def test_a_street_like_the_training_data_has_no_note_on_labels(student_file, tmp_path, capsys):
    document = noted(write(tmp_path / "bag", STREET), student_file, tmp_path / "out", capsys)
    assert not any("label" in note or "intensity, and none" in note for note in document["notes"])


def test_drift_names_the_quantile_that_drifted(tmp_path, student_file, capsys):
    """The far half of a street is cut off: the median may stay, the farthest points do not."""
    tensors, manifest = student.load(student_file)
    usual = {"0.01": 3.0, "0.5": 10.0, "0.99": 90.0}
    manifest = dataclasses.replace(manifest, statistics=student.InputStatistics(range=usual))
    student.save(tmp_path / "trained.safetensors", tensors, manifest)
    document = noted(write(tmp_path / "bag", STREET), tmp_path / "trained.safetensors", tmp_path / "out", capsys)
    seen = document["models"][0]["drift"]["range"]["input"]
    (note,) = (n for n in document["notes"] if "unlike the training data" in n)
    assert abs(seen["0.99"] - 90) > abs(seen["0.5"] - 10)
    assert "(99 % " in note
    assert note.endswith("training 90.00)")
