# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Label sets: shipped ones load, raw ids map, mistakes are named."""

import numpy as np
import pytest

from srkd_ros.errors import ConfigError
from srkd_ros.labels import LabelClass, LabelSet, available


@pytest.mark.parametrize("name", available())
def test_shipped_sets_load(name):
    labels = LabelSet.load(name)
    assert labels.name == name
    assert LabelSet.from_dict(labels.to_dict()) == labels
    assert labels.palette.shape == (256, 3)


def test_semantickitti_has_the_benchmarks_classes():
    labels = LabelSet.load("semantickitti")
    assert len(labels) == 19
    raw = np.array([0, 1, 10, 252, 40, 60, 81, 99, 4_000_000_000], np.uint32)
    names = [labels.names[i] if i < 255 else None for i in labels.from_raw(raw)]
    assert names == [None, None, "car", "car", "road", "road", "traffic-sign", None, None]
    assert labels.from_raw(labels.to_raw(np.arange(19, dtype=np.uint8))).tolist() == list(range(19))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\nclasses: []\n", "0 classes"),
        ("name: a\n", "classes"),
        ("- 1\n", "mapping"),
        ("name: [\n", "line"),
        ("name: a\nclasses: [{name: x, color: [1, 2]}]\n", "values"),
        ("name: a\nclasses: [{name: x, color: [1, 2, 3], id: 4}]\n", "id 4"),
        ("name: a\nclasses: [{name: x, color: [1, 2, 300]}]\n", "300"),
        ("name: a\nclasses: car, tree\n", "a list of entries"),
        ("name: a\nclasses: [car, tree]\n", "a list of entries"),
        ("name: a\nclasses: {car: 1}\n", "a list of entries"),
        ("\xff\xfe\x00", "not YAML"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, text, words):
    path = tmp_path / "set.yaml"
    path.write_text(text, "latin-1")
    with pytest.raises(ConfigError, match=words) as caught:
        LabelSet.load(path)
    assert "\n" not in str(caught.value)


def test_a_raw_id_belongs_to_one_class():
    with pytest.raises(ConfigError, match="raw id 7"):
        LabelSet("a", (LabelClass("x", (0, 0, 0), (7,)), LabelClass("y", (0, 0, 0), (7,))))


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ConfigError, match="semantickitti"):
        LabelSet.load("semantic-kitty")
