# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The picture of srkd-train eval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from srkd_ros.metrics import Confusion, summary
from srkd_train.evaluation import confusion_picture


@pytest.mark.parametrize("models", [1, 2, 3])
def test_the_confusion_picture_shows_every_error_of_every_model(
    models: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    names = ("car", "road", "wall", "person")
    results = []
    for i in range(models):
        confusion = Confusion(4)
        confusion.add(np.repeat([1, 2], [10, 4]), np.repeat([1, 0 if i == 0 else 3, 255, 2], [5, 3, 2, 4]))
        name = f"a-rather-long-name-of-a-folder-{i}/student-of-a-rather-long-name"
        results.append({"name": name, "mode": "tta" if i else "single pass", **summary(confusion, names)})
    closed: list[Figure] = []
    with monkeypatch.context() as patched:
        patched.setattr("matplotlib.pyplot.close", closed.append)
        confusion_picture(results, tmp_path / "confusion.png")
    plt.close(figure := closed[0])
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == models
    for axes in panels:
        shares = axes.images[0].get_array()
        np.testing.assert_allclose(shares.sum(1), 1)
        columns = [label.get_text() for label in axes.get_xticklabels()]
        assert columns == ["car", "road", "wall", *["person"] * (models > 1), "unlabelled"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["road", "wall"]
    for axes in panels:  # nothing is cut off
        box = axes.title.get_window_extent()
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
