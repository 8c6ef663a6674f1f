# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Training runs on small scans in memory: they learn and leave a student file."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from srkd_ros import Segmenter, student
from srkd_ros.errors import ConfigError, DataError
from srkd_ros.labels import LabelClass, LabelSet
from srkd_train.config import DistillConfig, TrainConfig
from srkd_train.datasets import Scan
from srkd_train.loading import RunSampler, Source, training_loader, validation_loader
from srkd_train.teacher import Teacher
from srkd_train.trainer import train

torch.set_num_threads(1)
LABELS = LabelSet(
    "boxes", tuple(LabelClass(n, (i * 60, 90, 200), (i,)) for i, n in enumerate(("ground", "box", "top")))
)


class Boxes:
    """A plane with boxes on it; class by height. Scan i is the same whenever it is read."""

    labels = LABELS
    intensity_scale = 255.0

    def __init__(self, scans: int = 8, points: int = 1500, broken: int = -1) -> None:
        self.scans, self.points, self.broken = scans, points, broken

    def __len__(self) -> int:
        return self.scans

    def __getitem__(self, index: int) -> Scan:
        if index == self.broken:
            raise DataError(f"scan {index} is damaged")
        random = np.random.default_rng(index)
        xyz = random.uniform((-15, -15, 0), (15, 15, 0.1), (self.points, 3))
        box = random.random(self.points) < 0.4
        corner = np.floor(xyz[box, :2] / 5) * 5
        xyz[box, :2] = corner + random.uniform(0, 1.5, (box.sum(), 2))
        xyz[box, 2] = random.uniform(0.2, 3.0, box.sum())
        labels = np.where(xyz[:, 2] < 0.15, 0, np.where(xyz[:, 2] < 1.5, 1, 2)).astype(np.uint8)
        intensity = labels * np.float32(80.0)
        labels[random.random(self.points) < 0.02] = 255
        return Scan(xyz.astype(np.float32), intensity, labels, f"boxes/{index}")


def sources(**kwargs: int) -> tuple[Source, Source]:
    return Source([Boxes(**kwargs)]), Source([Boxes(scans=2)])


def config(cls: type, folder: Path, steps: int = 12, **losses: float):
    c = cls(output=str(folder), seed=3)
    c.trainer.max_steps, c.trainer.save_every, c.trainer.log_every, c.trainer.validate_every = steps, 4, 1, 3
    c.trainer.accelerator, c.trainer.threads = "cpu", 1
    c.optimizer.lr, c.optimizer.block_lr_factor = 0.02, 1.0
    c.data.batch_size, c.data.workers = 2, 0
    c.preprocessing = student.Preprocessing(voxel_size=0.5, min_range=0.0, max_range=40.0)
    c.network.encoder_channels, c.network.encoder_depths, c.network.encoder_heads = (8, 12), (1, 1), (1, 2)
    c.network.encoder_convolution, c.network.encoder_attention = (True, False), (False, True)
    c.network.decoder_channels, c.network.decoder_depths, c.network.decoder_heads = (8,), (0,), (1,)
    c.network.decoder_convolution, c.network.decoder_attention = (False,), (False,)
    c.network.patch_size, c.network.drop_path = 64, 0.2
    for name, weight in losses.items():
        getattr(c.losses, name).weight = weight
    return c


def curve(folder: Path, column: str = "train/loss") -> dict[int, float]:
    """Loss by step, over all starts of a run."""
    values = {}
    for file in sorted(folder.glob("csv/*/metrics.csv"), key=lambda p: int(p.parent.name.split("_")[1])):
        for row in csv.DictReader(file.open()):
            if row.get(column):
                values[int(row["step"])] = float(row[column])
    return values


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    c = config(TrainConfig, tmp_path_factory.mktemp("teacher"), steps=60)
    c.network.encoder_channels, c.network.decoder_channels = (12, 24), (12,)
    c.data.sensor_height = 1.7
    return train(c, sources())


def test_a_network_learns_and_leaves_a_student_file(teacher: Path):
    _, manifest = student.load(teacher)
    assert manifest.provenance["metrics"]["miou"] > 0.6
    assert manifest.provenance["sensor_height"] == 1.7
    assert manifest.intensity_scale == 255.0
    assert 0.25 < manifest.statistics.intensity["0.99"] < 1
    assert manifest.labels == LABELS
    loss = curve(teacher.parent)
    assert np.mean([loss[s] for s in sorted(loss)[-5:]]) < 0.5 * loss[0]
    scan = Boxes()[100]
    result = Segmenter.load(teacher, device="cpu", intensity_scale=255.0)(scan.xyz, scan.intensity)
    known = scan.labels != 255
    assert (result.labels == scan.labels)[known].mean() > 0.8


ALL = {
    "kl": 0.3,
    "point_affinity": 1.0,
    "voxel_affinity": 1.0,
    "channel": 1.0,
    "cross_sample": 1.0,
    "feature": 0.1,
}


@pytest.mark.parametrize("voxel_size", [0.5, 0.4])
def test_distillation_with_every_term(teacher: Path, tmp_path: Path, voxel_size: float):
    c = config(DistillConfig, tmp_path / "run", steps=6, **ALL)
    c.teacher.file = str(teacher)
    c.preprocessing = student.Preprocessing(voxel_size=voxel_size, min_range=0.0, max_range=40.0)
    c.losses.cross_sample.points = 64
    c.augment.mix_prob, c.augment.drop = 0.5, 0.2
    c.trainer.ema = 0.9
    file = train(c, sources())
    for term in ("cross_entropy", "lovasz", *ALL):
        values = curve(tmp_path / "run", f"train/{term}")
        assert len(values) == 6, term
        assert all(np.isfinite(v) and v >= 0 for v in values.values())
    tensors, manifest = student.load(file)
    assert not [k for k in tensors if "adapter" in k or "teacher" in k]
    assert manifest.provenance["teacher"]["sha256"] == student.file_hash(teacher)


def test_a_term_of_weight_zero_is_not_computed(teacher: Path, tmp_path: Path):
    c = config(DistillConfig, tmp_path / "run", steps=2, kl=0.5)
    c.teacher.file = str(teacher)
    train(c, sources())
    header = next((tmp_path / "run").glob("csv/*/metrics.csv")).read_text().splitlines()[0]
    assert "train/kl" in header
    assert not any(term in header for term in ("affinity", "channel", "cross_sample", "feature"))


def test_without_any_weight_the_teacher_does_not_run(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    c = config(DistillConfig, tmp_path / "run", steps=2, kl=0.0)
    c.teacher.file = str(teacher)
    monkeypatch.setattr("srkd_train.teacher.Teacher.__call__", lambda *_: pytest.fail("the teacher ran"))
    train(c, sources())


def test_terms_fade_and_kl_stays(teacher: Path, tmp_path: Path):
    curves = []
    for name, fade in (("whole", (1.0, 1.0)), ("fading", (0.0, 1.0)), ("short", (0.25, 0.5))):
        c = config(DistillConfig, tmp_path / name, steps=8, **ALL)
        c.teacher.file, c.losses.fade = str(teacher), fade
        train(c, sources())
        curves.append({term: curve(tmp_path / name, f"train/{term}") for term in ALL})
    whole, fading, short = curves
    for term in ALL:
        assert whole[term][0] == fading[term][0] == short[term][0]
        if term != "kl":
            assert [step for step, value in short[term].items() if value] == [0, 1, 2, 3]
            assert list(short[term]) == list(range(8))
            assert 0.2 * short[term][2] < short[term][3] < 0.9 * short[term][2]  # a half of it, on other scans
    assert list(short["kl"]) == list(range(8))
    assert all(value > 0 for value in short["kl"].values())
    assert fading["channel"][7] < 0.3 * whole["channel"][7]


def test_a_teacher_that_has_nothing_left_to_say_does_not_run(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = []
    run = Teacher.__call__
    monkeypatch.setattr(Teacher, "__call__", lambda self, batch: calls.append(1) or run(self, batch))
    c = config(DistillConfig, tmp_path / "run", steps=8, kl=0.0, feature=1.0)
    c.teacher.file, c.losses.fade = str(teacher), (0.0, 0.5)
    train(c, sources())
    assert len(calls) == 4


def test_a_cached_teacher_says_the_same_and_runs_once_a_scan(teacher: Path, tmp_path: Path):
    losses = []
    for name, cache in (("live", ""), ("filling", "cache"), ("reading", "cache")):
        c = config(DistillConfig, tmp_path / name, steps=8, kl=1.0)
        c.augment.rotate_z, c.augment.scale, c.augment.flip, c.augment.jitter = 0.0, (1.0, 1.0), 0.0, 0.0
        c.teacher.file, c.teacher.cache = str(teacher), cache and str(tmp_path / cache)
        train(c, sources())
        losses.append(list(curve(tmp_path / name).values()))
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 8
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-3)
    assert losses[1] == losses[2]


def test_a_corrupt_scan_is_refused_or_skipped(capsys: pytest.CaptureFixture[str]):
    refusing = Source([Boxes(broken=2)])
    with pytest.raises(DataError, match="scan 2 is damaged"):
        refusing.scan(2)
    skipping = Source([Boxes(broken=2)], on_corrupt="skip")
    assert skipping.scan(2)[0].name == "boxes/3"
    assert "scan 2 is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_scan_is_said_and_counted_once(workers: int, capsys: pytest.CaptureFixture[str]):
    """However many loader processes meet it, and how often."""

    class Torn(Boxes):
        def __getitem__(self, index: int) -> Scan:
            if index in (2, 5):
                raise DataError(f"scan {index} is torn")
            return super().__getitem__(index)

    source = Source([Torn(points=10)], on_corrupt="skip")
    batches = list(training_loader(source, RunSampler(8, 2, 16, seed=0), workers))
    assert len(batches) == 16
    assert all(batch.scans == 2 for batch in batches)
    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.split(": ")[0] for line in lines) == ["skipped, 1 so far", "skipped, 2 so far"]
    assert sorted(line.split(": ")[1] for line in lines) == ["scan 2 is torn", "scan 5 is torn"]
    assert source.corrupt == {"scan 2 is torn", "scan 5 is torn"}


def test_corrupt_scans_do_not_count_in_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    class Others(Boxes):
        def __getitem__(self, index: int) -> Scan:
            return super().__getitem__((0, 2, 3)[index])

    measured = []
    for name, data in (("torn", Boxes(scans=4, broken=1)), ("others", Others(scans=3))):
        both = (Source([d], on_corrupt="skip") for d in (Boxes(broken=4), data))
        train(config(TrainConfig, tmp_path / name, steps=2), tuple(both))
        measured.append(curve(tmp_path / name, "val/miou"))
        said = capsys.readouterr().out
        count = 2 if name == "torn" else 1
        assert f"\n{count} scans could not be read and were skipped" in said
    assert measured[0] == measured[1]
    with pytest.raises(DataError, match=r"data: not one scan of split 'val' can be read"):
        train(
            config(TrainConfig, tmp_path / "none", steps=2),
            (Source([Boxes()]), Source([Boxes(scans=1, broken=0)], on_corrupt="skip")),
        )


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("fault", [DataError("scan 2 is damaged"), FileNotFoundError(2, "No such file", "2.bin")])
def test_a_fault_in_a_loader_process_keeps_its_type_and_its_line(workers: int, fault: Exception):
    class Faulty(Boxes):
        def __getitem__(self, index: int) -> Scan:
            if index == 2:
                raise fault
            return super().__getitem__(index)

    source = Source([Faulty(scans=4)])
    for loader in (training_loader(source, RunSampler(4, 2, 2, seed=0), workers), validation_loader(source, workers)):
        with pytest.raises(type(fault)) as caught:
            list(loader)
        assert str(caught.value) == str(fault)


def test_a_share_of_the_labels():
    source = Source([Boxes(scans=20)], label_share=0.25, keep_unlabelled=True)
    labelled = [bool(np.any(source.scan(i)[0].labels != 255)) for i in range(len(source))]
    assert len(source) == 20
    assert sum(labelled) == 5
    assert len(Source([Boxes(scans=20)], label_share=0.25)) == 5


def test_ranks_see_what_one_process_sees():
    one = RunSampler(10, 4, 9, seed=1)
    two = [RunSampler(10, 2, 9, seed=1, rank=r, ranks=2) for r in range(2)]
    for number in range(9):
        assert sorted(one.batch(number)) == sorted(two[0].batch(number) + two[1].batch(number))
    epoch = [key[2] for number in range(3) for key in one.batch(number)]
    assert set(epoch) == set(range(10))


def test_every_rank_needs_a_scan_to_validate_on():
    one = Source([Boxes(scans=1)])
    assert len(validation_loader(one, 0)) == 1
    with pytest.raises(ConfigError, match=r"data\.validation_scans: 1 to validate on, fewer than the 2 processes"):
        validation_loader(one, 0, rank=0, ranks=2)
    with pytest.raises(SystemExit) as left:  # said once, and torchrun lets rank 0 say it
        validation_loader(one, 0, rank=1, ranks=2)
    assert left.value.code == 0


def test_teacher_with_other_classes_is_refused(teacher: Path, tmp_path: Path):
    class Renamed(Boxes):
        labels = LabelSet("other", (*LABELS.classes[:2], LabelClass("roof", (0, 0, 0), (2,))))

    c = config(DistillConfig, tmp_path / "run", steps=2, kl=1.0)
    c.teacher.file = str(teacher)
    with pytest.raises(ConfigError, match="class 2: top against roof"):
        train(c, (Source([Renamed()]), Source([Renamed()])))
