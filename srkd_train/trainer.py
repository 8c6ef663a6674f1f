# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""From a configuration to a trained network: open the data, build the network, fit, leave a student file."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, Strategy

from srkd_ros import student
from srkd_ros.errors import ConfigError, DataError, SrkdError
from srkd_ros.labels import LabelSet
from srkd_ros.network import PointTransformer, parameter_count, spconv_backend
from srkd_ros.student import Manifest
from srkd_train.config import DistillConfig, TrainConfig, check
from srkd_train.distiller import Distiller, Supervised
from srkd_train.loading import Source, open_sources, shared_scans, training_loader, validation_loader
from srkd_train.ranks import another_rank_ended, leave_group, of_all_ranks
from srkd_train.resume import checkpoint_to_resume, plain, write_config
from srkd_train.sampler import RunSampler
from srkd_train.saving import AtomicCheckpoints, BestStudent, Checkpoints, LastValidation, git_revision, measure_inputs
from srkd_train.sharding import sharded_strategy
from srkd_train.teacher import CachedTeacher, Teacher, check_labels, open_teacher

_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def train(config: TrainConfig, sources: tuple[Source, Source | None] | None = None) -> Path:
    """Run a training and return the path of the student file of its best validation.

    `sources` are training and validation scans, instead of those that config.data names. Raises SrkdError in one line
    for whatever is the configuration's or the data's fault.
    """
    check(config)
    output = Path(config.output)
    checkpoint = checkpoint_to_resume(config)
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    spconv_backend.enable(config.trainer.convolution == "spconv")
    torch.set_float32_matmul_precision("high")
    torch.backends.cuda.enable_cudnn_sdp(False)  # it makes a plan for every new number of patches
    train_source, val_source = sources or open_sources(config.data)
    if val_source is not None:
        val_source.corrupt = train_source.corrupt  # counted together

    trainer = _trainer(config, output)
    rank, ranks = trainer.global_rank, trainer.world_size
    sampler = _sampler(config, len(train_source), rank, ranks)
    trainer.val_check_interval = _validation_interval(config, sampler)
    module = _module(config, train_source, sampler, trainer.strategy.root_device)
    if trainer.is_global_zero:
        write_config(config, output / "config.yaml")
        print(
            f"{parameter_count(module.model) / 1e6:.2f}M parameters, {len(module.manifest.labels)} classes, "
            f"{len(train_source)} training scans, {len(val_source) if val_source else 0} validation scans, "
            f"{-(-len(sampler) // config.trainer.accumulate)} steps"
        )
        if val_source and (shared := shared_scans(train_source, val_source)):
            print(
                f"warning: data.val: {shared} of {len(val_source)} validation scans are training scans, too; the mIoU "
                f"will not tell how the network does on new ones, and the student file is chosen by it"
            )
    loaders = (
        training_loader(train_source, sampler, config.data.workers),
        validation_loader(val_source, config.data.workers, rank, ranks) if val_source else None,
    )
    try:
        trainer.fit(module, *loaders, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        if trainer.interrupted:  # Lightning makes an exit of Ctrl-C
            raise KeyboardInterrupt from None
        raise
    except RuntimeError as error:
        if ranks > 1 and another_rank_ended(error):
            raise SrkdError(
                "another process of this training has ended; its own line says why, and --resume continues from the "
                "last checkpoint"
            ) from error
        raise
    if module.guard.skipped:
        module.print(f"{module.guard.skipped} steps were skipped: the lines above say why")
    if corrupt := of_all_ranks(train_source.corrupt):
        module.print(f"{len(corrupt)} scans could not be read and were skipped: the lines above say why")
    leave_group()
    return output / "student.safetensors"


def _sampler(config: TrainConfig, scans: int, rank: int, ranks: int) -> RunSampler:
    sampler = RunSampler(scans, config.data.batch_size, 0, config.seed, rank, ranks)
    steps = config.trainer.max_steps * config.trainer.accumulate
    sampler.batches = steps or config.trainer.epochs * sampler.batches_per_epoch
    return sampler


def _validation_interval(config: TrainConfig, sampler: RunSampler) -> int:
    """Batches between validations: `validate_every` epochs, in whole optimiser steps, as a checkpoint follows each."""
    accumulate = config.trainer.accumulate
    return max(1, round(config.trainer.validate_every * sampler.batches_per_epoch / accumulate)) * accumulate


def _module(config: TrainConfig, source: Source, sampler: RunSampler, device: torch.device) -> Supervised:
    teacher: Teacher | CachedTeacher | None = None
    if isinstance(config, DistillConfig):
        labels = source.labels if config.losses.cross_entropy or config.losses.lovasz else None
        teacher = open_teacher(config.teacher, device, config.preprocessing, labels)
    preprocessing = config.preprocessing
    statistics, label_counts = measure_inputs(source, preprocessing.min_range, preprocessing.max_range)
    labels = teacher.manifest.labels if teacher is not None else source.labels
    if teacher is None and not label_counts[: len(labels)].sum():
        raise DataError(f"{config.data.root}: the scans of split {config.data.train!r} have no labels of the label set")
    manifest = Manifest(
        network=config.network.build(len(preprocessing.features), len(labels)),
        labels=labels,
        preprocessing=preprocessing,
        intensity_scale=source.datasets[0].intensity_scale,
        statistics=statistics,
        provenance=_provenance(config, source, teacher),
    )
    pl.seed_everything(config.seed, workers=True, verbose=False)
    model = PointTransformer(manifest.network)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.momentum = config.trainer.batch_norm_momentum
    model.recompute = config.trainer.recompute
    _balance_inputs(model, manifest)
    if config.init:
        _initialise(model, config.init, labels)
    weights = None
    if config.losses.class_weights == "inverse-sqrt":
        share = label_counts[: len(labels)] / max(label_counts[: len(labels)].sum(), 1)
        weights = torch.tensor((share + 1e-4) ** -0.5, dtype=torch.float32)
        weights /= weights.mean()
    if teacher is not None:
        assert isinstance(config, DistillConfig)
        return Distiller(config, model, manifest, sampler, teacher, weights)
    return Supervised(config, model, manifest, sampler, weights)


def _balance_inputs(model: PointTransformer, manifest: Manifest) -> None:
    """Divide the stem's first weights for each input feature by that feature's spread in the training data.

    Coordinates of tens of metres beside intensities of tenths would drown them until the weights have made up for it.
    """
    s = manifest.statistics
    far = s.range.get("0.99", 1.0) / 2
    spread = {"x": far, "y": far, "z": _spread(s.z), "intensity": _spread(s.intensity)}
    scale = [max(spread.get(name, 1.0), 1e-3) for name in manifest.preprocessing.features]
    with torch.no_grad():
        linear = isinstance(model.stem, torch.nn.Linear)  # [width, features], a convolution's [K, features, width]
        model.stem.weight /= torch.tensor(scale) if linear else torch.tensor(scale)[:, None]


def _spread(quantiles: dict[str, float]) -> float:
    """About one standard deviation."""
    return (quantiles["0.99"] - quantiles["0.01"]) / 4 if quantiles else 1.0


def _initialise(model: PointTransformer, file: str, labels: LabelSet) -> None:
    tensors, manifest = student.load(file)
    if manifest.labels.names != labels.names:  # another label set: keep all but the head
        tensors = {k: v for k, v in tensors.items() if not k.startswith("head.")}
    else:
        check_labels(manifest, labels, file)
    own = model.state_dict()
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            raise ConfigError(f"init: {file} is another network ({name} does not fit)")
    model.load_state_dict(tensors, strict=False)


class _Progress(RichProgressBar):
    """Without Lightning's epochs, of which a run has one, and without the number of the log."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        return {k.split("/")[-1]: v for k, v in super().get_metrics(trainer, pl_module).items() if k != "v_num"}

    def _get_train_description(self, current_epoch: int) -> str:
        return "training"


def _trainer(config: TrainConfig, output: Path) -> pl.Trainer:
    t = config.trainer
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning|torch.utils.data|torch.optim.lr_scheduler")
    cuda = torch.cuda.is_available() and t.accelerator != "cpu"
    if t.accelerator == "gpu" and not cuda:
        raise ConfigError("trainer.accelerator: gpu, and torch sees no CUDA device; set cpu or mend the driver")
    devices = t.devices or (torch.cuda.device_count() if cuda else 1)
    callbacks: list[Callback] = [
        BestStudent(output / "student.safetensors"),
        Checkpoints(output / "checkpoints", t.save_every),
        LastValidation(),
        LearningRateMonitor("step"),
        _Progress(),
    ]
    return pl.Trainer(
        accelerator="gpu" if cuda else "cpu",
        devices=devices,
        num_nodes=t.nodes,
        strategy=_strategy(t.strategy, devices * t.nodes, cuda),
        precision=_PRECISION[t.precision],  # type: ignore[arg-type]
        max_epochs=1,  # the sampler's one sequence holds all epochs, so that a run resumes at any batch
        accumulate_grad_batches=t.accumulate,
        gradient_clip_val=t.gradient_clip or None,
        val_check_interval=1,  # set by train, which knows the length of an epoch
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=t.log_every,
        use_distributed_sampler=False,
        sync_batchnorm=t.sync_batch_norm,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        logger=[CSVLogger(output, name="csv"), TensorBoardLogger(output, name="tensorboard", version="")],
        default_root_dir=output,
    )


def _strategy(name: str, processes: int, cuda: bool) -> str | Strategy:
    if name == "fsdp":
        return sharded_strategy(processes)
    if processes == 1 and name == "auto":
        return "auto"
    return DDPStrategy(process_group_backend="nccl" if cuda and name != "ddp_gloo" else "gloo")


def _provenance(config: TrainConfig, source: Source, teacher: Teacher | CachedTeacher | None) -> dict[str, Any]:
    from srkd_ros import __version__

    provenance: dict[str, Any] = {
        "program": f"srkd_ros {__version__}",
        "git": git_revision(),
        "dataset": {
            "kind": config.data.kind,
            "root": Path(config.data.root).name,  # no paths of this machine in a file that travels
            "split": config.data.train,
            "scans": len(source),
            "label_share": config.data.label_share,
        },
        "losses": plain(config.losses),
        "seed": config.seed,
    }
    if config.data.sensor_height:
        provenance["sensor_height"] = config.data.sensor_height
    if teacher is not None:
        provenance["teacher"] = {
            "file": teacher.file.name,
            "sha256": teacher.hash,
            "metrics": teacher.manifest.provenance.get("metrics", {}),
        }
    return provenance
