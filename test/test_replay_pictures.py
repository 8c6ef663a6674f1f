# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The bird's-eye pictures of srkd-replay: metres on the rings, and a strip that says what is shown in which colour."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from replay_data import replay, write_bag

from srkd_ros import Segmenter
from srkd_ros.labels import UNLABELLED, LabelSet
from srkd_ros.replay import birdseye, legend
from srkd_ros.replay.results import read_json

KITTI = LabelSet.load("semantickitti")


def has(image, color):
    return bool((image == np.array(color)).all(-1).any())


@pytest.mark.parametrize(("half", "step"), [(15, 10), (39, 10), (40, 20), (60, 20)])
def test_the_rings_say_their_metres(half, step):
    assert birdseye.ring_step(half) == step
    nothing = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)
    bright = birdseye.draw(*nothing, half).max(-1) > 200  # rings and background are dark
    labels = np.argwhere(bright)
    for metres in np.arange(step, half * 1.3, step):
        along = metres * np.sqrt(0.5) * 640 / (2 * half)
        place = np.array([320 - along, 320 + along])
        assert np.abs(labels - place).max(1).min() < 20, f"nothing written at {metres} m"
    assert labels[:, 0].max() < 320 < labels[:, 1].min()  # none of it on the sensor


def test_the_strip_names_the_classes_that_occur():
    shown = np.array([KITTI.index("car"), KITTI.index("road"), UNLABELLED], np.uint8)
    entries = legend.of_classes(KITTI, shown)
    assert [name for name, _ in entries] == ["car", "road", "unlabelled"]
    square = np.zeros((640, 640, 3), np.uint8)
    image = legend.with_legend(square, "Prediction", "of nothing", entries)
    assert np.array_equal(image[:639], square[:639])
    for name, color in entries:
        assert has(image[640:], color), name
    every = legend.with_legend(square, "t" * 500, "a", legend.of_classes(KITTI, np.arange(19, dtype=np.uint8)))
    assert len(every) > len(image)  # several rows
    for color in birdseye.visible(KITTI.colors):
        assert has(every[640:], color)
    assert not (every[640:, -10:].max(-1) > 100)[5:].any()  # neither the title nor an entry is cut by the edge


def test_pictures_and_report_say_the_spacing(student_file, tmp_path, monkeypatch):
    monkeypatch.setattr(Segmenter, "warm_up", lambda self, points=0: None)
    bag = write_bag(tmp_path / "drive", 3)
    folder, _ = replay(bag, "-m", student_file, "--truth", "label", "--no-bag", output=tmp_path / "out")
    assert "m wide, rings every 10 m" in (folder / "report.html").read_text()
    for frame in read_json(folder / "pictures" / "index.json"):
        for file in frame["pictures"].values():
            width, height = Image.open(BytesIO((folder / "pictures" / file).read_bytes())).size
            assert width == 640 < height - 60
    error = np.array(Image.open(folder / "pictures" / "best_error.png").convert("RGB"))[640:]
    for color in (birdseye.RIGHT, birdseye.WRONG, birdseye.IGNORED):
        assert has(error, color)
