# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Values that are no numbers, in scans, losses and gradients: the run goes on and nothing of them stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import Boxes, config, curve

from srkd_ros import student
from srkd_ros.errors import SrkdError
from srkd_train.config import TrainConfig
from srkd_train.datasets import Scan
from srkd_train.distiller import Supervised
from srkd_train.loading import Source
from srkd_train.saving import measure_inputs
from srkd_train.trainer import train


def numbers(file: Path) -> bool:
    """Whether weights and statistics of a student file are finite."""
    tensors, manifest = student.load(file)
    quantiles = [v for part in vars(manifest.statistics).values() for v in part.values()]
    return all(bool(t.isfinite().all()) for t in tensors.values()) and bool(np.isfinite(quantiles).all())


class Garbled(Boxes):
    """Some returns have an intensity that is no number, or no intensity at all by its size."""

    def __getitem__(self, index: int) -> Scan:
        scan = super().__getitem__(index)
        assert scan.intensity is not None
        scan.intensity[:4] = (np.nan, np.inf, -np.inf, 3e38)
        return scan


def test_garbled_intensities_do_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = train(config(TrainConfig, tmp_path / "run", steps=6), (Source([Garbled()]), Source([Garbled(2)])))
    assert "skipped" not in capsys.readouterr().out
    assert numbers(file)


def poison(monkeypatch: pytest.MonkeyPatch, what: str, bad: range) -> None:
    """Steps in `bad` get losses or gradients that are no numbers."""
    original = Supervised.terms

    def terms(self, out, batch):
        return {k: v * torch.nan if self.global_step in bad else v for k, v in original(self, out, batch).items()}

    def backward(self, loss, *_):
        loss.backward()
        if self.global_step in bad:
            next(self.model.parameters()).grad[0] = torch.nan

    monkeypatch.setattr(Supervised, *(("terms", terms) if what == "loss" else ("backward", backward)))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_such_steps_are_skipped_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
):
    poison(monkeypatch, what, range(1, 4))
    file = train(config(TrainConfig, tmp_path / "run", steps=6), (Source([Boxes()]), None))
    out = capsys.readouterr().out
    assert [f"step {n}: the {what} is not finite" in out for n in range(5)] == [False, True, True, True, False]
    assert "3 steps were skipped" in out
    assert numbers(file)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_too_many_in_a_row_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str):
    poison(monkeypatch, what, range(1, 4))
    monkeypatch.setattr("srkd_train.distiller.PATIENCE", 3)
    with pytest.raises(SrkdError, match=rf"the {what} is not finite.*3 times in a row.*optimizer\.lr"):
        train(config(TrainConfig, tmp_path / "run", steps=6), (Source([Boxes()]), None))


class Sparse(Boxes):
    """Some scans hold but a few points; `left` of them."""

    left, where = 1, (2, 3, 4)

    def __getitem__(self, index):
        scan = super().__getitem__(index)
        if index in self.where:
            scan.xyz, scan.labels = scan.xyz[: self.left], scan.labels[: self.left]
            scan.intensity = None if scan.intensity is None else scan.intensity[: self.left]
        return scan


@pytest.mark.parametrize("left", [0, 1])
def test_a_batch_of_too_few_points_is_skipped_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], left: int):
    data = Sparse()
    data.left = left
    c = config(TrainConfig, tmp_path / "run", steps=12)
    c.data.batch_size = 1
    file = train(c, (Source([data]), Source([data])))
    out = capsys.readouterr().out
    assert ("no point lies within" if left == 0 else "one voxel of the coarsest level") in out
    assert "steps were skipped" in out
    assert numbers(file)


def test_scans_of_too_few_points_alone_end_the_run(tmp_path: Path):
    data = Sparse()
    data.where = range(100)
    c = config(TrainConfig, tmp_path / "run", steps=4)
    c.data.batch_size = 1
    with pytest.raises(SrkdError, match=r"coarsest level, 4 times in a row; .*preprocessing\.min_range"):
        train(c, (Source([data]), None))


class Unlabelled(Boxes):
    """Some scans have no label."""

    where: range = range(2, 5)

    def __getitem__(self, index):
        scan = super().__getitem__(index)
        if index in self.where and scan.labels is not None:
            scan.labels[:] = 255
        return scan


@pytest.mark.parametrize("accumulate", [1, 2])
def test_scans_without_labels_are_skipped_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], accumulate: int
):
    c = config(TrainConfig, tmp_path / "run", steps=8 // accumulate)
    c.data.batch_size, c.trainer.accumulate = 1, accumulate
    file = train(c, (Source([Unlabelled()]), Source([Boxes(2)])))
    out = capsys.readouterr().out
    assert all(f"boxes/{i}: not one labelled point in range: skipped" in out for i in (2, 3, 4))
    assert "3 steps were skipped" in out
    assert numbers(file)
    assert 0 not in curve(tmp_path / "run", "train/cross_entropy").values()


def test_a_run_of_nothing_else_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    poison(monkeypatch, "loss", range(6))
    with pytest.raises(SrkdError, match="6 times in a row"):
        train(config(TrainConfig, tmp_path / "run", steps=6), (Source([Boxes()]), None))
    assert not (tmp_path / "run" / "student.safetensors").exists()


def test_statistics_of_batch_norms_forget_a_refused_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    original = Supervised.training_step

    def overflowing(self, raw, batch_idx):
        if batch_idx != 2:
            return original(self, raw, batch_idx)
        before = [b.clone() for b in self.model.buffers()]
        weight = self.model.stem.weight
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.mul_(torch.inf)
        result = original(self, raw, batch_idx)
        with torch.no_grad():
            weight.copy_(kept)
        assert result is None
        assert all(torch.equal(a, b) for a, b in zip(before, self.model.buffers(), strict=True))
        return result

    monkeypatch.setattr(Supervised, "training_step", overflowing)
    assert numbers(train(config(TrainConfig, tmp_path / "run", steps=6), (Source([Boxes()]), Source([Boxes(2)]))))


def test_weights_that_are_no_numbers_reach_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    c = config(TrainConfig, tmp_path / "run", steps=40)
    c.trainer.save_every = 1
    c.optimizer.lr, c.optimizer.weight_decay = 1e38, 1.0
    with pytest.raises(SrkdError, match=r"20 times in a row.*optimizer\.lr"):
        train(c, (Source([Boxes()]), Source([Boxes(2)])))
    assert "weights are no numbers" in capsys.readouterr().out
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    if last.exists():
        state = torch.load(last, weights_only=True)["state_dict"]
        assert all(bool(t.isfinite().all()) for t in state.values() if t.is_floating_point())
    file = tmp_path / "run" / "student.safetensors"
    assert not file.exists() or numbers(file)


def test_classes_are_counted_where_there_are_labels():
    """However many unlabelled scans stand beside them."""
    few = Source([Boxes(200)], label_share=0.05, keep_unlabelled=True)
    _, counts = measure_inputs(few, 0.0, 100.0)
    expected = sum(np.bincount(Boxes()[int(few.entries[i][1])].labels, minlength=256) for i in few.labelled)
    assert len(few.labelled) == 10
    np.testing.assert_array_equal(counts, expected)
