# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Resuming: exactly where the run was, wherever it was interrupted, and not a run that is another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from test_training import ALL, Boxes, config, curve

from srkd_ros import student
from srkd_ros.errors import ConfigError
from srkd_train.config import DistillConfig, TrainConfig
from srkd_train.datasets import Scan
from srkd_train.loading import Source
from srkd_train.trainer import train


class Stop(Exception):
    """A power cut."""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    c = config(TrainConfig, tmp_path_factory.mktemp("teacher"), steps=12)
    c.network.encoder_channels, c.network.decoder_channels = (12, 24), (12,)
    c.data.sensor_height = 1.7
    return train(c, (Source([Boxes()]), Source([Boxes(2)])))


@pytest.mark.parametrize(("accumulate", "batches"), [(1, 10), (2, 19), (3, 1), (3, 13), (3, 29)])
def test_resuming_gives_the_curve_of_an_uninterrupted_run(teacher: Path, tmp_path: Path, accumulate: int, batches: int):
    """Cut after so many batches: in the middle of an optimiser step, behind one, and behind a validation."""

    class Dying(Boxes):
        """Fails for good once it has been read so often, as a power cut would."""

        reads = 0

        def __getitem__(self, index: int) -> Scan:
            Dying.reads += 1
            if Dying.reads > limit:
                raise Stop
            return super().__getitem__(index)

    def run(folder: Path, dataset: Boxes, resume: bool = False) -> None:
        c = config(DistillConfig, folder, steps=12, **ALL)
        c.teacher.file, c.resume, c.trainer.ema = str(teacher), resume, 0.9
        c.trainer.accumulate, c.trainer.validate_every, c.trainer.save_every = accumulate, 1, 3
        c.losses.cross_sample.points = 32
        train(c, (Source([dataset]), Source([Boxes(scans=2)])))

    run(tmp_path / "whole", Boxes())
    limit = 8 + 2 * batches  # statistics, then batches of two
    with pytest.raises(Stop):
        run(tmp_path / "cut", Dying())
    before = curve(tmp_path / "cut")
    run(tmp_path / "cut", Boxes(), resume=True)
    whole, cut = curve(tmp_path / "whole"), {**before, **curve(tmp_path / "cut")}
    assert whole.keys() == cut.keys()
    assert whole == cut
    assert curve(tmp_path / "whole", "val/miou") == curve(tmp_path / "cut", "val/miou")
    a, b = (student.load(tmp_path / n / "student.safetensors")[0] for n in ("whole", "cut"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_finished_run_is_not_overwritten(teacher: Path):
    c = config(TrainConfig, teacher.parent, steps=12)
    with pytest.raises(ConfigError, match="--resume"):
        train(c, (Source([Boxes()]), Source([Boxes(2)])))


def test_resuming_with_other_settings_names_the_first(teacher: Path):
    c = config(TrainConfig, teacher.parent, steps=12)
    c.network.encoder_channels, c.network.decoder_channels, c.resume, c.optimizer.lr = (12, 24), (12,), True, 0.5
    c.data.sensor_height = 1.7
    with pytest.raises(ConfigError, match=r"optimizer\.lr: 0\.5 now, 0\.02"):
        train(c, (Source([Boxes()]), Source([Boxes(2)])))


def test_resuming_where_nothing_is_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    c = config(TrainConfig, tmp_path / "mistyped", steps=2)
    c.resume = True
    for said in (1, 0):
        train(c, (Source([Boxes()]), None))
        assert capsys.readouterr().out.count(f"nothing to resume in {tmp_path / 'mistyped'}: beginning anew\n") == said


@pytest.mark.parametrize("validation", [0, 1, 3])
def test_a_validation_that_was_cut_is_made_up_for(tmp_path: Path, validation: int):
    class Dying(Boxes):
        reads = 0

        def __getitem__(self, index: int) -> Scan:
            Dying.reads += 1
            if Dying.reads > 2 * validation + 1:
                raise Stop
            return super().__getitem__(index)

    def run(folder: Path, dataset: Boxes, resume: bool = False) -> Path:
        c = config(TrainConfig, folder, steps=7)
        c.trainer.save_every, c.trainer.validate_every, c.data.batch_size, c.resume = 2, 1, 4, resume
        return train(c, (Source([Boxes()]), Source([dataset])))

    whole = run(tmp_path / "whole", Boxes(2))
    with pytest.raises(Stop):
        run(tmp_path / "cut", Dying(2))
    before = curve(tmp_path / "cut", "val/miou")
    cut = run(tmp_path / "cut", Boxes(2), resume=True)
    expected = curve(tmp_path / "whole", "val/miou")
    assert list(expected) == [1, 3, 5, 6]  # every epoch of two steps, and the end
    assert {**before, **curve(tmp_path / "cut", "val/miou")} == expected
    (a, first), (b, second) = student.load(whole), student.load(cut)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert first.provenance["metrics"] == second.provenance["metrics"]
    if validation == 3:  # and a run that has ended stays as it is
        run(tmp_path / "cut", Boxes(2), resume=True)
        assert curve(tmp_path / "cut", "val/miou").items() <= expected.items()
        assert student.load(cut)[1] == second


def resumed(teacher: Path, folder: Path, scans: int = 8, **data: object):
    c = config(DistillConfig, folder, steps=4, kl=1.0)
    c.teacher.file, c.resume = str(teacher), True
    for name, value in data.items():
        setattr(c.data, name, value)
    return train(c, (Source([Boxes(scans)]), Source([Boxes(2)])))


@pytest.fixture
def run(teacher: Path, tmp_path: Path) -> Path:
    """The folder of a distillation, to resume."""
    return resumed(teacher, tmp_path / "run").parent


def test_folders_may_move(teacher: Path, run: Path, tmp_path: Path):
    moved = shutil.move(run, tmp_path / "elsewhere")
    copy = shutil.copy(teacher, tmp_path / "teacher.safetensors")
    assert resumed(Path(copy), Path(os.path.relpath(moved)), root=str(tmp_path / "mount")).is_file()


def test_another_teacher_or_other_data_is_refused(teacher: Path, run: Path, tmp_path: Path):
    tensors, manifest = student.load(teacher)
    other = tmp_path / "teacher.safetensors"
    student.save(other, {k: v * 2 if v.is_floating_point() else v for k, v in tensors.items()}, manifest)
    with pytest.raises(ConfigError, match=r"teacher\.file: another teacher"):
        resumed(other, run)
    with pytest.raises(ConfigError, match="7 training scans now, 8 when"):
        resumed(teacher, run, scans=7)
    with pytest.raises(ConfigError, match=r"data\.options: .*intensity_scale"):
        resumed(teacher, run, options={"intensity_scale": 50})


@pytest.mark.parametrize("damage", [b"", b"- 1", b"{", b"\xff", None])
def test_settings_that_are_damaged_are_named(teacher: Path, run: Path, damage: bytes | None):
    file = run / "config.yaml"
    file.unlink() if damage is None else file.write_bytes(damage)
    with pytest.raises(ConfigError, match=r"config\.yaml") as error:
        resumed(teacher, run)
    assert "\n" not in str(error.value)


def test_a_checkpoint_that_is_cut_short_is_named(teacher: Path, run: Path):
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"last\.ckpt is damaged"):
        resumed(teacher, run)


def test_settings_of_an_older_version_pass(teacher: Path, run: Path):
    """It did not have this key yet."""
    file = run / "config.yaml"
    settings = yaml.safe_load(file.read_text())
    del settings["trainer"]["ema"], settings["data"]["options"]
    file.write_text(yaml.safe_dump(settings))
    assert resumed(teacher, run).is_file()
