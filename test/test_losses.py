# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Every loss against a float64 numpy oracle written straight from its equation, its gradient, and its invariances."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from srkd_train import losses
from srkd_train.losses import Supervoxels

torch.set_num_threads(1)
B, N, CS, CT = 3, 12, 5, 7


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def np_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def np_kl(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(p / q)).sum())


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# --- oracles --------------------------------------------------------------------------------------------------------


def test_cross_entropy_is_the_mean_negative_log_likelihood_of_labelled_rows():
    logits, labels = rand(N, CS), torch.tensor([0, 1, 255, 4, 3, 2, 255, 0, 1, 1, 2, 3])
    p = np_softmax(logits.numpy())
    expected = np.mean([-np.log(p[n, c]) for n, c in enumerate(labels.tolist()) if c != 255])
    assert losses.cross_entropy(logits, labels).item() == pytest.approx(expected, rel=1e-12)


def test_lovasz_is_the_mean_over_classes_of_the_jaccard_extension():
    logits, labels = rand(N, CS), torch.tensor([0, 1, 255, 3, 3, 1, 255, 0, 1, 1, 0, 3])
    keep = labels.numpy() != 255
    p, y = np_softmax(logits.numpy())[keep], labels.numpy()[keep]

    def jaccard_loss(truth: set[int], wrong: set[int]) -> float:  # Berman et al., eq. 6: a set function of the errors
        return len(wrong) / len(truth | wrong) if truth | wrong else 0.0

    per_class = []
    for c in sorted(set(y)):
        truth = {n for n in range(len(y)) if y[n] == c}
        error = np.where(y == c, 1 - p[:, c], p[:, c])
        value, wrong = 0.0, set[int]()
        for n in np.argsort(-error):  # eq. 8: sum of m_i times the discrete gradient
            value += error[n] * (jaccard_loss(truth, wrong | {n}) - jaccard_loss(truth, wrong))
            wrong |= {n}
        per_class.append(value)
    assert losses.lovasz_softmax(logits, labels).item() == pytest.approx(np.mean(per_class), rel=1e-12)


def test_lovasz_of_certain_predictions_is_one_minus_the_mean_iou():
    truth, prediction = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 0, 1, 1, 2, 2])
    logits = torch.nn.functional.one_hot(prediction, 3).double() * 1e4
    assert losses.lovasz_softmax(logits, truth).item() == pytest.approx(1 - np.mean([2 / 3, 1 / 3, 1 / 2]), rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_logit_kl(temperature: float, reverse: bool, weighted: bool):
    s, t = rand(N, CS), rand(N, CS, seed=1)
    p, q = np_softmax(t.numpy() / temperature), np_softmax(s.numpy() / temperature)
    if reverse:
        p, q = q, p
    counts = np.arange(1, N + 1) if weighted else np.ones(N)
    expected = sum(c * np_kl(p[n], q[n]) for n, c in enumerate(counts)) / counts.sum() * temperature**2
    got = losses.logit_kl(s, t, temperature, reverse, torch.from_numpy(counts) if weighted else None)
    assert got.item() == pytest.approx(expected, rel=1e-12)


MEMBERS = torch.tensor([[0, 3, 5, 7], [1, 2, N, N], [4, 6, 8, N]])
WEIGHTS = torch.tensor([0.2, 0.5, 0.05], dtype=torch.float64)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("weighting", ["mean-one", "paper", "none"])
def test_affinity(normalise: bool, weighting: str):
    s, t = rand(N, CS).numpy(), rand(N, CT, seed=1).numpy()
    fs, ft = (unit(s), unit(t)) if normalise else (s, t)
    w = {"mean-one": WEIGHTS.numpy() / WEIGHTS.numpy().mean(), "paper": WEIGHTS.numpy(), "none": np.ones(3)}[weighting]
    cells = []
    for weight, members in zip(w, MEMBERS.tolist(), strict=True):
        rows = [m for m in members if m < N]
        total = 0.0
        for i in rows:
            for j in rows:
                ds, dt = weight * ((fs[i] - fs[j]) ** 2).sum(), weight * ((ft[i] - ft[j]) ** 2).sum()
                total += (ds - dt) ** 2
        cells.append(total / len(rows) ** 2)
    got = losses.affinity(torch.from_numpy(s), torch.from_numpy(t), Supervoxels(MEMBERS, WEIGHTS), normalise, weighting)
    assert got.item() == pytest.approx(np.mean(cells), rel=1e-10)


BATCH = torch.tensor([0] * 5 + [1] * 3 + [2] * 4)
COUNTS = torch.tensor([1, 4, 2, 2, 7, 1, 1, 3, 5, 1, 2, 2])


@pytest.mark.parametrize("over", ["points", "channels"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_channel(over: str, weighted: bool, reverse: bool):
    s, t = rand(N, CS), rand(N, CS, seed=1)
    times = COUNTS.tolist() if weighted else [1] * N
    rows = [n for n in range(N) for _ in range(times[n])]  # as if every point stood for itself
    ps, pt, scan = s.numpy()[rows] / 2.0, t.numpy()[rows] / 2.0, BATCH.numpy()[rows]
    if reverse:
        ps, pt = pt, ps
    if over == "channels":
        expected = np.mean([np_kl(np_softmax(b), np_softmax(a)) for a, b in zip(ps, pt, strict=True)]) * 4
    else:
        expected = 0.0
        for b in range(B):
            for c in range(CS):
                expected += np_kl(np_softmax(pt[scan == b, c]), np_softmax(ps[scan == b, c])) * 4 / (CS * B)
    got = losses.channel(s, t, BATCH, B, 2.0, over, COUNTS if weighted else None, reverse)
    assert got.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
def test_channel_summed_over_the_rows_of_a_scan(weighted: bool):
    s, t = rand(N, CS), rand(N, CS, seed=1)
    times = COUNTS.numpy() if weighted else np.ones(N)
    per_row = [np_kl(np_softmax(b), np_softmax(a)) for a, b in zip(s.numpy(), t.numpy(), strict=True)]
    per_scan = [sum(n * v for n, v, b in zip(times, per_row, BATCH, strict=True) if b == scan) for scan in range(B)]
    got = losses.channel(s, t, BATCH, B, over="channels", counts=COUNTS if weighted else None, reduction="sum")
    assert got.item() == pytest.approx(np.mean(per_scan), rel=1e-10)


@pytest.mark.parametrize("pairs", ["unordered", "ordered", "all"])
@pytest.mark.parametrize("reverse", [False, True])
def test_cross_sample(pairs: str, reverse: bool):
    s, t = rand(B, N, CS), rand(B, N, CT, seed=1)
    fs, ft, temperature = unit(s.numpy()), unit(t.numpy()), 0.3
    chosen = [
        (i, j)
        for i in range(B)
        for j in range(B)
        if pairs == "all" or (pairs == "ordered" and i != j) or (pairs == "unordered" and i < j)
    ]
    total = 0.0
    for i, j in chosen:
        ms, mt = np_softmax(fs[i] @ fs[j].T / temperature), np_softmax(ft[i] @ ft[j].T / temperature)
        total += sum(np_kl(ms[a], mt[a]) if reverse else np_kl(mt[a], ms[a]) for a in range(N)) / N
    got = losses.cross_sample(s, t, temperature, pairs, reverse)
    assert got.item() == pytest.approx(total / len(chosen) * temperature**2, rel=1e-10)


def test_a_batch_of_eight_has_28_matrices():
    i, j = torch.triu_indices(8, 8, 1)
    assert len(i) == len(j) == 28


@pytest.mark.parametrize("normalise", [False, True])
def test_feature(normalise: bool):
    s, t = rand(N, CS).numpy(), rand(N, CS, seed=1).numpy()

    def standard(x: np.ndarray) -> np.ndarray:
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) if normalise else x

    expected = ((standard(s) - standard(t)) ** 2).mean()
    assert losses.feature(torch.from_numpy(s), torch.from_numpy(t), normalise).item() == pytest.approx(expected)


# --- gradients and invariances --------------------------------------------------------------------------------------

LABELS = torch.tensor([0, 1, 255, 4, 3, 2, 255, 0, 1, 1, 2, 3])
TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "logit_kl": lambda s, t: losses.logit_kl(s, t),
    "logit_kl reverse": lambda s, t: losses.logit_kl(s, t, reverse=True),
    "affinity": lambda s, t: losses.affinity(s, t, Supervoxels(MEMBERS, WEIGHTS)),
    "affinity raw": lambda s, t: losses.affinity(s, t, Supervoxels(MEMBERS, WEIGHTS), False, "paper"),
    "channel points": lambda s, t: losses.channel(s, t, BATCH, B, counts=COUNTS),
    "channel channels": lambda s, t: losses.channel(s, t, BATCH, B, over="channels"),
    "cross_sample": lambda s, t: losses.cross_sample(s.view(B, 4, CS), t.view(B, 4, CS)),
    "feature": lambda s, t: losses.feature(s, t),
}


@pytest.mark.parametrize("term", TERMS)
def test_gradients_match_finite_differences(term: str):
    student, teacher = rand(N, CS).requires_grad_(), rand(N, CS, seed=1)
    assert torch.autograd.gradcheck(lambda s: TERMS[term](s, teacher), student)


@pytest.mark.parametrize("function", [losses.cross_entropy, losses.lovasz_softmax])
def test_gradients_of_the_task_terms(function: Callable[[Tensor, Tensor], Tensor]):
    assert torch.autograd.gradcheck(lambda s: function(s, LABELS), rand(N, CS).requires_grad_())


@pytest.mark.parametrize("term", TERMS)
def test_identical_features_give_zero(term: str):
    features = rand(N, CS)
    assert TERMS[term](features, features).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("term", TERMS)
def test_different_features_give_more_than_zero(term: str):
    assert TERMS[term](rand(N, CS), rand(N, CS, seed=1)).item() > 1e-6


@pytest.mark.parametrize("term", TERMS)
def test_no_gradient_reaches_the_teacher(term: str):
    student, teacher = rand(N, CS).requires_grad_(), rand(N, CS, seed=1).requires_grad_()
    TERMS[term](student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("term", TERMS)
def test_half_precision_is_computed_in_float32(term: str):
    s, t = rand(N, CS).bfloat16(), rand(N, CS, seed=1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        got = TERMS[term](s, t)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(TERMS[term](s.double(), t.double()).item(), rel=1e-3)


def test_permuting_the_points_changes_nothing():
    s, t, order = rand(N, CS), rand(N, CS, seed=1), torch.randperm(N, generator=torch.Generator().manual_seed(2))
    place = torch.cat([order.argsort(), torch.tensor([N])])
    for got, expected in [
        (losses.lovasz_softmax(s[order], LABELS[order]), losses.lovasz_softmax(s, LABELS)),
        (losses.cross_entropy(s[order], LABELS[order]), losses.cross_entropy(s, LABELS)),
        (losses.logit_kl(s[order], t[order]), losses.logit_kl(s, t)),
        (losses.channel(s[order], t[order], BATCH[order], B), losses.channel(s, t, BATCH, B)),
        (
            losses.affinity(s[order], t[order], Supervoxels(place[MEMBERS], WEIGHTS)),
            losses.affinity(s, t, Supervoxels(MEMBERS, WEIGHTS)),
        ),
    ]:
        assert got.item() == pytest.approx(expected.item(), rel=1e-10)


def test_rotating_the_feature_space_does_not_change_relations():
    s, t = rand(N, CS), rand(N, CT, seed=1)
    rotation = torch.linalg.qr(rand(CS, CS, seed=3)).Q
    cells = Supervoxels(MEMBERS, WEIGHTS)
    assert losses.affinity(s @ rotation, t, cells).item() == pytest.approx(losses.affinity(s, t, cells).item())
    rotated = losses.cross_sample((s @ rotation).view(B, 4, CS), t.view(B, 4, CT))
    assert rotated.item() == pytest.approx(losses.cross_sample(s.view(B, 4, CS), t.view(B, 4, CT)).item())


def test_nothing_labelled_gives_zero_with_a_gradient():
    logits, nothing = rand(N, CS).requires_grad_(), torch.full((N,), 255)
    loss = losses.cross_entropy(logits, nothing) + losses.lovasz_softmax(logits, nothing)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_a_single_scan_has_no_pairs():
    student = rand(1, N, CS).requires_grad_()
    losses.cross_sample(student, rand(1, N, CT)).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() == 0
