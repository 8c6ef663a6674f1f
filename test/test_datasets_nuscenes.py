# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""nuScenes-lidarseg from tables in the exact form of the download."""

import json

import numpy as np
import pytest

from srkd_ros.errors import DataError
from srkd_ros.labels import LabelSet
from srkd_train.datasets import open_dataset
from srkd_train.datasets.nuscenes import MINI_VAL_SCENES, VAL_SCENES

CATEGORIES = [
    "noise", "animal", "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility", "human.pedestrian.police_officer", "human.pedestrian.stroller",
    "human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris",
    "movable_object.pushable_pullable", "movable_object.trafficcone", "static_object.bicycle_rack", "vehicle.bicycle",
    "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car", "vehicle.construction", "vehicle.emergency.ambulance",
    "vehicle.emergency.police", "vehicle.motorcycle", "vehicle.trailer", "vehicle.truck", "flat.driveable_surface",
    "flat.other", "flat.sidewalk", "flat.terrain", "static.manmade", "static.other", "static.vegetation", "vehicle.ego",
]  # fmt: skip
SCENES = {"v1.0-mini": ["scene-0061", "scene-0103", "scene-0553"], "v1.0-test": ["scene-0077"]}


def token(*parts):
    return "-".join(map(str, parts)).ljust(32, "0")


def write_tables(root, version="v1.0-mini", labelled=True, index=True):
    """Two samples a scene, each with a LiDAR keyframe, a sweep after it and an image."""
    rng = np.random.default_rng(0)
    tables = {name: [] for name in ("scene", "sample", "sample_data", "lidarseg", "sensor", "calibrated_sensor")}
    for scene in SCENES[version]:
        tables["scene"].append({"token": token(scene), "name": scene, "nbr_samples": 2, "description": "Wait, {turn}"})
        for i in range(2):
            sample = token(scene, i)
            tables["sample"].append({"token": sample, "timestamp": 1000 + i, "scene_token": token(scene)})
            for kind, key in (("samples/LIDAR_TOP", True), ("sweeps/LIDAR_TOP", False), ("samples/CAM_FRONT", True)):
                name = (
                    f"{kind}/n015__{kind.split('/')[1]}__{scene[-4:]}{1000 + i}.{'jpg' if 'CAM' in kind else 'pcd.bin'}"
                )
                data = token(scene, i, kind[:2], kind[8:11])
                tables["sample_data"].append(
                    {"token": data, "sample_token": sample, "ego_pose_token": data, "timestamp": 1000 + i,
                     "fileformat": "pcd", "is_key_frame": key, "height": 0, "width": 0, "filename": name,
                     "prev": "", "next": ""}
                )  # fmt: skip
                if kind == "samples/LIDAR_TOP":
                    (root / kind).mkdir(parents=True, exist_ok=True)
                    points = rng.normal(size=(64, 5)).astype("<f4")
                    points[:, 3] = rng.integers(0, 256, 64)
                    points.tofile(root / name)
                    file = f"lidarseg/{version}/{data}_lidarseg.bin"
                    tables["lidarseg"].append({"token": data, "sample_data_token": data, "filename": file})
                    (root / file).parent.mkdir(parents=True, exist_ok=True)
                    np.arange(64, dtype=np.uint8).__mod__(32).tofile(root / file)
    tables["category"] = [
        {"token": token(i), "name": name, "description": "", **({"index": i} if index else {})}
        for i, name in enumerate(CATEGORIES)
    ]
    (root / version).mkdir()
    for name, records in tables.items():
        if name != "lidarseg" or labelled:
            (root / version / f"{name}.json").write_text(json.dumps(records, indent=0))


def test_mini(tmp_path):
    write_tables(tmp_path)
    train, val = (open_dataset("nuscenes", tmp_path, split) for split in ("train", "val"))
    assert [s.name.split("/")[0] for s in train] == ["scene-0061"] * 2 + ["scene-0553"] * 2
    assert [s.name.split("/")[0] for s in val] == ["scene-0103"] * 2
    assert len(open_dataset("nuscenes", tmp_path, "all", version="v1.0-mini")) == 6
    scan = train[0]
    assert (scan.xyz.shape, train.intensity_scale, train.labels.name) == ((64, 3), 255.0, "nuscenes")
    assert scan.intensity.max() > 100
    names = [train.labels.names[i] if i != 255 else "" for i in scan.labels[:32]]
    assert names == [
        "", "", "pedestrian", "pedestrian", "pedestrian", "", "pedestrian", "", "", "barrier", "", "", "traffic_cone",
        "", "bicycle", "bus", "bus", "car", "construction_vehicle", "", "", "motorcycle", "trailer", "truck",
        "driveable_surface", "other_flat", "sidewalk", "terrain", "manmade", "", "vegetation", "",
    ]  # fmt: skip


def test_the_official_split():
    assert len(VAL_SCENES) == 150
    assert {"scene-0003", "scene-0110", "scene-0802", "scene-1073"} <= VAL_SCENES
    assert not {"scene-0001", "scene-0037", "scene-0918", "scene-1110"} & VAL_SCENES
    assert MINI_VAL_SCENES <= VAL_SCENES


def test_own_splits(tmp_path):
    write_tables(tmp_path)
    (tmp_path / "splits.json").write_text(json.dumps({"night": ["scene-0553"]}))
    night = open_dataset("nuscenes", tmp_path, "night", splits=tmp_path / "splits.json")
    assert {s.name.split("/")[0] for s in night} == {"scene-0553"}
    with pytest.raises(DataError, match="no list of scenes named 'train'"):
        open_dataset("nuscenes", tmp_path, "train", splits=tmp_path / "splits.json")


def test_the_test_split_has_no_labels(tmp_path):
    write_tables(tmp_path)
    write_tables(tmp_path, "v1.0-test", labelled=False)
    dataset = open_dataset("nuscenes", tmp_path, "test")
    assert (dataset.version, len(dataset), dataset[0].labels) == ("v1.0-test", 2, None)


def test_missing_and_damaged_parts(tmp_path):
    write_tables(tmp_path)
    dataset = open_dataset("nuscenes", tmp_path)
    scan = next((tmp_path / "samples/LIDAR_TOP").glob("*0061*"))
    scan.write_bytes(scan.read_bytes()[:-8])
    with pytest.raises(DataError, match=f"{scan.name}: 1272 bytes, not a whole number of points of 20 bytes"):
        dataset[0]
    with pytest.raises(DataError, match="no split 'night'"):
        open_dataset("nuscenes", tmp_path, "night")
    (tmp_path / "v1.0-mini/lidarseg.json").unlink()
    with pytest.raises(DataError, match=r"lidarseg\.json: no such table; unpack nuScenes-lidarseg"):
        open_dataset("nuscenes", tmp_path)
    (tmp_path / "v1.0-mini/scene.json").write_text("[{")
    with pytest.raises(DataError, match=r"scene\.json: not JSON"):
        open_dataset("nuscenes", tmp_path)
    (tmp_path / "v1.0-mini/scene.json").unlink()
    with pytest.raises(DataError, match=r"scene\.json: No such file"):
        open_dataset("nuscenes", tmp_path)


def test_the_category_table_without_lidarseg_is_refused(tmp_path):
    write_tables(tmp_path, index=False)
    with pytest.raises(DataError, match=r"category\.json: vehicle\.car has the index None and not 17"):
        open_dataset("nuscenes", tmp_path)


def test_real_sweep_in_its_place(tmp_path, shared_data):
    write_tables(tmp_path)
    sweep = shared_data / "nuscenes/lidar_top.pcd.bin"
    (tmp_path / "samples/LIDAR_TOP" / "n015__LIDAR_TOP__00611000.pcd.bin").write_bytes(sweep.read_bytes())
    label = next((tmp_path / "lidarseg/v1.0-mini").glob("scene-0061-0*"))
    np.full(34688, 24, np.uint8).tofile(label)
    scan = open_dataset("nuscenes", tmp_path)[0]
    assert (len(scan.xyz), scan.intensity.max()) == (34688, 255.0)
    assert set(scan.labels) == {LabelSet.load("nuscenes").index("driveable_surface")}
