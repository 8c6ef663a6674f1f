# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Training in processes of its own: killed and resumed, distributed over two, and on a disk that fills up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from test_training import Boxes, config, curve

from srkd_ros import student
from srkd_ros.errors import DataError, SrkdError
from srkd_train.config import DistillConfig, TrainConfig
from srkd_train.datasets import Scan
from srkd_train.distiller import Supervised
from srkd_train.loading import RunSampler, Source
from srkd_train.trainer import train

ROOT = Path(__file__).resolve().parents[1]
STEPS = 10


class Slow(Boxes):
    """Leaves time to be killed."""

    def __getitem__(self, index: int) -> Scan:
        time.sleep(0.05)
        return super().__getitem__(index)


class Even(Boxes):
    """Scans without unlabelled points, jitter or range limits: nothing but the split over processes can differ."""


class Partly(Even):
    """Has labels in the first process's second batch alone."""

    def __getitem__(self, index: int) -> Scan:
        scan = super().__getitem__(index)
        assert scan.labels is not None
        if index not in [key[2] for key in RunSampler(8, 2, 2, seed=3, rank=0, ranks=2).batch(1)]:
            scan.labels[:] = 255
        return scan


class Torn(Even):
    """Cannot be read by the second process."""

    def __getitem__(self, index: int) -> Scan:
        if os.environ.get("LOCAL_RANK") == "1":
            raise DataError(f"scan {index} is torn")
        return super().__getitem__(index)


def settings(folder: Path, teacher: str, mode: str):
    c = config(DistillConfig, folder, steps=STEPS, kl=1.0, point_affinity=0.5, cross_sample=1.0, feature=0.1)
    c.teacher.file = teacher
    c.losses.cross_sample.points, c.losses.fade = 40, (0.3, 0.8)
    if mode in ("sharded", "sharded killed", "sharded poisoned"):
        c.trainer.strategy = "fsdp"
    if mode.endswith("killed"):
        c.trainer.save_every, c.resume = 2, True
        c.trainer.devices = 2 if c.trainer.strategy == "fsdp" else 1
        return c
    # Lovasz and sampling see a process's own scans, and batch normalisation too: without them the sums are the same.
    c.losses.lovasz, c.losses.point_affinity.weight, c.losses.cross_sample.weight = 0.0, 0.0, 0.0
    c.augment.jitter, c.network.drop_path = 0.0, 0.0
    c.trainer.validate_every, c.trainer.gradient_clip, c.trainer.ema = 100, 0.5, 0.5
    c.data.batch_size = 4 if mode == "one" else 2
    c.trainer.devices = 1 if mode == "one" else 2
    return c


def main(folder: str, teacher: str, mode: str) -> None:
    """What the processes below run."""
    if mode in ("one", "two", "sharded"):
        Supervised.on_train_start = freeze_batch_norm  # type: ignore[method-assign, assignment]
    if mode == "full":
        import resource

        c = config(TrainConfig, Path(folder), steps=4)
        c.trainer.save_every, c.trainer.validate_every = 2, 100
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
    elif mode == "partly":
        c = config(TrainConfig, Path(folder), steps=2)
        c.trainer.devices = 2
    else:
        c = settings(Path(folder), teacher, mode)
    if mode == "sharded poisoned":
        Supervised.terms = poisoned(Supervised.terms)  # type: ignore[method-assign]
    data = {"killed": Slow, "sharded killed": Slow, "torn": Torn, "partly": Partly}.get(mode, Even)
    try:
        source = Source([data(8, broken=0)], on_corrupt="skip") if mode == "partly" else Source([data(8)])
        train(c, (source, Source([Boxes(3)])))  # three to validate on: not the same number for two processes
        assert not dist.is_initialized()  # with a group open, gloo's threads abort a process that ends
    except SrkdError as error:  # as the command does
        sys.exit(f"error: {error}")


def poisoned(terms):
    """A loss that is no number, in the second process alone."""

    def poison(module, *given):
        bad = module.global_rank == 1 and module.trainer.fit_loop.epoch_loop.batch_idx == 3
        return {name: value * torch.nan if bad else value for name, value in terms(module, *given).items()}

    return poison


def freeze_batch_norm(module: Supervised) -> None:
    for layer in module.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.eval()


def start(folder: Path, teacher: Path | str, mode: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "test")])}
    return subprocess.Popen(
        [sys.executable, __file__, str(folder), str(teacher), mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,  # to be killed with its own processes
    )


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    c = config(TrainConfig, tmp_path_factory.mktemp("teacher"), steps=4)
    return train(c, (Source([Boxes()]), Source([Boxes(2)])))


def finished(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


@pytest.mark.parametrize("mode", ["killed", "sharded killed"])
def test_killed_at_any_moment_and_resumed_gives_the_same_curve(teacher: Path, tmp_path: Path, mode: str):
    killed = start(tmp_path / "killed", teacher, mode)
    whole = start(tmp_path / "whole", teacher, mode)
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    while not last.exists() and killed.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    finished(start(tmp_path / "killed", teacher, mode))
    finished(whole)
    expected, got = curve(tmp_path / "whole"), curve(tmp_path / "killed")
    assert list(expected) == list(range(STEPS))
    # A CSV log is flushed now and then: the killed process may not have written its last steps. All else is equal.
    assert set(range(4, STEPS)) <= got.keys()
    assert got == {k: expected[k] for k in got}
    a, b = (student.load(tmp_path / n / "student.safetensors")[0] for n in ("whole", "killed"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_two_processes_equal_one_with_twice_the_batch(teacher: Path, tmp_path: Path):
    """By DDP, and with parameters and optimiser states split over both (FSDP)."""
    outputs = [finished(start(tmp_path / mode, teacher, mode)) for mode in ("one", "two", "sharded")]
    assert "training scans" in outputs[1]
    one, *others = (student.load(tmp_path / n / "student.safetensors")[0] for n in ("one", "two", "sharded"))
    moved = 0.0
    for other in others:
        assert other.keys() == one.keys()
        for name, tensor in one.items():
            if tensor.is_floating_point():
                np.testing.assert_allclose(tensor, other[name], rtol=2e-3, atol=2e-4, err_msg=name)
                moved = max(moved, float((tensor - student.load(teacher)[0][name]).abs().max()))
    assert moved > 0.02  # and it did learn


def test_a_loss_that_is_no_number_for_one_of_two_shards_is_skipped(teacher: Path, tmp_path: Path):
    output = finished(start(tmp_path, teacher, "sharded poisoned"))
    assert "the loss is not finite" in output
    assert "1 steps were skipped" in output
    assert all(bool(t.isfinite().all()) for t in student.load(tmp_path / "student.safetensors")[0].values())


def test_a_batch_is_skipped_if_no_process_has_a_label(tmp_path: Path):
    output = finished(start(tmp_path, "", "partly"))
    assert output.count("not one labelled point in range: skipped") == 1
    assert "1 steps were skipped" in output
    assert "1 scans could not be read" in output  # which both have met


def test_a_process_that_ends_is_said_without_a_traceback(teacher: Path, tmp_path: Path):
    process = start(tmp_path, teacher, "torn")
    output, _ = process.communicate(timeout=240)
    assert process.returncode != 0  # Lightning may end the other one first
    assert " is torn" in output
    assert "Traceback" not in output


def test_what_is_left_of_a_collective_operation_is_known(tmp_path: Path):
    script = tmp_path / "left.py"
    script.write_text(_LEFT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    meeting = (tmp_path / "meeting").as_uri()
    left, _ = (
        subprocess.Popen(
            [sys.executable, str(script), str(r), meeting], env=environment, stdout=subprocess.PIPE, text=True
        )
        for r in range(2)
    )
    assert "the other one has ended" in finished(left)


def test_a_full_disk_is_said_in_one_line(tmp_path: Path):
    process = start(tmp_path / "full", "", "full")
    output, _ = process.communicate(timeout=240)
    lines = [line for line in output.splitlines() if "not saved" in line or "not written" in line]
    assert lines, output
    assert not list((tmp_path / "full").rglob("*.tmp"))


def test_cross_sample_relations_reach_over_processes(tmp_path: Path):
    script = tmp_path / "ranks.py"
    script.write_text(_GATHER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(r), (tmp_path / "meeting").as_uri()],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for r in range(2)
    ]
    for process in processes:
        assert "gradient agrees" in finished(process)


_LEFT = """
import os, sys, torch, torch.distributed as dist
from srkd_train.ranks import another_rank_ended
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2)
dist.all_reduce(torch.ones(1))
if rank == 1:
    os._exit(1)
try:
    for _ in range(100):
        dist.all_reduce(torch.ones(1000))
except RuntimeError as error:
    assert another_rank_ended(error), error
    assert not another_rank_ended(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    print("the other one has ended", flush=True)
os._exit(0)  # gloo's own threads may abort a process that ends by itself
"""

_GATHER = """
import sys, torch, torch.distributed as dist
from srkd_train.losses import cross_sample
from srkd_train.ranks import equal_share, gather_scans

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2)
g = torch.Generator().manual_seed(0)
s, t = torch.randn(3, 6, 4, generator=g), torch.randn(3, 6, 5, generator=g)
whole = s.clone().requires_grad_()
cross_sample(whole, t).backward()
part = slice(0, 2) if rank == 0 else slice(2, 3)
own = s[part].clone().requires_grad_()
a, b, ranks = gather_scans(own, t[part])
value = cross_sample(a, b)
(ranks * value - (ranks - 1) * value.detach()).backward()
torch.testing.assert_close(own.grad / ranks, whole.grad[part])  # DDP divides by the number of processes
assert equal_share(torch.tensor([6.0, 2.0][rank])) == [1.5, 0.5][rank]
print("gradient agrees", flush=True)
dist.barrier()  # a rank that leaves first tears the other one's threads down
dist.destroy_process_group()
"""


if __name__ == "__main__":
    main(*sys.argv[1:])
