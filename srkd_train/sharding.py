# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Sharding: the parameters, gradients and optimiser states of a training split over its processes (FSDP2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from srkd_ros.network import PointTransformer
from srkd_ros.network.blocks import Block, Pooling, Unpooling


def sharded_strategy(processes: int) -> ModelParallelStrategy:
    """Lightning's strategy for modules that `shard` has split; a checkpoint is one whole file, as without it."""
    return ModelParallelStrategy(
        data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False
    )


def shard(model: PointTransformer, others: Sequence[nn.Module], mesh: DeviceMesh) -> None:
    """Split a network in place, block by block: a block's weights are whole only while it runs.

    `others` are trained beside it, each called by itself.
    """
    parts = [module for module in model.modules() if isinstance(module, Block | Pooling | Unpooling)]
    for module in (*parts, *others, model):
        fully_shard(module, mesh=mesh)
    register_fsdp_forward_method(model, "features")  # what training calls


def split_again(model: nn.Module) -> None:
    """Give back the whole weights that a forward pass leaves where no backward pass follows it."""
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


@torch.no_grad()
def whole(model: PointTransformer) -> PointTransformer:
    """A copy that is not split, in eval mode; all processes make theirs together.

    With it they may look at different numbers of scans. Statistics of batch norms, which are each process's own, are
    the first's, as in the student file.
    """
    state = {}
    for name, values in model.state_dict().items():
        if isinstance(values, DTensor):
            state[name] = values.full_tensor()
        else:
            state[name] = values.clone()
            dist.broadcast(state[name], 0)
    with torch.device("meta"):
        copy = PointTransformer(model.config)
    copy.load_state_dict(state, assign=True)
    return copy.eval()


def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor; all of it unless it is sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
