# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Test-time augmentation: every point passes the network, views turn what they should, sums decide."""

from pathlib import Path

import numpy as np
import pytest
import torch

from srkd_ros import Segmenter
from srkd_ros.labels import LabelSet
from srkd_ros.network import PointTransformer, preset
from srkd_ros.student import Manifest, Preprocessing
from srkd_train.tta import INDOOR_VIEWS, LIDAR_VIEWS, View, fragments, predict

VOXEL = 0.2


class Oracle:
    """A runtime whose logits are simple functions of the features: what a pass has seen can be read from the result."""

    name, reason, device = "oracle", "a test", torch.device("cpu")

    def __init__(self, logits, features=("x", "y", "z", "intensity")) -> None:
        labels = LabelSet("three", LabelSet.load("nuscenes").classes[:3])
        network = preset("nano", num_classes=3, in_channels=len(features))
        self.manifest = Manifest(network, labels, Preprocessing(VOXEL, 0.5, 50.0, features, "first"))
        with torch.device("meta"):
            self.geometry_spec = PointTransformer(network).geometry_spec
        self._logits = logits
        self.passes: list[np.ndarray] = []

    def logits(self, features, geometry):
        self.passes.append(features.numpy().copy())
        return self._logits(features)


def segmenter(oracle: Oracle) -> Segmenter:
    return Segmenter(oracle, Path("oracle"), "", intensity_scale=1.0)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def cloud():
    generator = np.random.default_rng(3)
    xyz = generator.uniform(-4, 4, (600, 3)).astype(np.float32)
    xyz[:, 2] *= 0.1
    return xyz, generator.random(600, np.float32)


def by_intensity(features):
    """Class 0, 1 or 2 by thirds of the intensity, with certainty."""
    return 50.0 * torch.nn.functional.one_hot((features[:, 3] * 3).long().clamp(0, 2), 3).float()


def test_views_are_those_of_the_published_configurations():
    assert len(LIDAR_VIEWS) == 10
    assert len(INDOOR_VIEWS) == 13


@pytest.mark.parametrize("features", [("z", "intensity"), ("x", "y", "z"), ("intensity",)])
def test_students_of_lidar_get_its_views(features):
    """Also those that see no x. Two points in half a voxel are thinned to one, so each view is one pass."""
    oracle = Oracle(lambda f: torch.zeros(len(f), 3), features)
    xyz = np.array([[3.01, 2.01, 0.01], [3.02, 2.02, 0.02]], np.float32)
    predict(segmenter(oracle), xyz, np.zeros(2, np.float32))
    assert len(oracle.passes) == len(LIDAR_VIEWS)


def test_every_point_is_in_a_fragment_and_every_fragment_has_all_voxels(cloud):
    xyz, _ = cloud
    parts = list(fragments(xyz, Preprocessing(VOXEL)))
    cells = np.floor(xyz.astype(np.float64) / VOXEL).astype(int)
    voxels, counts = np.unique(cells, axis=0, return_counts=True)
    assert len(parts) == counts.max()
    assert set(np.concatenate(parts)) == set(range(len(xyz)))
    for part in parts:
        assert len(part) == len(voxels)
        assert len(np.unique(cells[part], axis=0)) == len(voxels)


def test_labels_are_each_points_own(cloud):
    """The oracle labels by a point's own intensity, so only a thinned-away point may get a neighbour's label."""
    xyz, intensity = cloud
    labels, confidence = predict(segmenter(Oracle(by_intensity)), xyz, intensity)
    own = np.minimum(intensity * 3, 2).astype(np.uint8)
    fine = np.floor(xyz.astype(np.float64) / (VOXEL / 2)).astype(int)
    _, first, inverse = np.unique(fine, axis=0, return_index=True, return_inverse=True)
    near = (xyz**2).sum(1) >= 0.25
    expected = np.where(near, own[first][inverse.reshape(-1)], 255)
    away = (xyz**2).sum(1) > 0.3  # a scaled view may move points at min_range across it
    assert (labels == expected)[away | ~near].all()
    assert confidence[away] == pytest.approx(1.0)
    assert (confidence[~near] == 0).all()


def test_views_scale_and_mirror_the_points():
    xyz = np.array([[1.0, 2.0, 0.5], [3.0, -1.0, 0.2]], np.float32)
    oracle = Oracle(by_intensity)
    predict(segmenter(oracle), xyz, np.zeros(2, np.float32))
    seen = {tuple(np.round(row[:3], 4).tolist()) for rows in oracle.passes for row in rows if abs(row[2]) < 0.3}
    wanted = {(3.0 * s * f, -1.0 * s * f, 0.2 * s) for s in (0.9, 0.95, 1.0, 1.05, 1.1) for f in (1, -1)}
    assert seen == {tuple(np.round(np.float32(row), 4).tolist()) for row in wanted}


def test_indoor_views_turn_normals_and_do_not_thin():
    names = ("red", "green", "blue", "nx", "ny", "nz")
    oracle = Oracle(by_intensity, names)
    xyz = np.array([[1.1, 0.1, 0.1], [1.12, 0.1, 0.1]], np.float32)
    extra = {name: np.full(2, i / 10, np.float32) for i, name in enumerate(names)}
    predict(segmenter(oracle), xyz, None, extra)
    normals = {tuple(np.round(row[3:5], 3).tolist()) for rows in oracle.passes for row in rows}
    wanted = {(0.3, 0.4), (-0.4, 0.3), (-0.3, -0.4), (0.4, -0.3)}
    assert normals == {tuple(np.round(np.float32(row), 3).tolist()) for row in wanted}
    assert len(oracle.passes) == 2 * len(INDOOR_VIEWS)  # two points in one voxel: two fragments


def test_sums_of_probabilities_decide():
    """Two views say class 1 with 0.6, one says class 2 with certainty: their sum is larger for 2."""

    def logits(features):
        sure = features[:, 0].abs() > 1.05
        mild = torch.tensor([0.0, 0.6, 0.4]).clamp(1e-6).log().expand(len(features), 3)
        return torch.where(sure[:, None], torch.tensor([0.0, 0.0, 50.0]), mild)

    xyz = np.array([[1.0, 0.0, 0.0]], np.float32)
    views = [View(0.9), View(1.0), View(1.1)]
    labels, confidence = predict(segmenter(Oracle(logits)), xyz, np.zeros(1, np.float32), views=views)
    assert labels.tolist() == [2]
    assert confidence[0] == pytest.approx((0.4 + 0.4 + 1.0) / 3, abs=1e-4)


def test_a_cloud_without_a_single_usable_point(cloud):
    xyz = np.array([[np.nan, 0, 0], [0.1, 0, 0], [90, 0, 0]], np.float32)
    labels, confidence = predict(segmenter(Oracle(by_intensity)), xyz, np.zeros(3, np.float32))
    assert labels.tolist() == [255] * 3
    assert confidence.tolist() == [0.0] * 3


def test_with_a_real_network(student_file, cloud):
    xyz, intensity = cloud
    real = Segmenter.load(student_file, device="cpu")
    xyz, intensity = xyz[:150], intensity[:150]
    labels, confidence = predict(real, xyz, intensity, views=[View(), View(0.95, flip=True)])
    assert ((labels < len(real.labels)) == (confidence > 0)).all()
    assert (labels == 255).sum() == ((xyz**2).sum(1) < 0.25).sum()
    single = real(xyz, intensity)
    certain = single.labels < 255
    probabilities = real.probabilities(xyz, intensity)
    assert (probabilities.argmax(1) == single.labels)[certain].all()
    assert (probabilities.max(1) == single.confidence).all()
