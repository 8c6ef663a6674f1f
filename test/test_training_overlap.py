# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Validation on scans that training has seen is said before the run begins."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from test_datasets import room, write_scan
from test_datasets_nuscenes import write_tables
from test_training import Boxes, config

from srkd_train.config import DataConfig, TrainConfig
from srkd_train.loading import Source, open_sources, shared_scans
from srkd_train.trainer import train


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    """Sequences 00 to 02 and 08 of two scans."""
    for sequence in ("00", "01", "02", "08"):
        for i in range(2):
            write_scan(tmp_path / "kitti" / "sequences" / sequence, f"{i:06d}", points=800)
    return tmp_path / "kitti"


def shared(kind: str, root: Path, train: str = "train", val: str = "val", **changed: int) -> int:
    both = open_sources(DataConfig(kind=kind, root=str(root), train=train, val=val, **changed))
    assert both[1] is not None
    return shared_scans(both[0], both[1])


def test_scans_of_both_splits_are_counted(kitti: Path, tmp_path: Path):
    assert shared("semantic_kitti", kitti) == 0
    assert shared("semantic_kitti", kitti, "00,08") == 2
    assert shared("semantic_kitti", kitti, "all", "all") == 8
    assert shared("semantic_kitti", kitti, "all", "all", validation_scans=3) == 3
    assert shared("semantic_kitti", kitti / "sequences" / "01") == 2  # one sequence is every split
    for split, name in (("train", "a"), ("val", "b")):
        room(tmp_path / "scannet" / split / name)
    assert shared("scannet", tmp_path / "scannet") == 0
    assert shared("scannet", tmp_path / "scannet", "all") == 1
    write_tables(tmp_path / "nuscenes")
    assert shared("nuscenes", tmp_path / "nuscenes") == 0
    assert shared("nuscenes", tmp_path / "nuscenes", "all") > 0
    lists = {"train": range(3), "val": range(2, 4)}
    for split, scans in lists.items():
        lines = [f"00000/os1_cloud_node_kitti_bin/{i:06d}.bin 00000/labels/{i:06d}.label" for i in scans]
        (tmp_path / f"pt_{split}.lst").write_text("\n".join(lines))
    assert shared("rellis3d", tmp_path) == 1


def test_a_hundred_thousand_scans_are_compared_in_no_time():
    class Many(Boxes):
        def __init__(self, first: int) -> None:
            super().__init__(100_000)
            self.files = [(f"{i // 5000:02d}", f"{i % 5000:06d}") for i in range(first, first + self.scans)]

    train, val = Source([Many(0)]), Source([Many(99_990)])
    start = time.monotonic()
    assert shared_scans(train, val) == 10
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(("split", "said"), [("00,08", "2 of 2 validation scans are training scans"), ("00,01", "")])
def test_a_run_warns_of_them(kitti: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str, said: str):
    c = config(TrainConfig, tmp_path / "run", steps=1)
    c.data.root, c.data.train = str(kitti), split
    train(c)
    out = capsys.readouterr().out
    assert out.count("warning: data.val: ") == bool(said)
    assert said in out
