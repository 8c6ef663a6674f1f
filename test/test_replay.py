# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""srkd-replay end to end on small recordings: inputs, truth, results, shards, resuming, damage, bad input."""

import json
import shutil

import numpy as np
import pytest
import torch
from replay_data import START, labelled, replay, street, write_bag, write_bag1, write_kitti, write_labels
from rosbags.rosbag2 import Reader, StoragePlugin

from srkd_ros import Segmenter, metrics, pointcloud2
from srkd_ros.labels import LabelSet
from srkd_ros.replay import cli
from srkd_ros.replay.source import open_source

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("bag") / "drive", labels=True)


@pytest.fixture(autouse=True)
def _no_warm_up(monkeypatch):
    monkeypatch.setattr(Segmenter, "warm_up", lambda self, points=0: None)  # seconds, for nothing that is tested here


def test_a_bag_becomes_a_labelled_bag_and_exact_metrics(recording, student_file, tmp_path):
    labels = write_labels(tmp_path / "truth")
    folder, document = replay(
        recording, "--model", student_file, "--topic", "/points", "--truth", labels, output=tmp_path / "out"
    )
    segmenter, classes = Segmenter.load(student_file), LabelSet.load("semantickitti")
    written = labelled(folder)
    matrix = np.zeros((19, 20), np.int64)
    for i in range(6):
        points, raw = street(i)
        result = segmenter(points[:, :3], points[:, 3])
        label, confidence = written[START + i * 10**8]
        assert np.array_equal(label, result.labels)
        assert np.array_equal(confidence, result.confidence)
        truth = classes.from_raw(raw)
        known = truth != 255
        np.add.at(matrix, (truth[known], np.minimum(result.labels[known], 19)), 1)
    model = document["models"][0]
    assert model["confusion"]["counts"] == matrix.tolist()
    assert model["miou"] == pytest.approx(metrics.mean_iou(matrix))
    assert model["clouds_with_truth"] == model["clouds"] == 6
    assert model["temporal_consistency"]["pairs"] == 5
    assert set(model["latency_ms"]) == {"decode", "preprocess", "geometry", "network", "postprocess", "encode", "total"}
    assert document["schema"] == "srkd_ros.replay/1"
    for name in ("config.yaml", "clouds.csv", "report.html", "pictures/best_error.png"):
        assert (folder / name).stat().st_size > 0
    assert "http" not in (folder / "report.html").read_text().replace("http://www.w3.org", "")


def test_truth_from_a_field_a_topic_and_a_folder_agree(recording, student_file, tmp_path):
    base = (recording, "--model", student_file, "--topic", "/points", "--no-bag")
    _, field = replay(*base, "--truth", "label", output=tmp_path / "a")
    _, topic = replay(*base, "--truth", "/labels", output=tmp_path / "b")
    kitti = write_kitti(tmp_path / "kitti" / "sequences" / "00")
    _, folder = replay(kitti, "--model", student_file, "--no-bag", output=tmp_path / "c")
    assert folder["truth"]["kind"] == "directory"
    assert folder["models"][0]["confusion"] == field["models"][0]["confusion"]
    assert topic["truth"] == {
        "kind": "topic",
        "source": "/labels",
        "ids": "class",
        "label_set": None,
        "label_set_raw_ids": None,
        "matched_clouds": 3,
        "unmatched_clouds": 3,
    }


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_bare_files_are_inputs(plugin, tmp_path):
    bag = write_bag(tmp_path / "bag", 3, plugin)
    (file,) = (p for p in bag.iterdir() if p.suffix != ".yaml")
    stamps = [c.stamp for c in open_source([file])]
    assert stamps == [START + i * 10**8 for i in range(3)]


def test_ros1_bags_are_inputs(tmp_path):
    write_bag1(tmp_path / "one.bag", 3)
    for file in (tmp_path / "one.bag", _truncated(tmp_path / "one.bag", tmp_path / "cut.bag", 0.7)):
        clouds = list(open_source([file]))
        assert len(clouds) == (3 if file.name == "one.bag" else 2)
        points = pointcloud2.read(clouds[1].message())
        assert np.array_equal(points.xyz, street(1)[0][:, :3])
        assert clouds[1].stamp == START + 10**8


def _truncated(file, copy, share):
    data = file.read_bytes()
    copy.write_bytes(data[: int(len(data) * share)])
    return copy


def test_selection(recording, tmp_path):
    from srkd_ros.replay.source import Selection

    def chosen(**selection):
        source = open_source([recording], "/points", Selection(**selection))
        found = [c.index for c in source]
        assert len(found) == source.expected()
        return found

    assert chosen() == [0, 1, 2, 3, 4, 5]
    assert chosen(start=0.2) == [2, 3, 4, 5]
    assert chosen(every=2, limit=2) == [0, 2]
    assert [chosen(shard=(i, 4)) for i in range(4)] == [[0], [1, 2], [3], [4, 5]]
    end = open_source([recording], "/points", Selection(start=0.1, end=0.35))
    assert [c.index for c in end] == [1, 2, 3]


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("whole_folder", [True, False])
def test_a_damaged_bag_is_evaluated_up_to_the_damage(plugin, whole_folder, student_file, tmp_path):
    bag = write_bag(tmp_path / "bag", 30, plugin)
    (file,) = (p for p in bag.iterdir() if p.suffix != ".yaml")
    shutil.copy(_truncated(file, tmp_path / "cut", 0.2), file)
    _, document = replay(bag if whole_folder else file, "-m", student_file, output=tmp_path / "out")
    (damage,) = document["input"]["damage"]
    assert file.name in damage
    assert "damaged" in damage
    assert 3 <= document["input"]["clouds"] <= 6
    assert document["complete"]


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_damage_in_the_middle_ends_the_input_and_not_the_run(plugin, tmp_path):
    bag = write_bag(tmp_path / "bag", 60, plugin)
    (file,) = (p for p in bag.iterdir() if p.suffix != ".yaml")
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200_000] = b"\xee" * 200_000
    file.write_bytes(data)
    source = open_source([bag, write_bag(tmp_path / "good", 2)])
    clouds = list(source)
    assert [c.input for c in clouds[-2:]] == [1, 1]
    assert 15 <= len(clouds) - 2 < 60
    (damage,) = source.damage
    assert "damaged after" in damage


def test_two_models_and_a_teacher(recording, student_file, tmp_path):
    twin = tmp_path / "twin.safetensors"
    shutil.copy(student_file, twin)
    base = (recording, "--topic", "/points", "-n", "3", "--teacher", twin)
    folder, document = replay(*base, "-m", student_file, "-m", twin, output=tmp_path / "out")
    assert [m["name"] for m in document["models"]] == ["student", "twin"]
    assert [m["agreement"]["miou"] for m in document["models"]] == [1.0, 1.0]
    assert document["models"][0]["miou"] is None
    with Reader(folder / "labelled") as reader:
        assert {"/student/segmented", "/twin/segmented", "/twin/label_info"} <= set(reader.topics)


def test_json_on_standard_output_is_json_alone(recording, student_file, tmp_path, capsys):
    replay(recording, "-m", student_file, "-t", "/points", "-n", "1", "--no-bag", "--json", "-", output=tmp_path)
    assert json.loads(capsys.readouterr().out)["input"]["clouds"] == 1


def test_wrong_input_is_one_line_and_status_2(recording, student_file, tmp_path, capsys):
    text = tmp_path / "notes.txt"
    text.write_text("no bag")
    empty = tmp_path / "empty"
    empty.mkdir()
    corrupt = tmp_path / "corrupt.safetensors"
    corrupt.write_bytes(b"\x00" * 100)
    junk = tmp_path / "junk.mcap"
    junk.write_bytes(b"\x89MCAP0\r\n" + bytes(100))
    good = ["-m", str(student_file), "-t", "/points", "-o", str(tmp_path / "out")]
    wrong = [
        ([str(tmp_path / "missing"), *good], "no such bag or folder"),
        ([str(text), *good], "not a bag"),
        ([str(empty), *good], "neither a bag"),
        ([str(junk), *good], "not a readable bag"),
        ([str(recording), *good[:2], "-t", "/nowhere"], "no topic '/nowhere'"),
        ([str(recording), "-m", str(corrupt), "-t", "/points"], "corrupt.safetensors"),
        ([str(recording), *good, "--truth", "no/such"], "neither a folder nor a topic"),
        ([str(recording), *good, "--truth", str(empty)], "no .label files"),
        ([str(recording), *good, "--intensity-scale", "bright"], "intensity_scale"),
        ([str(recording), *good, "--start", "100"], "no cloud is left"),
        (["compare", str(text), str(text)], "not a metrics.json"),
    ]
    for arguments, expected in wrong:
        assert cli.main(arguments) == 2, arguments
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: ")
        assert expected in line
    assert not list((tmp_path / "out").glob("*"))
    assert cli.main([str(recording), *good[:2]]) == 2
    assert "\n  --topic /labels" in capsys.readouterr().err
    for arguments in (
        [str(recording)],
        [str(recording), *good, "--shard", "4/4"],
        [str(recording), *good, "--start", "x"],
    ):
        with pytest.raises(SystemExit) as exit_:
            cli.main(arguments)
        assert exit_.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_odd_clouds_pass(student_file, tmp_path):
    """Empty, all NaN, one point, all at the origin: each comes out with its size, unlabelled."""
    from replay_data import CLOUD, STORE, cloud
    from rosbags.rosbag2 import Writer

    odd = [
        np.empty((0, 4)),
        np.full((50, 4), np.nan),
        np.array([[5, 0, 0, 0.5]]),
        np.zeros((20, 4)),
        np.full((9, 4), 1e6),
    ]
    with Writer(tmp_path / "odd", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/points", CLOUD, typestore=STORE)
        for i, points in enumerate(odd):
            message = cloud(points.astype(np.float32), START + i * 10**8)
            writer.write(connection, START + i * 10**8, STORE.serialize_cdr(message, CLOUD))
    folder, document = replay(tmp_path / "odd", "-m", student_file, output=tmp_path / "out")
    assert document["input"]["clouds"] == 5
    assert document["input"]["unreadable_clouds"] == 0
    found = labelled(folder)
    assert [len(found[START + i * 10**8][0]) for i in range(5)] == [0, 50, 1, 20, 9]
    assert document["models"][0]["predicted"]["unlabelled"] == 79


def test_clouds_that_cannot_be_read_are_counted_and_left_out(student_file, tmp_path, capsys):
    from replay_data import CLOUD, STORE, cloud
    from rosbags.rosbag2 import Writer

    short = cloud(street(1)[0], START + 10**8)
    short.data = short.data[:-40]
    whole = [STORE.serialize_cdr(m, CLOUD) for m in (cloud(street(0)[0], START), short)]
    messages = [*whole, bytes(whole[0])[:60], STORE.serialize_cdr(cloud(street(3)[0], START + 3 * 10**8), CLOUD)]
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/points", CLOUD, typestore=STORE)
        for i, message in enumerate(messages):
            writer.write(connection, START + i * 10**8, message)
    folder, document = replay(tmp_path / "bag", "-m", student_file, output=tmp_path / "out")
    assert document["input"]["clouds"] == 4
    assert document["input"]["unreadable_clouds"] == 2
    assert document["input"]["first_unreadable"].startswith("cloud 1: ")
    assert list(labelled(folder)) == [START, START + 3 * 10**8]
    assert "unreadable clouds: 2" in " ".join(capsys.readouterr().out.split())


def test_real_recordings(shared_data, student_file, tmp_path):
    for topic, points in (("/ouster/points", 131072), ("/lidar_top", 34688)):
        _, document = replay(
            shared_data / "real_lidar", "-m", student_file, "-t", topic, "-n", "1", output=tmp_path / topic[1:4]
        )
        assert document["input"]["points"] == points
    _, document = replay(shared_data / "rellis3d", "-m", student_file, "--no-bag", output=tmp_path / "rellis")
    assert document["truth"]["matched_clouds"] == 1
