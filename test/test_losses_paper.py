# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The command that docs/losses.md gives for the paper's forms, against the equations in float64 numpy."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_losses import np_softmax, unit
from test_training_parts import raw

from srkd_ros import student
from srkd_ros.network import Features, PointTransformer, preset
from srkd_train import losses
from srkd_train.batches import prepare
from srkd_train.config import DistillConfig
from srkd_train.parsing import parse_config
from srkd_train.teacher import TeacherOutput
from srkd_train.terms import DistillationTerms

ROOT = Path(__file__).parents[1]
CLASSES, STUDENT, TEACHER = 3, (5, 6), (7, 8)


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> DistillConfig:
    """Of the command in the documentation."""
    text = (ROOT / "docs/losses.md").read_text().split("To run the paper's forms:\n\n")[1].split("\n\n")[0]
    command = shlex.split(text.replace("\\\n", " "))
    assert command[:2] == ["srkd-train", "distill"]
    monkeypatch.chdir(ROOT)
    return parse_config(DistillConfig, command[2:], "srkd-train distill", "")


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(softmax(p) || softmax(q)) of each row."""
    a, b = np_softmax(p), np_softmax(q)
    return (a * np.log(a / b)).sum(1)


def relations(s: np.ndarray, t: np.ndarray, cells: losses.Supervoxels) -> float:
    """Eq. 6, of supervoxels with as many slots as they have members."""
    values = []
    for row, weight in zip(cells.members.tolist(), cells.weights.double().tolist(), strict=True):
        members = [m for m in row if m < len(s)]
        ds, dt = (weight * ((x[members][:, None] - x[members][None]) ** 2).sum(2) for x in (s, t))
        values.append(((ds - dt) ** 2).sum() / len(members) ** 2)
    return float(np.mean(values))


def recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple, Any]]:
    """Arguments and result of every call of a function of srkd_train.losses."""
    calls, function = [], getattr(losses, name)

    def call(*arguments: Any) -> Any:
        calls.append((arguments, function(*arguments)))
        return calls[-1][1]

    monkeypatch.setattr(losses, name, call)
    return calls


def test_the_command_for_the_papers_forms_gives_its_equations(config: DistillConfig, monkeypatch: pytest.MonkeyPatch):
    c = config.losses
    network = PointTransformer(preset("nano", in_channels=4, num_classes=CLASSES))
    batch = prepare(raw(0, 1, 2), student.Preprocessing(0.5, 0.0, 40.0), network.geometry_spec)
    random = torch.Generator().manual_seed(0)

    def features(widths: tuple[int, ...]) -> list[torch.Tensor]:
        sizes = [len(level) for level in batch.geometry.levels]
        return [torch.randn(n, w, dtype=torch.float64, generator=random) for n, w in zip(sizes, widths, strict=False)]

    logits_s, *decoder_s = features((CLASSES,)) + features(STUDENT)
    logits_t, *decoder_t = features((CLASSES,)) + features(TEACHER)
    affinities, samples = recorded("affinity", monkeypatch), recorded("sample_rows", monkeypatch)
    terms = DistillationTerms(c, STUDENT, TEACHER, CLASSES).double()
    got = terms(Features(logits_s, [], decoder_s), TeacherOutput(logits_t, decoder_t), batch)

    point = batch.voxels.point_to_voxel.numpy()  # every point stands for itself
    expected = {"kl": 0.3 * divergence(logits_s.numpy()[point] / 2, logits_t.numpy()[point] / 2).mean()}
    for term, ((s, t, cells, *_), _) in zip(("point_affinity", "voxel_affinity"), affinities, strict=True):
        expected[term] = 1e-3 * relations(s.numpy(), t.numpy(), cells)

    fs, ft = terms.adapters["0"](decoder_s[0]).detach().numpy(), decoder_t[0].numpy()
    p, q = np_softmax(fs[point]), np_softmax(ft[point])
    first = (p * np.log(p / (q / len(point)))).sum(1).mean() - np.log(len(point))  # less what the inner 1/N adds
    second = [divergence(fs[rows], ft[rows]).sum() for rows in (batch.voxels.batch.numpy() == b for b in range(3))]
    expected["channel"] = 1000 * (first + np.mean(second))

    rows = samples[0][1].numpy()
    us, ut = unit(decoder_s[0].numpy()[rows]), unit(decoder_t[0].numpy()[rows])
    pairs = [divergence(us[i] @ us[j].T / 2, ut[i] @ ut[j].T / 2).mean() for i, j in ((0, 1), (0, 2), (1, 2))]
    expected["cross_sample"] = 0.1 * np.mean(pairs)

    assert set(got) == set(expected)
    for term, value in expected.items():
        assert got[term].item() == pytest.approx(value, rel=1e-9), term
