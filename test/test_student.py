# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The student file: round trip, and one clear line for every way it can be wrong."""

import dataclasses
import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from srkd_ros import student
from srkd_ros.errors import ConfigError, ModelError
from srkd_ros.labels import LabelSet
from srkd_ros.network import preset
from srkd_ros.runtimes.torch_runtime import load_network


def rewrite(source, target, **changes):
    """Copy a student file with keys of its manifest replaced; None removes one."""
    tensors, manifest = student.load(source)
    data = json.loads(manifest.to_json())
    data.update(changes)
    save_file(tensors, target, {"srkd": json.dumps({k: v for k, v in data.items() if v is not None})})
    return target


def test_round_trip(student_file):
    tensors, manifest = student.load(student_file)
    assert student.Manifest.from_json(manifest.to_json(), "x") == manifest
    assert manifest.labels == LabelSet.load("semantickitti")
    model, _ = load_network(student_file)
    assert all(torch.equal(v, tensors[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 99}, "format 99"),
        ({"format": None}, "format None"),
        ({"labels": None}, "lacks the key 'labels'"),
        ({"network": {"in_chanels": 4}}, "in_chanels"),
        ({"preprocessing": {"voxel_size": -1, "features": ["x"]}}, "voxel_size"),
        (
            {"preprocessing": {"voxel_size": 0.2, "features": ["x", "y"]}},
            "in_channels is 4 for 2 preprocessing.features",
        ),
        ({"statistics": {"colour": {}}}, "colour"),
    ],
)
def test_a_wrong_manifest_is_named(student_file, tmp_path, changes, words):
    with pytest.raises(ModelError) as caught:
        student.load(rewrite(student_file, tmp_path / "bad.safetensors", **changes))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "bad.safetensors" in str(caught.value)


def test_damaged_files_are_refused_in_one_line(student_file, tmp_path):
    whole = student_file.read_bytes()
    cases = {"short": whole[:-100], "tiny": whole[:5], "empty": b"", "noise": os.urandom(1000)}
    for name, content in cases.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(ModelError) as caught:
            student.load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="no such"):
        student.load(tmp_path / "missing.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="no srkd manifest"):
        student.load(tmp_path / "other.safetensors")


def test_weights_that_do_not_fit_are_refused(student_file, tmp_path):
    _, manifest = student.load(student_file)
    tensors = load_file(student_file)
    tensors.pop("head.weight")
    student.save(tmp_path / "s.safetensors", tensors, manifest)
    with pytest.raises(ModelError, match=r"head\.weight") as caught:
        load_network(tmp_path / "s.safetensors")
    assert "\n" not in str(caught.value)


def test_saving_leaves_no_half_file(student_file, tmp_path, monkeypatch):
    tensors, manifest = student.load(student_file)
    target = tmp_path / "s.safetensors"
    student.save(target, tensors, manifest)
    before = target.read_bytes()

    def full_disk(*_args):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="space"):
        student.save(target, tensors, manifest)
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_configurations_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="encoder_depths"):
        dataclasses.replace(preset("nano"), encoder_depths=(1,))
    with pytest.raises(ConfigError, match="encoder_heads: 7 heads do not divide 144 channels"):
        dataclasses.replace(preset("nano"), encoder_heads=(1, 2, 3, 4, 7))
    with pytest.raises(ConfigError, match="orders"):
        dataclasses.replace(preset("nano"), orders=())
    dataclasses.replace(preset("nano"), encoder_heads=(7, 7, 7, 7, 6))  # nothing attends there
    with pytest.raises(ConfigError, match="litept-s"):
        preset("litept-x")
    with pytest.raises(ConfigError, match="max_range"):
        student.Preprocessing(min_range=5, max_range=1)
