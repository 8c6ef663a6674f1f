# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The Segmenter: one label a point whatever the cloud, and the same labels whatever the order."""

import numpy as np
import pytest
import torch

from srkd_ros import Segmenter
from srkd_ros.errors import CloudError, ConfigError, ModelError
from srkd_ros.intensity import IntensityScale
from srkd_ros.segmenter import STAGES

pytestmark = pytest.mark.usefixtures("either_way")


@pytest.fixture(scope="module")
def segmenter(student_file):
    return Segmenter.load(student_file, device="cpu", intensity_scale=1.0)


def street(count=3000, seed=0):
    generator = np.random.default_rng(seed)
    xyz = generator.uniform((-30, -30, -2), (30, 30, 3), (count, 3)).astype(np.float32)
    return xyz, generator.uniform(0, 1, count).astype(np.float32)


def test_every_point_gets_its_label(segmenter):
    xyz, intensity = street()
    xyz[::7] = np.nan
    xyz[1::7] = 0
    xyz[2::7] = 1e6
    xyz[3::7, 1] = np.inf
    intensity[4::7] = np.nan
    result = segmenter(xyz, intensity)
    finite = np.isfinite(xyz).all(1)
    distance = np.linalg.norm(np.where(finite[:, None], xyz, 0).astype(np.float64), axis=1)
    spec = segmenter.manifest.preprocessing
    possible = finite & (distance >= spec.min_range) & (distance <= spec.max_range)
    assert result.labels.dtype == np.uint8
    assert result.confidence.dtype == np.float32
    assert np.array_equal(result.labels != 255, possible)
    assert (result.labels[possible] < len(segmenter.labels)).all()
    assert (result.confidence[possible] > 0).all()
    assert (result.confidence <= 1).all()
    assert (result.confidence[~possible] == 0).all()
    assert set(result.timings) == set(STAGES)


@pytest.mark.parametrize(
    "xyz",
    [
        np.zeros((0, 3), np.float32),
        np.full((10, 3), np.nan, np.float32),
        np.zeros((5, 3), np.float32),
        np.full((4, 3), 1e30, np.float32),
        np.full((4, 3), -np.inf, np.float32),
    ],
    ids=["empty", "nan", "origin", "far", "infinite"],
)
def test_clouds_without_a_prediction(segmenter, xyz):
    result = segmenter(xyz, None)
    assert result.labels.tolist() == [255] * len(xyz)
    assert result.confidence.tolist() == [0] * len(xyz)
    assert set(result.timings) == set(STAGES)


def test_one_point(segmenter):
    assert segmenter(np.array([[3.0, 0, 0]], np.float32), None).labels[0] < 19


def test_labels_do_not_depend_on_the_order_of_points(segmenter):
    xyz, intensity = street()
    shuffle = np.random.default_rng(1).permutation(len(xyz))
    plain, shuffled = segmenter(xyz, intensity), segmenter(xyz[shuffle], intensity[shuffle])
    assert np.mean(plain.labels[shuffle] == shuffled.labels) > 0.999  # voxel means are summed in another order


def test_memory_layouts(segmenter):
    xyz, intensity = street(500)
    wide = np.zeros((500, 7), np.float64)
    wide[:, 1:4] = xyz
    frozen = xyz.copy()
    frozen.flags.writeable = False
    expected = segmenter(xyz, intensity).labels
    for other in (wide[:, 1:4], frozen, np.asfortranarray(xyz), xyz[::-1][::-1]):
        assert np.array_equal(segmenter(other, intensity).labels, expected)


def test_shapes_that_do_not_fit(segmenter):
    with pytest.raises(CloudError, match="shape"):
        segmenter(np.zeros((4, 2), np.float32), None)
    with pytest.raises(CloudError, match="intensity"):
        segmenter(np.zeros((4, 3), np.float32), np.zeros(3, np.float32))


def test_wrong_settings_are_named(student_file, tmp_path):
    with pytest.raises(ModelError, match="no such"):
        Segmenter.load(tmp_path / "none.safetensors")
    with pytest.raises(ConfigError, match="runtime"):
        Segmenter.load(student_file, runtime="caffe")
    with pytest.raises(ConfigError, match="device"):
        Segmenter.load(student_file, device="abacus")
    with pytest.raises(ConfigError, match="intensity_scale"):
        Segmenter.load(student_file, intensity_scale="loud")


@pytest.mark.parametrize("scale", [1.0, 255.0, 65535.0])
def test_auto_finds_the_scale_of_a_driver(student_file, scale):
    xyz, intensity = street()
    known = Segmenter.load(student_file, intensity_scale=scale)
    auto = Segmenter.load(student_file)
    assert np.array_equal(auto(xyz, intensity * scale).labels, known(xyz, intensity * scale).labels)
    assert auto.resolved_intensity_scale == scale


def test_auto_grows_and_never_shrinks():
    scale = IntensityScale()
    assert scale.resolved is None
    scale(np.array([0.1, 0.9]))
    assert scale.resolved == 1
    scale(np.array([3.0, 200.0]))
    assert scale.resolved == 255
    scale(np.array([0.1, 0.2]))
    assert scale.resolved == 255
    scale.reset()
    assert scale.resolved is None
    scale(np.array([1, 2]), full_scale=65535.0)
    assert scale.resolved == 65535


def test_a_few_overshooting_returns_do_not_change_the_scale():
    raw = np.full(10_000, 0.5, np.float32)
    raw[:5] = 1.7
    scale = IntensityScale()
    scale(raw)
    assert scale.resolved == 1


def test_garbled_clouds_do_not_change_the_scale_and_several_in_a_row_do():
    raw, garbled = np.full(1000, 0.5, np.float32), np.full(1000, 0.5, np.float32)
    garbled[:9] = 300.0
    scale = IntensityScale()
    seen = []
    for cloud in (garbled, raw, garbled, garbled, raw, garbled, raw, garbled, garbled, garbled, raw):
        scale(cloud)
        seen.append(scale.resolved)
    assert seen == [65535, 1, 1, 1, 1, 1, 1, 1, 1, 65535, 65535]


def test_one_garbled_intensity_leaves_the_other_labels_alone(student_file):
    xyz, intensity = street()
    segmenter = Segmenter.load(student_file, device="cpu", intensity_scale=1.0)
    clean = segmenter(xyz, intensity)
    garbled = intensity.copy()
    garbled[:4] = (3e38, -3e38, np.inf, np.nan)
    result = segmenter(xyz, garbled)
    assert np.isfinite(result.confidence).all()
    assert (result.labels == clean.labels).mean() > 0.95


def test_what_overflows_has_no_label(student_file, monkeypatch):
    """A network whose products exceed its precision, for some voxels or for all."""
    segmenter = Segmenter.load(student_file, device="cpu", intensity_scale=1.0)
    logits = segmenter._runtime.logits

    def overflows(features, geometry):
        out = logits(features, geometry)
        out[::2, 3] = torch.inf
        return out

    monkeypatch.setattr(segmenter._runtime, "logits", overflows)
    result = segmenter(*street())
    lost = result.labels == 255
    assert 0 < lost.sum() < len(lost)
    assert (result.confidence[lost] == 0).all()
    assert np.isfinite(result.confidence).all()
    monkeypatch.setattr(segmenter._runtime, "logits", lambda f, g: logits(f, g) * torch.nan)
    with pytest.raises(ModelError, match="no numbers"):
        segmenter.warm_up(2_000)
