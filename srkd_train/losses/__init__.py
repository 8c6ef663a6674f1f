# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The terms of SRKD as pure functions of tensors, one file a family; equation numbers are the paper's.

    L = L_task + a L_kd + b L_point + c L_voxel + d L_channel + e L_cross [+ f L_feature]            (eq. 10)

Every term takes the student's tensor first and the teacher's second, detaches the teacher's, computes in float32 (or
float64 if given) and returns a scalar. Which weights, temperatures, samples and stages: `srkd_train.config.LossConfig`.
"""

from srkd_train.losses.affinity import Supervoxels, affinity, sample_supervoxels
from srkd_train.losses.channel import channel
from srkd_train.losses.cross_sample import cross_sample, sample_rows
from srkd_train.losses.feature import feature
from srkd_train.losses.logits import kl, logit_kl
from srkd_train.losses.task import cross_entropy, lovasz_softmax

__all__ = [
    "Supervoxels",
    "affinity",
    "channel",
    "cross_entropy",
    "cross_sample",
    "feature",
    "kl",
    "logit_kl",
    "lovasz_softmax",
    "sample_rows",
    "sample_supervoxels",
]
