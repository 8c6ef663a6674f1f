# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Tables of the 3D rotary position embedding: functions of integer coordinates alone, so part of the geometry."""

import torch
from torch import Tensor


def rotary_table(grid: Tensor, head_dim: int, base: float) -> Tensor:
    """Cosines and sines float32 [2, V, head_dim // 2] of LitePT's rotary embedding for cells int64 [V, 3].

    A head's channels are split into thirds, one an axis; in a third of 2 Q channels, channel d is turned with channel
    d + Q by the angle p / base**(d / Q), where p is the voxel's integer coordinate on that axis.
    """
    quarter = head_dim // 6
    frequency = base ** (-torch.arange(quarter, device=grid.device, dtype=torch.float32) / quarter)
    angle = (grid[:, :, None].float() * frequency).view(len(grid), -1)
    return torch.stack([angle.cos(), angle.sin()])
