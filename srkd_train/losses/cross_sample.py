# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""L_cross (CSMBGD): relations between the points of different scans of a mini-batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from srkd_train.losses.logits import full_precision, product


def sample_rows(batch: Tensor, scans: int, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw `count` rows of every scan: int64 [B, count] indices into batch int64 [V].

    Without replacement where a scan has enough rows; a smaller scan repeats its rows. Every scan needs a row.
    """
    shuffled = torch.randperm(len(batch), generator=generator, device=batch.device)
    order = shuffled.index_select(0, batch.index_select(0, shuffled).argsort(stable=True))
    rows = torch.bincount(batch, minlength=scans)
    first = rows.cumsum(0) - rows
    slot = torch.arange(count, device=batch.device)[None, :] % rows[:, None].clamp_min(1)
    return order[first[:, None] + slot]


def cross_sample(
    student: Tensor,
    teacher: Tensor,
    temperature: float = 0.1,
    pairs: str = "unordered",
    reverse: bool = False,
) -> Tensor:
    """L_cross (eq. 9): mean over pairs (i, j) of scans of (1 / N) sum_a KL of the rows of M_ij = F_i F_j^T.

        L = mean over (i, j) of (1 / N) sum_a KL(softmax(M^t_ij[a, :] / T) || softmax(M^s_ij[a, :] / T)) T^2

    student [B, N, C_s] and teacher [B, N, C_t]: features of the same N points of each of B scans, scaled to unit length
    here. `pairs`: "unordered" i < j (the paper: B (B - 1) / 2), "ordered" i != j, "all" with i = j too (CIRKD).

    Departures. No projection to 128 dimensions: M_ij is N x N whatever the width, so cosine relations of networks of
    different width compare as they are. T is 0.1, where the paper has 2: the cosines of 1024 points over T = 2 lie
    within a factor e of one another, their softmax is near uniform and its gradient near zero. Direction as in `kl`.
    """
    scans = len(student)
    if pairs == "unordered":
        i, j = torch.triu_indices(scans, scans, 1, device=student.device)
    elif pairs in ("ordered", "all"):
        i, j = torch.cartesian_prod(*[torch.arange(scans, device=student.device)] * 2).view(-1, 2).t()
        i, j = (i, j) if pairs == "all" else (i[i != j], j[i != j])
    else:
        raise ValueError(f"pairs: {pairs!r} is not one of unordered, ordered, all")
    if not len(i):
        return full_precision(student).sum() * 0  # a batch of one scan has no pairs
    s = F.normalize(full_precision(student), dim=-1)
    t = F.normalize(full_precision(teacher.detach()), dim=-1)
    value: Tensor = _Relations.apply(s, t, list(zip(i.tolist(), j.tolist(), strict=True)), temperature, reverse)
    return value


class _Relations(torch.autograd.Function):
    """The mean of the rows' divergences, pair by pair, with the gradient of each as soon as its matrices are there.

    All pairs at once would hold a dozen arrays of pairs x N x N for the backward pass: gigabytes for a batch of eight.
    """

    @staticmethod
    def forward(
        ctx: Any, s: Tensor, t: Tensor, pairs: list[tuple[int, int]], temperature: float, reverse: bool
    ) -> Tensor:
        gradient = torch.zeros_like(s) if ctx.needs_input_grad[0] else None
        total = s.new_zeros(())
        for i, j in pairs:
            log_s = F.log_softmax(product(s[i], s[j].t()) / temperature, -1)
            log_t = F.log_softmax(product(t[i], t[j].t()) / temperature, -1)
            if reverse:
                p, difference = log_s.exp(), log_s - log_t
                rows = (p * difference).sum(-1, keepdim=True)
                total += rows.sum()
                slope = p.mul_(difference - rows)
            else:
                p = log_t.exp()
                total += torch.dot(p.view(-1), (log_t - log_s).view(-1))
                slope = log_s.exp_().sub_(p)
            if gradient is not None:  # M = s_i s_j^T / T
                gradient[i] += product(slope, s[j])
                gradient[j] += product(slope.t(), s[i])
        share = 1 / (len(pairs) * s.shape[1])
        if gradient is not None:
            ctx.save_for_backward(gradient.mul_(temperature * share))  # T^2 of the loss, 1 / T of M
        return total * (temperature**2 * share)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None, None, None
