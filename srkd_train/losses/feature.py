# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""L_feature: the teacher's features predicted by the student's through a linear adapter, stage by stage."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from srkd_train.losses.logits import full_precision


def feature(student: Tensor, teacher: Tensor, normalise: bool = True) -> Tensor:
    """L_feature of one stage = mean over voxels and channels of (adapter(F_S) - F_T)^2.

    student [V, C] is already adapted to the teacher's width, teacher [V, C]. The adapter, Linear(C_s, C_t), is trained
    with the student and thrown away after. `normalise` (default, a departure) standardises each row over its channels
    on both sides first, so that the weight of the term does not depend on a stage's or teacher's scale.
    """
    s, t = full_precision(student), full_precision(teacher.detach())
    if normalise:
        s, t = F.layer_norm(s, s.shape[-1:]), F.layer_norm(t, t.shape[-1:])
    return F.mse_loss(s, t)
