# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What a run leaves on disk: checkpoints to resume from, and the student file of the best validation so far."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO

from srkd_ros import student
from srkd_ros.errors import DataError, SrkdError
from srkd_ros.metrics import summary
from srkd_ros.network import parameter_count
from srkd_ros.student import InputStatistics
from srkd_train.distiller import Supervised
from srkd_train.guard import is_finite
from srkd_train.loading import Source, evenly_spread
from srkd_train.ranks import any_rank

_QUANTILES = (0.01, 0.5, 0.99)


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the old one and renames it: whenever the process dies, one whole file is there.

    A full disk is said in one line and does not stop the run: the last checkpoint stays.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        temporary = path.with_name(f".{path.name}.tmp")
        buffer = BytesIO()
        torch.save(checkpoint, buffer)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            print(f"warning: {path} not saved ({error.strerror}); the run goes on, the previous checkpoint is whole")


class Checkpoints(Callback):
    """Saves `last.ckpt` every so many optimiser steps, after validations and at the end.

    Only behind a whole step: the gradients that trainer.accumulate has added up so far are in no checkpoint. Not before
    a validation that is due: a run that is killed in it would go on behind it. And no weights that are no numbers:
    whoever resumes wants the last that are.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.path = folder / "last.ckpt"
        self.every = every
        self._saved_at = -1

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, Supervised)
        batches, end = batch_idx + 1, len(module.sampler)
        stepped = batches % trainer.accumulate_grad_batches == 0 or batches == end
        validates = trainer.enable_validation and (batches % int(trainer.val_check_batch or 1) == 0 or batches == end)
        if stepped and trainer.global_step % self.every == 0 and not validates:
            self._save(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._save(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.global_step != self._saved_at:
            self._save(trainer, module)

    def _save(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._saved_at = trainer.global_step
        if not _finite(module, module.device):
            module.print(f"warning: step {trainer.global_step}: weights are no numbers; {self.path} stays as it was")
            return
        trainer.save_checkpoint(self.path)


class LastValidation(Callback):
    """Has the end of a run validated, wherever the interval of the others leaves it."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, Supervised)
        if batch_idx + 1 == len(module.sampler):
            trainer.should_stop = True  # before which Lightning validates once more


class BestStudent(Callback):
    """Writes the student file whenever validation says it is the best so far; without validation, at the end."""

    def __init__(self, path: Path, log: Callable[[str], None] | None = None) -> None:
        self.path = path
        self.best = float("-inf")
        self._log = log

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Supervised)
        if trainer.sanity_checking:
            return
        better = module.miou > self.best and _finite(module.best_weights, module.device)
        if better:
            self.best = module.miou
            self._write(trainer, module)
        epoch = module.sampler.epoch(trainer.fit_loop.epoch_loop.batch_progress.current.ready)
        module.print(
            f"epoch {epoch:6.1f}  step {trainer.global_step:6d}  loss {_metric(trainer, 'train/loss'):7.4f}  "
            f"val mIoU {100 * module.miou:5.1f} %" + ("  best so far, saved" if better else "")
        )

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Supervised)
        if self.best == float("-inf"):
            if not _finite(module.best_weights, module.device):
                raise SrkdError("the weights are no numbers; nothing was written: lower optimizer.lr")
            self._write(trainer, module)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"] if self.path.is_file() else float("-inf")

    def _write(self, trainer: pl.Trainer, module: Supervised) -> None:
        # On every rank, as FSDP gathers its shards for it.
        prefix = "model." if module.averaged is None else "averaged."
        state = {k.removeprefix(prefix): v for k, v in _state(trainer).items() if k.startswith(prefix)}
        if not trainer.is_global_zero:
            return
        metrics = summary(module.confusion, module.manifest.labels.names)
        manifest = dataclasses.replace(
            module.manifest,
            provenance={
                **module.manifest.provenance,
                "steps": trainer.global_step,
                "parameters": parameter_count(module.model),
                "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "metrics": {
                    "miou": metrics["miou"],
                    "per_class": {name: c["iou"] for name, c in metrics["per_class"].items()},
                },
            },
        )
        try:
            student.save(self.path, state, manifest)
        except Exception as error:  # safetensors has its own type for a full disk
            raise DataError(f"{self.path}: not written ({error}); free some space, then --resume") from error


def _finite(network: torch.nn.Module, device: torch.device) -> bool:
    """Whether weights and statistics are numbers, on all ranks."""
    return not any_rank(not is_finite([*network.parameters(), *network.buffers()]), device)


def _state(trainer: pl.Trainer) -> dict[str, torch.Tensor]:
    return trainer.strategy.lightning_module_state_dict()


def _metric(trainer: pl.Trainer, name: str) -> float:
    value = trainer.callback_metrics.get(name)
    return float("nan") if value is None else float(value)


def measure_inputs(source: Source, min_range: float, max_range: float, scans: int = 24) -> tuple[InputStatistics, Any]:
    """Quantiles of intensity, range and z, and label counts int64 [256], over evenly spread training scans.

    Labels are counted in as many scans that have them, however few those are among all.
    """
    counts = np.zeros(256, np.int64)
    values: dict[str, list[np.ndarray]] = {"intensity": [], "range": [], "z": []}
    spread = evenly_spread(len(source), min(scans, len(source))).tolist()
    labelled = source.labelled[evenly_spread(len(source.labelled), min(scans, len(source.labelled)))].tolist()
    for index in sorted({*spread, *labelled}):
        scan, scale = source.scan(index)
        if index in labelled and scan.labels is not None:
            counts += np.bincount(scan.labels, minlength=256)
        if index not in spread:
            continue
        distance = np.linalg.norm(scan.xyz, axis=1)
        with np.errstate(invalid="ignore"):
            kept = (distance >= min_range) & (distance <= max_range)
        values["range"].append(distance[kept])
        values["z"].append(scan.xyz[kept, 2])
        if scan.intensity is not None:
            intensity = scan.intensity[kept] / scale
            values["intensity"].append(intensity[np.isfinite(intensity)])
    quantiles = {
        name: {str(q): float(np.quantile(np.concatenate(arrays), q)) for q in _QUANTILES}
        for name, arrays in values.items()
        if arrays and sum(map(len, arrays))
    }
    return InputStatistics(**quantiles), counts


def git_revision() -> str:
    """Revision of the source tree this runs from, with a + if it was changed; empty outside of one."""
    folder = Path(__file__).resolve().parent
    try:
        revision = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return revision.stdout.strip()
