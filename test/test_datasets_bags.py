# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Bags as datasets: every storage, any order of access, several topics, several bags, several processes, damage."""

import pickle
import re
import shutil

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore
from torch.utils.data import DataLoader

from srkd_ros.errors import ConfigError, DataError
from srkd_train.config import DataConfig
from srkd_train.datasets import open_dataset
from srkd_train.datasets.bag_times import indexed_times
from srkd_train.datasets.bags import UnreadableBag
from srkd_train.loading import open_sources

CLOUD = "sensor_msgs/msg/PointCloud2"
TIMES = [5, 10, 10, 25, 40]  # two clouds carry the same time
FIELDS = [("x", 0, 7, 1), ("y", 4, 7, 1), ("z", 8, 7, 1), ("intensity", 12, 2, 1)]


def cloud(store, number, points=20):
    """A cloud whose every x is its number."""
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"](number, 0)
    header = {"stamp": stamp, "frame_id": "lidar"}
    if "seq" in types["std_msgs/msg/Header"].__dataclass_fields__:
        header["seq"] = number
    data = np.zeros(points, np.dtype([("p", "<f4", 3), ("i", "u1"), ("pad", "u1", 3)]))
    data["p"], data["i"] = (number, 1, 2), 200
    return types[CLOUD](
        header=types["std_msgs/msg/Header"](**header),
        height=1,
        width=points,
        fields=[types["sensor_msgs/msg/PointField"](*f) for f in FIELDS],
        is_bigendian=False,
        point_step=16,
        row_step=16 * points,
        data=data.view(np.uint8).reshape(-1),
        is_dense=True,
    )


def write_bag(path, storage="mcap", topics=("/points",), times=TIMES, points=20):
    if storage == "bag":
        store = get_typestore(Stores.ROS1_NOETIC)
        with Writer1(path) as writer:
            for topic in topics:
                connection = writer.add_connection(topic, CLOUD, typestore=store)
                for number, t in enumerate(times):
                    writer.write(connection, t * 10**9, store.serialize_ros1(cloud(store, number, points), CLOUD))
        return path
    store = get_typestore(Stores.ROS2_JAZZY)
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    with Writer2(path, version=9, storage_plugin=plugin) as writer:
        connections = [writer.add_connection(topic, CLOUD, typestore=store) for topic in topics]
        for number, t in enumerate(times):
            for connection in connections:
                writer.write(connection, t * 10**9, store.serialize_cdr(cloud(store, number, points), CLOUD))
    return path


@pytest.fixture(params=["mcap", "sqlite3", "bag"])
def bag(request, tmp_path):
    return write_bag(tmp_path / ("r.bag" if request.param == "bag" else "r"), request.param)


def first_number(scans):
    return int(scans[0].xyz[0, 0])


def numbers(dataset, order):
    return [int(dataset[i].xyz[0, 0]) for i in order]


def test_every_cloud_in_any_order(bag):
    dataset = open_dataset("bag", bag, labels="rellis3d")
    assert np.array_equal(indexed_times(bag, "/points"), np.array(TIMES) * 10**9)
    assert (len(dataset), dataset.intensity_scale, dataset.labels.name) == (5, 255.0, "rellis3d")
    assert sorted(numbers(dataset, range(5))) == [0, 1, 2, 3, 4]
    assert numbers(dataset, [4, 0, 3, -1]) == [4, 0, 3, 4]
    scan = dataset[3]
    assert (scan.name, scan.labels, scan.xyz.shape) == ("r/000003", None, (20, 3))
    np.testing.assert_array_equal(scan.intensity, np.full(20, 200, np.float32))
    with pytest.raises(IndexError):
        dataset[5]


def test_single_storage_files(tmp_path):
    for storage, suffix in (("mcap", ".mcap"), ("sqlite3", ".db3")):
        file = next(write_bag(tmp_path / storage, storage).glob(f"*{suffix}"))
        assert numbers(open_dataset("bag", file), [0, 4, 3]) == [0, 4, 3]


def test_topics(tmp_path):
    path = write_bag(tmp_path / "two", topics=("/front", "/rear"))
    said = r"2 PointCloud2 topics: /front \(\d+ clouds\), /rear .*--data\.options\.topic .*--data\.unlabelled_topic "
    with pytest.raises(DataError, match=f"^{path}: {said}[^\n]*$"):
        open_dataset("bag", path)
    for topic in ("/front", "/rear"):
        assert sorted(numbers(open_dataset("bag", path, topic=topic), range(5))) == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match="no topic '/left'"):
        open_dataset("bag", path, topic="/left")


def test_a_folder_of_bags(tmp_path):
    write_bag(tmp_path / "a")
    write_bag(tmp_path / "b", "sqlite3", times=[1, 2, 3])
    write_bag(tmp_path / "c.bag", "bag")
    dataset = open_dataset("bag", tmp_path)
    assert len(dataset) == 13
    assert [s.name.split("/")[0] for s in dataset] == ["a"] * 5 + ["b"] * 3 + ["c"] * 5
    assert numbers(dataset, [5, 0, 12, 7]) == [0, 0, 4, 2]


def test_processes_read_for_themselves(bag):
    dataset = open_dataset("bag", bag)
    dataset[0]
    assert numbers(pickle.loads(pickle.dumps(dataset)), [3]) == [3]
    loader = DataLoader(dataset, batch_size=1, num_workers=2, collate_fn=first_number)
    assert sorted(loader) == [0, 1, 2, 3, 4]


def test_a_truncated_bag_gives_what_is_left(tmp_path):
    folder = write_bag(tmp_path / "whole", times=list(range(1, 9)), points=40_000)
    whole = next(folder.glob("*.mcap"))
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    dataset = open_dataset("bag", cut)
    assert 2 <= len(dataset) < 8
    assert numbers(dataset, range(len(dataset))) == list(range(len(dataset)))


@pytest.fixture
def torn(tmp_path):
    """A folder of a bag that holds nothing, a whole one, and one that ends before its clouds."""
    folder = tmp_path / "torn"
    folder.mkdir()
    for name in ("b", "c"):
        shutil.move(next(write_bag(tmp_path / name, times=[1, 2, 3]).glob("*.mcap")), folder / f"{name}.mcap")
    (folder / "a.mcap").write_bytes((folder / "b.mcap").read_bytes()[:40])
    data = bytearray((folder / "c.mcap").read_bytes())
    data[data.index(b"lidar\0") - 300 :] = b""  # before the first cloud
    (folder / "c.mcap").write_bytes(data)
    return folder


def test_unreadable_bags_of_a_folder_are_refused_or_left_out(torn):
    with pytest.raises(UnreadableBag, match=r"a\.mcap: not a readable bag .*; copy it again"):
        open_dataset("bag", torn)
    dataset = open_dataset("bag", torn, on_corrupt="skip")
    assert numbers(dataset, range(len(dataset))) == [0, 1, 2]
    assert [line.split(":")[0] for line in dataset.unreadable] == [str(torn / "a.mcap"), str(torn / "c.mcap")]
    assert len(open_dataset("bag", torn, on_bad="skip")) == 3
    with pytest.raises(DataError, match="no topic '/left'"):  # a wrong setting is no damage
        open_dataset("bag", torn, on_corrupt="skip", topic="/left")
    with pytest.raises(ConfigError, match="is not refuse or skip"):
        open_dataset("bag", torn, on_corrupt="maybe")
    (torn / "b.mcap").unlink()
    with pytest.raises(UnreadableBag, match=r"torn: not one of its 2 bags .*; the first: .*a\.mcap") as caught:
        open_dataset("bag", torn, on_corrupt="skip")
    assert "\n" not in str(caught.value)


def test_training_names_and_counts_the_bags_it_skips(torn, tmp_path, capsys):
    whole = write_bag(tmp_path / "whole")
    data = DataConfig("bag", str(torn), unlabelled=[str(torn / "a.mcap"), str(whole)], on_corrupt="skip")
    assert [len(source) for source in open_sources(data)] == [8, 3]
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:2] for line in said] == [
        ["skipped, 1 bag so far", str(torn / "a.mcap")],
        ["skipped, 2 bags so far", str(torn / "c.mcap")],
        ["skipped, 3 bags so far", str(torn / "a.mcap")],
    ]
    refusing = DataConfig("bag", str(whole), unlabelled=[str(torn)])
    with pytest.raises(UnreadableBag, match=r"a\.mcap"):
        open_sources(refusing)
    data.unlabelled = [str(torn / "a.mcap"), str(torn / "c.mcap")]
    with pytest.raises(DataError, match=r"data\.unlabelled: not one of its 2 bags can be read; .*a\.mcap"):
        open_sources(data)
    data.unlabelled = [str(torn / "missing.mcap"), str(whole)]
    with pytest.raises(DataError, match="no such bag"):  # a wrong name is no damage
        open_sources(data)


def test_damage_in_the_middle_is_named(tmp_path):
    folder = write_bag(tmp_path / "r", times=list(range(1, 5)), points=70_000)  # a chunk a cloud
    file = next(folder.glob("*.mcap"))
    data = bytearray(file.read_bytes())
    places = [match.start() for match in re.finditer(b"lidar\0", data)]
    record = places[1] - 4 - 8 - 4 - 22 - 8  # back over length, stamp, encapsulation, message header: a record's length
    data[record : record + 8] = b"\xff" * 8
    data[places[2] - 4 : places[2]] = b"\xff" * 4  # the length of a frame_id
    file.write_bytes(data)
    dataset = open_dataset("bag", folder)
    for number, said in ((1, "cloud 1 of /points cannot be read"), (2, "cloud 2 of /points: .* does not decode")):
        with pytest.raises(DataError, match=said) as caught:
            dataset[number]
        assert "\n" not in str(caught.value)
    assert numbers(dataset, [3, 0]) == [3, 0]
    tolerant = open_dataset("bag", folder, on_bad="skip")
    assert numbers(tolerant, range(4)) == [0, 3, 3, 3]
    assert list(tolerant.bad) == [1, 2]


def test_clouds_that_cannot_be_used_are_named(tmp_path):
    path = write_bag(tmp_path / "empty", points=0)
    with pytest.raises(DataError, match=r"empty: cloud 1 of /points has no finite point"):
        open_dataset("bag", path)[1]
    with pytest.raises(DataError, match="no intensity field 'signal'"):
        open_dataset("bag", write_bag(tmp_path / "r"), intensity_field="signal")[0]


def test_real_recording(shared_data, tmp_path):
    bag = shutil.copytree(shared_data / "real_lidar", tmp_path / "bag")
    for topic, points in (("/ouster/points", 131072), ("/lidar_top", 34688)):
        dataset = open_dataset("bag", bag, topic=topic)
        assert (len(dataset), dataset.intensity_scale) == (3, 255.0)
        assert [len(dataset[i].xyz) for i in (2, 0, 1)] == [points] * 3
