# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""RELLIS-3D as downloaded, and in SemanticKITTI's layout."""

import numpy as np
import pytest
import yaml
from test_datasets import write_scan

from srkd_ros.errors import DataError
from srkd_train.datasets import open_dataset


def test_rellis3d_as_downloaded(tmp_path):
    scans, labels = "os1_cloud_node_kitti_bin", "os1_cloud_node_semantickitti_label_id"
    for sequence in ("00000", "00001"):
        data, _ = write_scan(tmp_path / "x", "000104")
        for name in (scans, labels):
            (tmp_path / sequence / name).mkdir(parents=True)
        data.tofile(tmp_path / sequence / scans / "000104.bin")
        np.full(50, 3, "<u4").tofile(tmp_path / sequence / labels / "000104.label")
    (tmp_path / "pt_train.lst").write_text(f"00001/{scans}/000104.bin 00001/{labels}/000104.label\n")
    dataset = open_dataset("rellis3d", tmp_path, "train")
    assert [s.name for s in dataset] == ["00001/000104"]
    assert set(dataset[0].labels) == {dataset.labels.index("grass")}
    assert [s.name for s in open_dataset("rellis3d", tmp_path, "all")] == ["00000/000104", "00001/000104"]
    with pytest.raises(DataError, match=r"pt_val\.lst: no such list"):
        open_dataset("rellis3d", tmp_path, "val")
    (tmp_path / "pt_val.lst").write_text("one\n")
    with pytest.raises(DataError, match="line 1 does not hold the two paths"):
        open_dataset("rellis3d", tmp_path, "val")


def test_real_rellis3d_scan(shared_data):
    for kind, options in (("rellis3d", {}), ("semantic_kitti", {"labels": "rellis3d"})):
        dataset = open_dataset(kind, shared_data / "rellis3d", "train", **options)
        scan = dataset[0]
        assert (len(dataset), scan.name, scan.xyz.shape) == (1, "00/000104", (131072, 3))
        assert np.count_nonzero(np.abs(scan.xyz).sum(1) == 0) == 53364
        assert 0.011 < scan.intensity.max() < 0.0116
        present = {dataset.labels.names[i] for i in set(scan.labels) - {255}}
        assert {"grass", "bush"} <= present


def of(root, split):
    return [scan.name for scan in open_dataset("rellis3d", root, split)]


@pytest.fixture
def sequences(tmp_path):
    """00000 to 00004 in SemanticKITTI's layout, two scans each."""
    for number in range(5):
        for stem in ("000003", "000104"):
            write_scan(tmp_path / "sequences" / f"{number:05d}", stem)
    return tmp_path


def test_sequences_with_rellis_names_are_split_by_sequence(sequences):
    assert {name[:5] for name in of(sequences, "train")} == {"00000", "00001", "00002"}
    assert of(sequences, "val") == ["00003/000003", "00003/000104"]
    assert of(sequences, "test") == ["00004/000003", "00004/000104"]
    assert of(sequences, "00004,00000") == ["00004/000003", "00004/000104", "00000/000003", "00000/000104"]
    assert len(of(sequences, "all")) == 10
    assert open_dataset("rellis3d", sequences, "val").labels.name == "rellis3d"
    with pytest.raises(DataError, match="no split or sequence '33'; it has train, val, test, 00000, 00001"):
        of(sequences, "33")


def test_rellis_lists_beside_sequences_are_the_splits(sequences):
    lines = [
        f"{sequence}/os1_cloud_node_kitti_bin/{stem}.bin {sequence}/os1_cloud_node_semantickitti_label_id/{stem}.label"
        for sequence, stem in (("00004", "000104"), ("00000", "000003"), ("00009", "000000"))
    ]
    (sequences / "pt_train.lst").write_text("\n".join(lines))
    assert of(sequences, "train") == ["00004/000104", "00000/000003"]  # 00009 is not there: a part of a download
    assert open_dataset("rellis3d", sequences, "train")[0].labels is not None
    assert len(of(sequences, "all")) == 10
    assert len(of(sequences, "00001")) == 2
    with pytest.raises(DataError, match=r"pt_val\.lst: no such list"):  # whole sequences would hold training scans
        of(sequences, "val")
    (sequences / "pt_val.lst").write_text(lines[2])
    with pytest.raises(DataError, match=r"pt_val\.lst: no scan of the sequences 00000, .* in it"):
        of(sequences, "val")
    (sequences / "dataset.yaml").write_text(yaml.safe_dump({"split": {"val": ["00001"]}}))
    assert of(sequences, "val") == ["00001/000003", "00001/000104"]


def test_rellis_sequences_with_other_names_keep_semantic_kittis_splits(tmp_path):
    for sequence in ("00", "08"):
        write_scan(tmp_path / "sequences" / sequence, "000000")
    (tmp_path / "pt_train.lst").write_text("00000/a/000000.bin 00000/b/000000.label\n")
    assert of(tmp_path, "train") == ["00/000000"]
    assert of(tmp_path, "val") == ["08/000000"]
