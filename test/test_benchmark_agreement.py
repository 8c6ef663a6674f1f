# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What the terms still see between a student and its teacher: of the teacher itself nothing; features read linearly."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from test_training import Boxes, config

from benchmarks import agreement
from benchmarks.agreement import COLUMNS, TERMS, Reading
from srkd_train.config import TrainConfig
from srkd_train.datasets import open_dataset
from srkd_train.loading import Source
from srkd_train.simulation import synthesize
from srkd_train.trainer import train


def test_a_linear_reading_explains_what_is_linear_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(400, 6, generator=generator) for _ in range(2))
    standardised = F.layer_norm(x, (6,))
    for target, low, high in ((standardised, 0.999, 1.001), (noise, -0.2, 0.1)):
        reading = Reading(6, 6)
        reading.add(standardised[:200], target[:200], fit=True)
        reading.add(standardised[200:], target[200:], fit=False)
        assert low < reading.explained() < high


def test_nothing_is_left_to_teach_the_teacher(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = synthesize(tmp_path / "data", 2, 4, "vlp-16", columns=128, progress=False)
    c = config(TrainConfig, tmp_path / "run", steps=2)
    c.data.root = str(data)
    training, validation = (Source([open_dataset("semantic_kitti", data, s)]) for s in ("train", "val"))
    file = train(c, (training, validation))
    arguments = ["--teacher", str(file), "--students", str(file), "--data", str(data), "--scans", "4"]
    assert agreement.main(arguments) == 0
    before, after = capsys.readouterr().out.splitlines()[-2:]
    assert before.startswith("| before training |")
    assert float(before.split("|")[2]) > 1e-3
    values = [cell.strip() for cell in after.split("|")[2:-1]]
    assert len(values) == len(COLUMNS)
    assert all(abs(float(v)) < 1e-4 for v in values[: len(TERMS)])
    assert values[-1] == "100.0 %"
    few = synthesize(tmp_path / "few", 2, 3, "vlp-16", columns=64, progress=False)
    assert agreement.main(["--teacher", str(file), "--students", str(file), "--data", str(few)]) == 2
    assert "3 scans in split 'val'; it takes four" in capsys.readouterr().err


def test_what_cannot_be_compared_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = train(config(TrainConfig, tmp_path / "run", steps=1), (Source([Boxes()]), Source([Boxes(2)])))
    data = synthesize(tmp_path / "data", 2, 1, "vlp-16", columns=64, progress=False)
    assert agreement.main(["--teacher", str(file), "--students", str(file), "--data", str(data)]) == 2
    assert "are not the data's" in capsys.readouterr().err
    assert agreement.main(["--teacher", "no.safetensors", "--students", str(file), "--data", str(data)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
