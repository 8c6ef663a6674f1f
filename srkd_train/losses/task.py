# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The task terms, from ground truth alone: cross-entropy and the Lovasz-softmax surrogate of the mean IoU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from srkd_train.losses.logits import full_precision

IGNORE = 255


def cross_entropy(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, smoothing: float = 0.0, ignore: int = IGNORE
) -> Tensor:
    """L_ce = mean over labelled rows of -log softmax(logits)[label]; zero, with zero gradient, if there is none.

    logits [N, C], labels int64 [N] with `ignore` where unknown, class_weights [C] or None (all one).
    """
    if not bool((labels != ignore).any()):
        return full_precision(logits).sum() * 0
    return F.cross_entropy(
        full_precision(logits), labels, class_weights, ignore_index=ignore, label_smoothing=smoothing
    )


def lovasz_softmax(logits: Tensor, labels: Tensor, ignore: int = IGNORE) -> Tensor:
    """Lovasz extension of the Jaccard loss, mean over the classes present (Berman et al., CVPR 2018, eq. 11).

    logits [N, C], labels int64 [N]. For class c the errors m_i = |[y_i = c] - p_i(c)| are sorted in falling order and
    weighted by the discrete gradient of the Jaccard loss along that order. All classes are handled at once, over all
    rows of the batch (not scan by scan: a class's IoU is a property of the set).
    """
    known = labels != ignore
    logits, labels = full_precision(logits)[known], labels[known]
    if not len(labels):
        return logits.sum() * 0
    present = torch.bincount(labels, minlength=logits.shape[1]).nonzero().squeeze(1)  # [P]
    foreground = labels == present[:, None]  # [P, N]
    errors = (foreground.to(logits.dtype) - logits.softmax(1).t().index_select(0, present)).abs()
    errors, order = errors.sort(dim=1, descending=True)
    return (errors * _jaccard_gradient(foreground.gather(1, order).to(logits.dtype))).sum(1).mean()


def _jaccard_gradient(foreground: Tensor) -> Tensor:
    """Differences of the Jaccard loss as rows [P, N] of sorted membership (0 or 1) are added one by one (Alg. 1)."""
    total = foreground.sum(1, keepdim=True)
    intersection = total - foreground.cumsum(1)
    union = total + (1 - foreground).cumsum(1)
    jaccard = 1 - intersection / union
    return torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], 1)
