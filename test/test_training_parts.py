# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The parts of training: augmentation, voxel labels, teacher beside student, bags, losses that are no number."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_training import Boxes, config, curve

from srkd_ros import student
from srkd_ros.errors import ConfigError
from srkd_ros.geometry import voxelize
from srkd_ros.network import Features, PointTransformer, parameter_count, preset
from srkd_train.augment import augment
from srkd_train.batches import RawBatch, collate, majority, only_voxels, prepare
from srkd_train.config import AugmentConfig, DistillConfig, TeacherConfig, TrainConfig
from srkd_train.loading import Source
from srkd_train.ranges import TERMS
from srkd_train.simulation import build_town, sensor_model, simulate_scan, write_bag
from srkd_train.teacher import CachedTeacher, Teacher, ascend, representatives
from srkd_train.terms import DistillationTerms
from srkd_train.trainer import train

torch.set_num_threads(1)
STILL: dict[str, Any] = {"rotate_z": 0.0, "scale": (1.0, 1.0), "flip": 0.0, "jitter": 0.0}


def raw(*indices: int, epoch: int = 0) -> RawBatch:
    scans = [Boxes(points=400)[i] for i in indices]
    return collate(scans, [255.0] * len(scans), [(5, epoch, i) for i in indices], seed=7)


def test_a_scan_is_augmented_alike_in_any_batch():
    settings = AugmentConfig(jitter=0.0, shift_z=0.3, intensity_gain=0.2)
    alone, together = augment(raw(3), settings), augment(raw(1, 3, 2), settings)
    torch.testing.assert_close(together.xyz[together.batch == 1], alone.xyz)
    assert together.intensity is not None
    torch.testing.assert_close(together.intensity[together.batch == 1], alone.intensity)
    assert not torch.allclose(augment(raw(3, epoch=1), settings).xyz, alone.xyz)


def test_augmentation_without_changes_changes_nothing():
    batch = raw(0, 1)
    same = augment(batch, AugmentConfig(**STILL))
    torch.testing.assert_close(same.xyz, batch.xyz)


def test_autocast_does_not_round_coordinates():
    """bfloat16 has steps of half a metre at 100 m."""
    batch = raw(0, 1)
    expected = augment(batch, AugmentConfig())
    with torch.autocast("cpu", torch.bfloat16):
        got = augment(batch, AugmentConfig())
    assert torch.equal(got.xyz, expected.xyz)


def test_rotation_scale_and_flip_keep_shapes():
    batch = raw(0)
    changed = augment(batch, AugmentConfig(jitter=0.0, scale=(1.1, 1.1)))
    before, after = (torch.cdist(x[:50].double(), x[:50].double()) for x in (batch.xyz, changed.xyz))
    torch.testing.assert_close(after, before * 1.1, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(changed.xyz[:, 2], batch.xyz[:, 2] * 1.1)


def test_drop_and_sector_leave_out_points_in_place():
    batch = raw(0, 1)
    dropped = augment(batch, AugmentConfig(**STILL, drop=0.5))
    assert len(dropped.xyz) == len(batch.xyz)
    assert 0.02 < dropped.xyz.isnan().any(1).float().mean() < 0.5
    kept = augment(batch, AugmentConfig(**STILL, sector=90.0)).xyz
    seen = ~kept.isnan().any(1)
    assert 0.15 < seen.float().mean() < 0.35
    for scan in range(2):
        angle = torch.atan2(*batch.xyz[seen & (batch.batch == scan), :2].flip(1).unbind(1)).sort().values
        gaps = torch.cat([angle.diff(), (angle[:1] + 2 * math.pi - angle[-1:])])
        assert gaps.max() > math.radians(260)


def test_mixing_merges_pairs():
    mixed = augment(raw(0, 1, 2), AugmentConfig(**STILL, mix_prob=1.0))
    assert mixed.scans == 2
    assert mixed.batch.unique().tolist() == [0, 1]
    batch = prepare(mixed, student.Preprocessing(voxel_size=0.5, min_range=0.0), spec())
    assert batch.scans == 2


def spec():
    c = config(TrainConfig, Path("unused"))
    return PointTransformer(c.network.build(4, 3)).geometry_spec


def test_a_voxel_has_its_points_most_frequent_label():
    random = np.random.default_rng(0)
    xyz = torch.from_numpy(random.uniform(0, 3, (500, 3)).astype(np.float32))
    labels = torch.from_numpy(random.choice([0, 1, 2, 254, 255], 500))
    labels[voxelize(xyz, 1.0).point_to_voxel == 0] = 255
    voxels = voxelize(xyz, 1.0)
    got = majority(labels, voxels)
    for v in range(len(voxels.code)):
        own = labels[(voxels.point_to_voxel == v) & (labels != 255)]
        expected = 255 if not len(own) else int(torch.bincount(own).argmax())
        assert got[v] == expected


def test_voxels_of_coarse_levels_and_back():
    batch = prepare(raw(0, 1), student.Preprocessing(voxel_size=0.5, min_range=0.0), spec())
    first = representatives(batch.geometry, 1)
    assert torch.equal(ascend(first, batch.geometry, 1), torch.arange(len(batch.geometry.levels[1])))
    grid = batch.geometry.levels[0].grid[first] >> 1
    assert torch.equal(grid, batch.geometry.levels[1].grid)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    c = config(TrainConfig, tmp_path_factory.mktemp("teacher"), steps=6)
    return train(c, (Source([Boxes()]), Source([Boxes(2)])))


def test_a_teacher_with_other_voxels_says_of_each_voxel_what_it_says_of_its_points(teacher: Path):
    own = student.Preprocessing(voxel_size=0.3, min_range=0.0, max_range=40.0)
    batch = prepare(raw(0, 1), own, spec())
    network = Teacher(TeacherConfig(str(teacher)), torch.device("cpu"), own)
    out = network(batch)
    assert len(out.logits) == len(batch.features)
    assert len(out.decoder[0]) == len(batch.features)
    same = prepare(raw(0, 1), network.manifest.preprocessing, network.network.geometry_spec)
    live = Teacher(TeacherConfig(str(teacher)), torch.device("cpu"), network.manifest.preprocessing)(same)
    points = batch.kept[batch.voxels.first_point]
    expected = live.logits[same.voxels.point_to_voxel[points]]
    torch.testing.assert_close(out.logits, expected)
    assert not out.logits.requires_grad
    assert not any(p.requires_grad for p in network.network.parameters())


def test_a_teachers_range_must_hold_the_students(teacher: Path):
    with pytest.raises(ConfigError, match=r"the teacher sees 0\.0 to 40\.0 m"):
        Teacher(TeacherConfig(str(teacher)), torch.device("cpu"), student.Preprocessing(max_range=50.0))


def test_a_cache_refuses_terms_it_cannot_serve(teacher: Path, tmp_path: Path):
    c = config(DistillConfig, tmp_path / "run", steps=2, cross_sample=1.0)
    c.teacher.file, c.teacher.cache = str(teacher), str(tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"teacher\.cache_features"):
        train(c, (Source([Boxes()]), None))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"voxel_affinity.stage": 1, "voxel_affinity.weight": 1.0},
            r"voxel_affinity\.stage: there is no 1; .* stage 0 only",
        ),
        (
            {"feature.stages": (1, 2), "feature.weight": 1.0},
            r"feature\.stages: none of \[1, 2\] is there; .* stage 0 only",
        ),
    ],
)
def test_a_cache_says_that_it_holds_the_finest_stage_alone(settings: dict[str, Any], said: str):
    c = DistillConfig().losses
    for key, value in settings.items():
        term, name = key.split(".")
        setattr(getattr(c, term), name, value)
    with pytest.raises(ConfigError, match=rf"^losses\.{said}; set stage 0 or weight 0"):
        DistillationTerms(c, (8, 8, 8), (8, 8, 8), 3, features_only_finest=True)
    DistillationTerms(c, (8, 8, 8), (8, 8, 8), 3)
    with pytest.raises(ConfigError, match=r"student and teacher share 1 stages, counted from 0$"):
        DistillationTerms(c, (8,), (8, 8, 8), 3)


def without(scan: RawBatch, gone: torch.Tensor) -> RawBatch:
    xyz = scan.xyz.clone()
    xyz[gone] = torch.nan
    return scan.replace(xyz=xyz)


def test_voxels_that_a_cached_teacher_has_not_seen_are_left_out(teacher: Path, tmp_path: Path):
    """The terms are those of a batch without these voxels, which the original of the second scan has out of range."""
    own = student.Preprocessing(0.5, 0.0, 40.0)
    settings = TeacherConfig(str(teacher), "32", str(tmp_path / "cache"), cache_features=True)
    cached = CachedTeacher(Teacher(settings, torch.device("cpu"), own), settings)
    scan = raw(0, 1)
    gone = (scan.batch == 1) & (scan.xyz[:, 0] > 0)
    far = scan.replace(xyz=torch.where(gone[:, None], scan.xyz + 100, scan.xyz))
    network = PointTransformer(cached.manifest.network).eval()
    spec = network.geometry_spec
    batch, left = prepare(scan, own, spec, far), prepare(without(scan, gone), own, spec, far)
    answer, expected = cached(batch), cached(left)
    assert answer.rows is not None
    assert expected.rows is None
    torch.testing.assert_close(answer.logits, expected.logits, rtol=0, atol=0)
    only = only_voxels(batch, answer.rows)
    for got, wanted in [(only.kept, left.kept), (only.labels, left.labels), (only.point_xyz, left.point_xyz)]:
        assert torch.equal(got, wanted)
    for name in ("batch", "point_to_voxel", "first_point", "points"):
        assert torch.equal(getattr(only.voxels, name), getattr(left.voxels, name))
    assert only.geometry.levels[0].counts == left.geometry.levels[0].counts

    c = DistillConfig().losses
    for term in TERMS:
        getattr(c, term).weight = 1.0
    c.cross_sample.points, c.channel.source, c.kl.per_point = 16, "features", True
    terms = DistillationTerms(c, cached.widths, cached.widths, 3, features_only_finest=True)
    out = network.features(batch.features, batch.geometry)
    some = Features(out.logits[answer.rows], out.encoder, [out.decoder[0][answer.rows]])
    values, wanted = terms(out, answer, batch), terms(some, expected, left)
    assert set(values) == set(TERMS)
    for term, value in values.items():
        torch.testing.assert_close(value, wanted[term])


def test_strength_of_the_terms_that_fade():
    c = DistillConfig().losses
    for fade, expected in {
        (1.0, 1.0): [1, 1, 1, 1],
        (0.25, 0.75): [1, 1, 0.5, 0],
        (0.0, 1.0): [1, 0.75, 0.5, 0.25],
        (0.5, 0.5): [1, 1, 0, 0],
    }.items():
        c.fade = fade
        terms = DistillationTerms(c, (8,), (8,), 3)
        assert [terms.strength(p) for p in (0.0, 0.25, 0.5, 0.75)] == pytest.approx(expected)


def test_a_scan_that_a_cached_teacher_cannot_see_at_all(teacher: Path, tmp_path: Path):
    own = student.Preprocessing(0.5, 0.0, 40.0)
    settings = TeacherConfig(str(teacher), "32", str(tmp_path / "cache"), cache_features=True)
    cached = CachedTeacher(Teacher(settings, torch.device("cpu"), own), settings)
    scan = raw(0, 1)
    network = PointTransformer(cached.manifest.network).eval()
    c = DistillConfig().losses
    for term in TERMS:
        getattr(c, term).weight = 1.0
    terms = DistillationTerms(c, cached.widths, cached.widths, 3, features_only_finest=True)
    batch = prepare(scan, own, network.geometry_spec, scan.replace(xyz=scan.xyz + 100.0 * scan.batch[:, None]))
    for _ in range(2):  # computed, and read
        answer = cached(batch)
        assert answer.rows is not None
        assert not batch.voxels.batch[answer.rows].any()
        values = terms(network.features(batch.features, batch.geometry), answer, batch)
        assert all(bool(torch.isfinite(value)) for value in values.values())


def test_distilling_from_an_unlabelled_bag_alone(teacher: Path, tmp_path: Path):
    sensor = sensor_model("vlp-16", 180)
    town = build_town(0, 0, 30.0)
    write_bag(tmp_path / "drive", (simulate_scan(town, sensor, t / 10, seed=t) for t in range(3)), sensor)
    c = config(DistillConfig, tmp_path / "run", steps=3, kl=1.0, cross_sample=0.5, point_affinity=0.5)
    c.teacher.file = str(teacher)
    c.data.kind, c.data.root, c.data.val = "bag", str(tmp_path / "drive"), ""
    c.losses.cross_entropy = c.losses.lovasz = 0.0
    c.losses.cross_sample.points = 32
    file = train(c)
    assert student.load(file)[1].labels == student.load(teacher)[1].labels
    assert len(curve(tmp_path / "run", "train/kl")) == 3


@pytest.mark.parametrize("change", ["xyz", "intensity", "extra", "precision"])
def test_a_cache_knows_all_that_the_teacher_was_given(teacher: Path, tmp_path: Path, change: str):
    """Or a corrected intensity scale would go on meeting the answers to the wrong one."""
    scan = raw(0)
    scan.extra["ring"] = torch.ones(len(scan.xyz))

    def answer(scan: RawBatch, precision: Any = "32"):
        settings = TeacherConfig(str(teacher), precision, str(tmp_path / "cache"))
        cached = CachedTeacher(Teacher(settings, torch.device("cpu"), student.Preprocessing(0.5, 0.0, 40.0)), settings)
        network = cached.teacher.network
        return cached(prepare(scan, cached.manifest.preprocessing, network.geometry_spec, scan)).logits

    first = answer(scan)
    files = len(list((tmp_path / "cache").rglob("*.safetensors")))
    torch.testing.assert_close(answer(scan), first, rtol=0, atol=0)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == files
    other = scan.replace(
        xyz=scan.xyz + (change == "xyz"),
        intensity=None if scan.intensity is None else scan.intensity / (50 if change == "intensity" else 1),
        extra={"ring": scan.extra["ring"] * (2 if change == "extra" else 1)},
    )
    second = answer(other, "bf16" if change == "precision" else "32")
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == files + 1
    assert (second.shape != first.shape or not torch.equal(second, first)) == (change != "extra")


def test_a_teacher_above_100m_teaches(tmp_path: Path):
    config_of = preset("ptv3-xl", in_channels=4, num_classes=3)
    network = PointTransformer(config_of)
    _, manifest = student.load(train(config(TrainConfig, tmp_path / "any", steps=1), (Source([Boxes()]), None)))
    manifest = dataclasses.replace(manifest, network=config_of)
    file = tmp_path / "teacher.safetensors"
    student.save(file, network.state_dict(), manifest)
    assert file.stat().st_size > 4 * 100e6
    c = config(DistillConfig, tmp_path / "run", steps=1, kl=1.0, feature=0.1, cross_sample=1.0, point_affinity=1.0)
    c.teacher.file, c.losses.cross_sample.points = str(file), 32
    train(c, (Source([Boxes(points=300)]), None))
    file.unlink()
    assert 0 < curve(tmp_path / "run", "train/kl")[0] < 100


def test_teachers_above_100m_and_students_below_15m():
    def count(name: str) -> int:
        with torch.device("meta"):
            return parameter_count(PointTransformer(preset(name, in_channels=4, num_classes=16)))

    assert count("ptv3-xl") > 100e6
    assert all(count(name) < 15e6 for name in ("litept-s", "ptv3-half", "nano"))
