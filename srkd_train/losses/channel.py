# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""L_channel: agreement of the distributions that the features of student and teacher form along an axis."""

from __future__ import annotations

import torch
from torch import Tensor

from srkd_train.losses.logits import full_precision, kl


def channel(
    student: Tensor,
    teacher: Tensor,
    batch: Tensor,
    scans: int,
    temperature: float = 1.0,
    over: str = "points",
    counts: Tensor | None = None,
    reverse: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Channel term (eq. 7) on features or logits [V, C] of equal width (students' pass an adapter first).

    batch int64 [V] is the scan of each row, counts [V] the points in each voxel: with counts the sums run over points
    (the paper's first sum), without over voxels (its second).

    `over="channels"`: the paper's form, mean over rows of T**2 KL between softmax over channels; with `reduction` "sum"
    the sum over the rows of a scan, mean over scans. As printed the first sum is a mean and the second a sum. Its inner
    factor 1/N, which makes the second argument no distribution, is left out: it adds the constant log N only.
    `over="points"` (default): channel-wise distillation (Shu et al., ICCV 2021), the established form of the idea: per
    scan and channel, the softmax runs over the scan's points, and says where in the scene a channel is active;
    T**2 / (C B) sum over scans and channels of KL(teacher || student). Widely different channel scales cancel.
    `reverse` exchanges the arguments of KL, as in `kl`.
    """
    if over == "channels":
        divergence = kl(student, teacher, temperature, reverse)
        weight = torch.ones_like(divergence) if counts is None else counts.to(divergence.dtype)
        return (divergence * weight).sum() / (scans if reduction == "sum" else weight.sum())
    if over != "points":
        raise ValueError(f"over: {over!r} is neither 'points' nor 'channels'")
    number = torch.ones_like(batch) if counts is None else counts
    log_student = _log_softmax_over_scan(full_precision(student) / temperature, batch, scans, number)
    log_teacher = _log_softmax_over_scan(full_precision(teacher.detach()) / temperature, batch, scans, number)
    if reverse:
        log_student, log_teacher = log_teacher, log_student
    divergence = log_teacher.exp() * (log_teacher - log_student) * number.to(log_teacher.dtype)[:, None]
    return divergence.sum() * temperature**2 / (student.shape[1] * scans)


def _log_softmax_over_scan(x: Tensor, batch: Tensor, scans: int, number: Tensor) -> Tensor:
    """Log-probability [V, C] of a point of each voxel; voxel v stands for number[v] equal points."""
    index = batch[:, None].expand_as(x)
    highest = x.detach().new_full((scans, x.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, index, x.detach(), "amax").clamp_min(torch.finfo(x.dtype).min)
    x = x - highest.index_select(0, batch)
    total = torch.zeros_like(highest).index_add(0, batch, x.exp() * number.to(x.dtype)[:, None])
    return x - total.log().index_select(0, batch)
