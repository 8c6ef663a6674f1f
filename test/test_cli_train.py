# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""srkd-train as a user meets it: recipes, overrides, examples in the help, one line for what is wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from srkd_ros import student
from srkd_ros.labels import LabelSet
from srkd_ros.network import PointTransformer
from srkd_ros.resources import find
from srkd_train.cli import main
from srkd_train.config import DistillConfig, TrainConfig, check
from srkd_train.parsing import parse_config

RECIPES = sorted(find("config/train").glob("*.yaml"))
SMALL = """
preprocessing: {voxel_size: 1.0, min_range: 0.0, max_range: 60.0}
network:
  preset: nano
  encoder_channels: [8, 12]
  encoder_depths: [1, 1]
  encoder_heads: [1, 2]
  encoder_convolution: [true, false]
  encoder_attention: [false, true]
  decoder_channels: [8]
  decoder_depths: [0]
  decoder_heads: [1]
  decoder_convolution: [false]
  decoder_attention: [false]
data: {batch_size: 2, workers: 0}
trainer: {max_steps: 4, accelerator: cpu, threads: 1}
"""


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three towns in SemanticKITTI's layout: a plane and a block, raw ids 40 (road) and 50 (building)."""
    root = tmp_path_factory.mktemp("data") / "streets"
    random = np.random.default_rng(0)
    for sequence in ("00", "01", "08"):
        for kind in ("velodyne", "labels"):
            (root / "sequences" / sequence / kind).mkdir(parents=True)
        for i in range(2):
            points = random.uniform((-20, -20, -1.8, 0), (20, 20, -1.7, 0.3), (800, 4)).astype("<f4")
            points[::2, 2] += random.uniform(0.5, 4, 400)
            labels = np.where(points[:, 2] > -1.5, 50, 40).astype("<u4")
            points.tofile(root / "sequences" / sequence / "velodyne" / f"{i:06d}.bin")
            labels.tofile(root / "sequences" / sequence / "labels" / f"{i:06d}.label")
    return root


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, streets: Path) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    data = yaml.safe_load(SMALL)
    data["data"]["root"] = str(streets)
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> Path:
    output = tmp_path_factory.mktemp("runs") / "teacher"
    assert main(["teacher", "--config", str(recipe), "--output", str(output)]) == 0
    return output / "student.safetensors"


def test_teach_distill_evaluate_inspect(
    teacher: Path, recipe: Path, streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "student"
    command = ["distill", "--config", str(recipe), "--teacher", str(teacher), "--output", str(output)]
    assert main([*command, "--losses.cross_sample.weight", "0.5", "--losses.cross_sample.points", "32"]) == 0
    assert yaml.safe_load((output / "config.yaml").read_text())["losses"]["cross_sample"]["weight"] == 0.5
    file = output / "student.safetensors"
    capsys.readouterr()
    scores = tmp_path / "scores.json"
    picture = tmp_path / "confusion.png"
    arguments = ["eval", str(file), str(teacher), str(streets), "--json", str(scores), "--picture", str(picture)]
    arguments += ["--device", "cpu"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "mIoU" in printed
    assert "building" in printed
    document = json.loads(scores.read_text())
    assert [m["name"] for m in document["models"]] == ["student/student", f"{teacher.parent.name}/student"]
    assert [m["precision"] for m in document["models"]] == ["fp32", "fp32"]
    assert set(document["models"][0]["per_class"]["road"]) >= {"iou", "points"}
    assert document["models"][0]["by_range"][0]["from_m"] == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert main(["info", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "road" in printed
    assert "teacher sha256" in printed
    assert main(["info", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["provenance"]["losses"]["kl"]["weight"] == 0.3


def test_a_finished_run_resumes_to_nothing(teacher: Path, recipe: Path):
    assert main(["teacher", "--config", str(recipe), "--output", str(teacher.parent), "--resume"]) == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bogus"], "no command 'bogus'"),
        (["teacher", "--data.rot", "x"], "data.rot: unknown key; did you mean data.root?"),
        (["teacher", "--lr", "1"], "lr: unknown key; did you mean optimizer.lr?"),
        (["teacher", "--config", "missing.yaml"], "--config: no such file"),
        (["teacher", "--trainer.epochs", "many"], "trainer.epochs: expected int. got many"),
        (["teacher", "--trainer.precision", "8"], "trainer.precision: expected"),
        (["teacher", "--trainer.accumulate", "0"], "trainer.accumulate: 0 is not positive"),
        (["teacher", "--preprocessing.voxel_size", "-1"], "preprocessing.voxel_size: -1"),
        (["teacher", "--network.preset", "huge"], "no network preset 'huge'"),
        (["teacher", "--data.root", "nowhere"], "nowhere: no such folder"),
        (["distill", "--losses.kl.wieght", "1"], "losses.kl.wieght: unknown key; did you mean losses.kl.weight?"),
        (["distill", "--teacher", "missing.safetensors"], "missing.safetensors: no such student file"),
        (["eval", "missing.safetensors", "data"], "missing.safetensors: no such model file"),
        (["eval"], "required: MODEL, DATA"),
        (["eval", "student.safetensors", "data", "--scans", "-1"], "-1 is not a number of scans"),
        (["info", "missing.safetensors"], "missing.safetensors: no such student file"),
        (["synth"], "required: OUT"),
        (["import", "x.pth"], "required: --arch"),
        (["export", "missing.safetensors"], "missing.safetensors"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path
):
    if arguments[0] in ("teacher", "distill") and "--config" not in arguments:
        arguments = [arguments[0], "--config", str(recipe), "--output", str(tmp_path / "run"), *arguments[1:]]
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert line in printed


@pytest.fixture
def damaged(streets: Path, tmp_path: Path) -> Path:
    """The streets with a scan cut short that only validation reads."""
    root = shutil.copytree(streets, tmp_path / "damaged")
    file = root / "sequences" / "08" / "velodyne" / "000001.bin"
    file.write_bytes(file.read_bytes()[:1000])
    return root


@pytest.mark.parametrize("workers", [0, 1])
def test_a_scan_damaged_on_the_way_is_one_line(
    workers: int, damaged: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["teacher", "--config", str(recipe), "--output", str(tmp_path / "run"), "--data.root", str(damaged)]
    assert main([*arguments, "--data.workers", str(workers)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert "08/velodyne/000001.bin: 1000 bytes" in printed
    assert printed.count("\n") == 1


def test_evaluation_stops_at_a_damaged_scan_or_skips_and_counts_it(
    teacher: Path, damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    scores = tmp_path / "scores.json"
    arguments = ["eval", str(teacher), str(teacher), str(damaged), "--json", str(scores)]
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert "08/velodyne/000001.bin: 1000 bytes" in printed
    assert not scores.exists()
    assert main([*arguments, "--on-corrupt", "skip"]) == 0
    printed, said = capsys.readouterr()
    assert said.startswith("skipped, 1 so far: ")
    assert said.count("\n") == 1  # though two models read it
    assert "1 of 2 scans skipped" in printed
    document = json.loads(scores.read_text())
    assert (document["data"]["scans"], document["data"]["skipped"]) == (1, 1)
    first, second = (sum(map(sum, model["confusion"]["counts"])) for model in document["models"])
    assert first == second == 800
    (damaged / "sequences" / "08" / "velodyne" / "000000.bin").write_bytes(b"")
    assert main([*arguments, "--on-corrupt", "skip"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: not one of 2 scans of the split can be read")
    assert main([*arguments, "--on-corrupt", "maybe"]) == 2
    assert "choose from" in capsys.readouterr().err


def test_more_processes_than_scans_to_validate_on_is_one_line(recipe: Path, tmp_path: Path):
    command = [sys.executable, "-m", "srkd_train.cli", "teacher", "--config", str(recipe), "--output", str(tmp_path)]
    command += ["--trainer.devices", "2", "--trainer.strategy", "ddp_gloo", "--data.validation_scans", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: data.validation_scans: 1 to validate on, fewer than the 2 processes")
    assert done.stderr.count("\n") == 1


def test_missing_spconv_names_the_extra(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for name in ("spconv", "spconv.pytorch"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    arguments = ["teacher", "--config", str(recipe), "--output", str(tmp_path), "--trainer.convolution", "spconv"]
    assert main(arguments) == 2
    assert "pip install 'srkd_ros[cu126]'" in capsys.readouterr().err


def test_unknown_keys_in_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("losses:\n  kl:\n    wight: 3\n")
    assert main(["distill", "--config", str(recipe)]) == 2
    assert "losses.kl.wight: unknown key; did you mean losses.kl.weight?" in capsys.readouterr().err


def test_another_label_set_than_the_teachers(
    teacher: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    labels = tmp_path / "two.yaml"
    labels.write_text(
        yaml.safe_dump(
            {
                "name": "two",
                "classes": [
                    {"id": 0, "name": "floor", "color": [1, 2, 3], "raw_ids": [40]},
                    {"id": 1, "name": "wall", "color": [3, 2, 1], "raw_ids": [50]},
                ],
            }
        )
    )
    command = ["distill", "--config", str(recipe), "--teacher", str(teacher), "--output", str(tmp_path / "run")]
    assert main([*command, "--data.labels", str(labels)]) == 2
    assert "class 0: car against floor" in capsys.readouterr().err


MERGED = {
    "name": "merged",
    "classes": [
        {"name": "even", "color": [1, 2, 3], "raw_ids": [40, 44, 48]},
        {"name": "upright", "color": [3, 2, 1], "raw_ids": [50, 51, 80]},
    ],
}


def with_labels(file: Path, labels: dict, folder: Path) -> Path:
    """A student as untrained as can be, of other classes but otherwise as in `file`."""
    _, manifest = student.load(file)
    labels = LabelSet.from_dict(labels)
    network = dataclasses.replace(manifest.network, num_classes=len(labels))
    path = folder / f"{labels.name}.safetensors"
    manifest = dataclasses.replace(manifest, labels=labels, network=network)
    student.save(path, PointTransformer(network).state_dict(), manifest)
    return path


def test_a_model_of_another_datasets_classes_is_not_measured(
    teacher: Path, streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = with_labels(teacher, LabelSet.load("nuscenes").to_dict(), tmp_path)
    assert main(["eval", str(other), str(streets), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {other}: its 16 classes (nuscenes) are not the data's 19 (semantickitti; ")
    assert "--labels" in said
    assert said.count("\n") == 1
    root = shutil.copytree(streets, tmp_path / "coded")
    (root / "dataset.yaml").write_text("labels: nuscenes\n")
    assert main(["eval", str(teacher), str(root), "--device", "cpu"]) == 2
    assert "its 19 classes (semantickitti) are not the data's 16 (nuscenes; " in capsys.readouterr().err
    assert main(["eval", str(teacher), str(root), "--device", "cpu", "--labels", "semantickitti"]) == 0
    assert main(["eval", str(teacher), str(streets), "--labels", "nuscenes"]) == 2


def test_a_model_of_the_datasets_classes_merged_is_measured_in_its_own(
    teacher: Path, streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    merged, scores = with_labels(teacher, MERGED, tmp_path), tmp_path / "scores.json"
    assert main(["eval", str(merged), str(streets), "--device", "cpu", "--json", str(scores)]) == 0
    per_class = json.loads(scores.read_text())["models"][0]["per_class"]
    assert sum(c["points"] for c in per_class.values()) == 1600
    assert set(per_class) == {"even", "upright"}
    capsys.readouterr()
    assert main(["eval", str(merged), str(teacher), str(streets), "--device", "cpu"]) == 2
    assert f"{teacher}: its 19 classes (semantickitti) are not the data's 2 (merged; " in capsys.readouterr().err


def test_bags_have_no_labels_to_measure_against(teacher: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["eval", str(teacher), "drive.mcap", "--kind", "bag"]) == 2
    assert capsys.readouterr().err.startswith("error: --kind bag: bags hold no labels to measure against; srkd-replay")


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_shipped_recipe_is_complete(path: Path):
    cls = DistillConfig if path.stem.endswith("distill") else TrainConfig
    config = parse_config(cls, ["--config", str(path)], "srkd-train", "")
    check(config)
    classes = 20
    network = config.network.build(len(config.preprocessing.features), classes)
    assert network.num_classes == classes
    assert path.read_text().startswith("#")


def test_help_is_quick_and_starts_with_examples():
    script = "import sys; from srkd_train.cli import main; main(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("examples:")
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize("command", ["synth", "teacher", "distill", "eval", "import", "export", "info"])
def test_every_command_has_examples(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert f"srkd-train {command} " in text.split("options:")[0]
