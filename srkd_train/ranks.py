# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What a loss must know of the other processes of a distributed run, for R of them to equal one with R-fold batches."""

from __future__ import annotations

import time
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def equal_share(rows: Tensor) -> Tensor | float:
    """Factor on this process's mean over `rows` rows, such that the mean over processes is the mean over all rows.

    DDP averages gradients over processes; where they hold different numbers of rows, that is not the gradient of the
    overall mean. 1 without other processes.
    """
    if ranks() == 1:
        return 1.0
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    own = rows.to(device, torch.float64)
    total = own.clone()
    dist.all_reduce(total)
    return float(own * ranks() / total.clamp_min(1))


def gather_scans(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, int]:
    """The sampled features [B, N, C] of all processes, in the order of ranks, and the number of processes.

    Only this process's part carries a gradient. Processes may hold different numbers of scans.
    """
    count = ranks()
    if count == 1:
        return student, teacher, 1
    sizes = [torch.zeros(1, dtype=torch.int64, device=student.device) for _ in range(count)]
    dist.all_gather(sizes, torch.tensor([len(student)], device=student.device))
    scans = [int(s) for s in sizes]
    parts_s, parts_t = (_gather(x.detach().float(), max(scans)) for x in (student, teacher))
    parts_s = [part[:n] for part, n in zip(parts_s, scans, strict=True)]
    parts_t = [part[:n] for part, n in zip(parts_t, scans, strict=True)]
    parts_s[dist.get_rank()] = student.float()
    return torch.cat(parts_s), torch.cat(parts_t), count


def _gather(x: Tensor, scans: int) -> list[Tensor]:
    padded = torch.cat([x, x.new_zeros(scans - len(x), *x.shape[1:])]).contiguous()
    parts = [torch.empty_like(padded) for _ in range(ranks())]
    dist.all_gather(parts, padded)
    return parts


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on any process."""
    if ranks() == 1:
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return bool(value > 0)


def of_all_ranks(items: set[T]) -> set[T]:
    """The union of the sets of all processes."""
    if ranks() == 1:
        return items
    parts: list[set[T]] = [set()] * ranks()
    dist.all_gather_object(parts, items)
    return set().union(*parts)


def leave_group() -> None:
    """End this process's part in a distributed run.

    A thread of gloo's that lets go of the last exchange while the interpreter shuts down aborts the process. Leaving
    waits for the threads of groups that nothing else holds; torch's caches hold those of FSDP's meshes for ever, and
    give no means to wait for them but time.
    """
    if ranks() > 1:
        dist.destroy_process_group()
        time.sleep(0.5)


def another_rank_ended(error: RuntimeError) -> bool:
    """Whether an error is what is left of a collective operation when another process is gone."""
    if isinstance(error, getattr(dist, "DistError", ())):
        return True
    words = ("connection closed by peer", "connection reset by peer", "broken pipe", "gloo", "nccl")
    return any(word in str(error).lower() for word in words)  # gloo raises plain RuntimeErrors
