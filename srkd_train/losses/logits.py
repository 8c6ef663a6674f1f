# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""L_kd: Kullback-Leibler divergence between the softened class distributions of student and teacher."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """float64 stays, anything narrower becomes float32: losses are never computed in half precision."""
    return x if x.element_size() == 8 else x.float()


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in the precision of a and b: autocast would halve it."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b


def kl(student: Tensor, teacher: Tensor, temperature: float = 1.0, reverse: bool = False) -> Tensor:
    """KL divergence along the last axis of softmax(x / T), times T**2: [..., C] twice to [...].

    By default KL(teacher || student), the form of Hinton et al. (2015), whose gradient for the student is
    softmax(s / T) - softmax(t / T). `reverse` gives KL(student || teacher), as SRKD's paper writes it. T**2 keeps the
    size of the gradient independent of T.
    """
    log_student = F.log_softmax(full_precision(student) / temperature, -1)
    log_teacher = F.log_softmax(full_precision(teacher.detach()) / temperature, -1)
    if reverse:
        log_student, log_teacher = log_teacher, log_student
    return (log_teacher.exp() * (log_teacher - log_student)).sum(-1) * temperature**2


def logit_kl(
    student: Tensor, teacher: Tensor, temperature: float = 2.0, reverse: bool = False, counts: Tensor | None = None
) -> Tensor:
    """L_kd = (1 / N) sum over points n of KL(softmax(t_n / T) || softmax(s_n / T)) T**2; T = 2 as in the paper.

    student and teacher [V, C] are logits of voxels. `counts` [V], the points in each voxel, makes it the mean over
    points; without it each voxel counts once, so that near, dense surfaces do not outweigh far ones (our default).
    Departures: the direction (see `kl`; `reverse=True` is the paper's), which at a strong teacher covers all its
    classes instead of one, and the factor T**2.
    """
    divergence = kl(student, teacher, temperature, reverse)
    if counts is None:
        return divergence.mean()
    counts = counts.to(divergence.dtype)
    return (divergence * counts).sum() / counts.sum()
