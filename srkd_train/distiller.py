# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The Lightning modules: a network trained on ground truth, and a student trained by a teacher as well."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from srkd_ros.errors import ConfigError, DataError
from srkd_ros.labels import UNLABELLED
from srkd_ros.metrics import Confusion, iou, mean_iou
from srkd_ros.network import Features, PointTransformer
from srkd_ros.student import Manifest
from srkd_train.augment import augment
from srkd_train.batches import Batch, RawBatch, prepare
from srkd_train.config import DistillConfig, TrainConfig
from srkd_train.guard import PATIENCE, SPARSE, UNSTABLE, WITHOUT_LABELS, StepGuard, is_finite
from srkd_train.ranks import any_rank, ranks
from srkd_train.sampler import RunSampler
from srkd_train.sharding import own_part, shard, split_again, whole
from srkd_train.teacher import CachedTeacher, Teacher
from srkd_train.terms import DistillationTerms, task_terms


class Supervised(pl.LightningModule):
    """Trains `model` on labelled scans and measures it on validation scans."""

    def __init__(
        self,
        config: TrainConfig,
        model: PointTransformer,
        manifest: Manifest,
        sampler: RunSampler,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config, self.manifest, self.sampler = config, manifest, sampler
        self.model = model
        self.averaged = copy.deepcopy(model).requires_grad_(False).eval() if config.trainer.ema else None
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.confusion = Confusion(len(manifest.labels))
        self.miou = float("nan")
        self.guard = StepGuard(model)
        self._learned = False  # from any batch of the current optimiser step
        self._sharded = False
        self._measured = False  # any scan, in the current validation
        self._validated: tuple[PointTransformer, ...] = ()  # in a tuple, so that a copy is no submodule

    @property
    def best_weights(self) -> PointTransformer:
        """The network that validation measures and the student file gets."""
        return self.averaged if self.averaged is not None else self.model

    def configure_model(self) -> None:
        """With trainer.strategy fsdp, split what is trained over the processes. Lightning may call it twice."""
        if self.device_mesh is not None and not self._sharded:
            self._sharded = True
            mesh = self.device_mesh["data_parallel"]
            shard(self.model, self._trained_beside(), mesh)
            if self.averaged is not None:
                shard(self.averaged, [], mesh)

    def _trained_beside(self) -> list[nn.Module]:
        return []

    @property
    def _steps(self) -> int:
        """Optimiser steps of the whole run."""
        return -(-len(self.sampler) // self.config.trainer.accumulate)

    # --- a training step --------------------------------------------------------------------------------------------

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropped paths follow from the step, not from what was drawn before it: a resumed run draws the same.
        torch.manual_seed(self.config.seed * 1_000_003 + batch_idx * ranks() + self.global_rank)
        self.guard.begin()
        if batch_idx % self.config.trainer.accumulate == 0:
            self._learned = False

    def training_step(self, raw: RawBatch, batch_idx: int) -> Tensor | None:
        batch = self._prepare(raw)
        if any_rank(isinstance(batch, str), self.device):
            return self._refuse(batch if isinstance(batch, str) else "too few points on another rank", SPARSE)
        assert isinstance(batch, Batch)
        if self._needs_labels and not any_rank(bool((batch.labels != UNLABELLED).any()), self.device):
            return self._refuse(f"{', '.join(raw.names)}: not one labelled point in range", WITHOUT_LABELS)
        terms = self.terms(self.model.features(batch.features, batch.geometry), batch)
        loss = torch.stack(list(terms.values())).sum() if terms else batch.features.sum() * 0
        if any_rank(not bool(torch.isfinite(loss)), self.device):
            bad = [k for k, v in terms.items() if not bool(torch.isfinite(v))]
            return self._refuse(f"the loss is not finite ({', '.join(bad) or 'on another rank'}; {raw.names[0]})")
        self._learned = True
        self.log_dict({f"train/{k}": v.detach() for k, v in terms.items()}, batch_size=raw.scans)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=raw.scans)
        return loss

    @property
    def _teacher_hash(self) -> str:
        return ""

    @property
    def _needs_labels(self) -> bool:
        """Whether nothing can be learned from a batch without them."""
        return True

    def terms(self, out: Features, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms by name."""
        return task_terms(self.config.losses, out.logits, batch, self.class_weights)

    def _prepare(self, raw: RawBatch) -> Batch | str:
        """The augmented batch, or why nothing can be learned from it."""
        changed = augment(raw, self.config.augment)
        try:
            batch = prepare(changed, self.manifest.preprocessing, self.model.geometry_spec, raw)
        except DataError as error:
            return str(error)
        if len(batch.geometry.levels[-1]) < 2:  # batch norms there need two
            return f"{', '.join(raw.names)}: all points lie in one voxel of the coarsest level"
        return batch

    def _refuse(self, reason: str, advice: str = UNSTABLE) -> Tensor | None:
        self._skip(reason, advice)
        if ranks() == 1:
            return None
        split_again(self)
        # The other processes' gradients are added to one of these: it must be there.
        return torch.stack([own_part(p).sum() * 0 for p in self.parameters() if p.requires_grad]).sum()

    def _skip(self, reason: str, advice: str = UNSTABLE) -> None:
        patience = min(PATIENCE, len(self.sampler))
        self.print(self.guard.refuse(f"step {self.global_step}: {reason}", patience, advice))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """A finite loss can have a gradient that is not. With fp16 its scaler skips such steps and lowers its scale."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        if not gradients:
            return
        finite = self.config.trainer.precision == "fp16" or is_finite(gradients)
        if self._learned and not any_rank(not finite, self.device):
            self.guard.passed()
            return
        self.zero_grad()  # to None, which the optimiser leaves alone: nought of every process would still decay weights
        if self._learned:
            self._skip("the gradient is not finite")

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self._average()  # here, as a checkpoint may follow before the batch ends for this module

    def _average(self) -> None:
        if self.averaged is None:
            return
        steps = self.global_step + 1  # Lightning counts this one later
        decay = min(self.config.trainer.ema, (1 + steps) / (10 + steps))
        with torch.no_grad():
            for parameter, current in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                parameter.lerp_(current, 1 - decay)
            for buffer, now in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
                buffer.copy_(now)

    # --- validation -------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self.confusion = Confusion(len(self.manifest.labels))
        self._measured = False
        self._validated = (whole(self.best_weights) if self._sharded else self.best_weights,)

    def validation_step(self, raw: RawBatch, batch_idx: int) -> None:
        if not len(raw.xyz):  # it could not be read
            return
        self._measured = True
        network = self._validated[0]
        prediction = torch.full((len(raw.xyz),), UNLABELLED, dtype=torch.uint8, device=raw.xyz.device)
        with contextlib.suppress(DataError):  # no point within range: none gets a label, as on the robot
            batch = prepare(raw, self.manifest.preprocessing, network.geometry_spec)
            best = network(batch.features, batch.geometry).argmax(1).to(torch.uint8)
            prediction[batch.kept] = best.index_select(0, batch.voxels.point_to_voxel)
        distance = torch.linalg.vector_norm(raw.xyz, dim=1)
        self.confusion.add(raw.labels.cpu().numpy(), prediction.cpu().numpy(), distance.cpu().numpy())

    def on_validation_epoch_end(self) -> None:
        self._validated = ()
        if not any_rank(self._measured, self.device):
            raise DataError(f"{self.config.data.root}: not one scan of split {self.config.data.val!r} can be read")
        if ranks() > 1:
            counts = torch.from_numpy(self.confusion.counts).to(self.device)
            torch.distributed.all_reduce(counts)
            self.confusion.counts = counts.cpu().numpy()
        self.miou = mean_iou(self.confusion.total)
        per_class = iou(self.confusion.total)
        self.log("val/miou", self.miou, prog_bar=True, rank_zero_only=True)
        self.log_dict(
            {f"val/iou/{name}": float(v) for name, v in zip(self.manifest.labels.names, per_class, strict=True)},
            rank_zero_only=True,
        )

    # --- optimiser and checkpoints ----------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        o = self.config.optimizer
        blocks: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                (blocks if ".blocks." in name else rest).append(parameter)
        groups = [{"params": rest, "lr": o.lr}, {"params": blocks, "lr": o.lr * o.block_lr_factor}]
        optimizer = torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=o.weight_decay)
        steps = max(2, self._steps)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[g["lr"] for g in optimizer.param_groups],
            total_steps=steps + 1,
            pct_start=max(o.warmup, 1.5 / steps),
            div_factor=o.initial_divisor,
            final_div_factor=o.final_divisor,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        checkpoint["srkd_batches"] = progress.processed
        checkpoint["srkd_scans"] = self.sampler.scans
        checkpoint["srkd_teacher"] = self._teacher_hash

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        scans, teacher = checkpoint.get("srkd_scans", self.sampler.scans), checkpoint.get("srkd_teacher", "")
        if scans != self.sampler.scans:
            raise ConfigError(f"data: {self.sampler.scans} training scans now, {scans} when the run began")
        if teacher and teacher != self._teacher_hash:
            raise ConfigError("teacher.file: another teacher than when the run began; begin again in another output")
        self.sampler.start = int(checkpoint["srkd_batches"])


class Distiller(Supervised):
    """Trains a student on ground truth, where there is any, and on what the teacher says of the same scans."""

    config: DistillConfig

    def __init__(
        self,
        config: DistillConfig,
        model: PointTransformer,
        manifest: Manifest,
        sampler: RunSampler,
        teacher: Teacher | CachedTeacher,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__(config, model, manifest, sampler, class_weights)
        cached = isinstance(teacher, CachedTeacher)
        self.distillation = DistillationTerms(
            config.losses,
            manifest.network.decoder_channels,
            teacher.widths,
            len(manifest.labels),
            logits_only=cached and not config.teacher.cache_features,
            features_only_finest=cached,
        )
        self._teacher = (teacher,)  # in a tuple, so that it is no submodule: not trained, not saved, not wrapped

    def _trained_beside(self) -> list[nn.Module]:
        return list(self.distillation.adapters.values())

    @property
    def teacher(self) -> Teacher | CachedTeacher:
        return self._teacher[0]

    @property
    def _teacher_hash(self) -> str:
        return self.teacher.hash

    @property
    def _needs_labels(self) -> bool:
        return not self.distillation.active(self._strength)

    @property
    def _strength(self) -> float:
        return self.distillation.strength(self.global_step / self._steps)

    def terms(self, out: Features, batch: Batch) -> dict[str, Tensor]:
        terms, strength = super().terms(out, batch), self._strength
        if not self.distillation.active(strength):
            return {**terms, **self.distillation.faded(out)}
        return {**terms, **self.distillation(out, self.teacher(batch), batch, strength)}
