# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The settings of a training run: typed dataclasses, filled from a YAML recipe and `--key.sub value` on top of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from srkd_ros.errors import ConfigError
from srkd_ros.network.config import PointTransformerConfig, preset
from srkd_ros.student import Preprocessing
from srkd_train.ranges import TERMS, check_numbers

# A network is a preset and the fields that differ from it; None means the preset's value. `in_channels` and
# `num_classes` follow from preprocessing.features and the label set.
_OWN = [f for f in dataclasses.fields(PointTransformerConfig) if f.name not in ("in_channels", "num_classes")]
_TYPES: dict[str, Any] = {
    "tuple[int, ...]": tuple[int, ...],
    "tuple[bool, ...]": tuple[bool, ...],
    "tuple[str, ...]": tuple[str, ...],
    "int": int,
    "float": float,
    "float | None": float,
    "bool": bool,
    "str": str,
}
_NetworkOverrides = dataclasses.make_dataclass(
    "_NetworkOverrides", [("preset", str, "nano")] + [(f.name, _TYPES[str(f.type)] | None, None) for f in _OWN]
)


class NetworkConfig(_NetworkOverrides):  # type: ignore[valid-type, misc]
    """A preset (nano, litept-s, litept-b, litept-l, ptv3-half, ptv3, ptv3-xl) and the fields that differ from it."""

    def build(self, in_channels: int, num_classes: int) -> PointTransformerConfig:
        changed = {f.name: getattr(self, f.name) for f in _OWN if getattr(self, f.name) is not None}
        changed = {k: tuple(v) if isinstance(v, list) else v for k, v in changed.items()}
        return preset(self.preset, in_channels=in_channels, num_classes=num_classes, **changed)


@dataclass
class DataConfig:
    """Where scans come from, and in what portions."""

    kind: str = "semantic_kitti"  # a dataset of srkd_train.datasets
    root: str = "data"
    labels: str = ""  # label set: a shipped name or a YAML file; empty: the dataset's own
    train: str = "train"  # split
    val: str = "val"  # split
    options: dict[str, Any] = field(default_factory=dict)  # further settings of the dataset
    unlabelled: list[str] = field(default_factory=list)  # bags (or folders of them) to distil without ground truth
    unlabelled_topic: str = ""  # PointCloud2 topic in those bags; empty: the only one
    unlabelled_scale: float = 0.0  # raw intensity in those bags that counts as 1.0; 0: found from the values
    label_share: float = 1.0  # share of the training scans whose labels are used, evenly spread
    keep_unlabelled: bool = False  # the other scans: left out, or kept without their labels (for distillation)
    batch_size: int = 4  # scans a process and step
    workers: int = 2  # loader processes; 0 reads in the training process
    on_corrupt: Literal["refuse", "skip"] = "refuse"  # a scan or bag that cannot be read: stop, or name, count, skip
    validation_scans: int = 0  # evenly spread scans of `val` to validate on; 0 all
    sensor_height: float = 0.0  # metres above the ground, told to the robot; 0: it is estimated from the lowest points


@dataclass
class AugmentConfig:
    """Random changes to training scans, made on the training device."""

    rotate_z: float = 180.0  # degrees either way
    scale: tuple[float, float] = (0.9, 1.1)
    flip: float = 0.5  # probability of mirroring x, and of mirroring y
    jitter: float = 0.005  # metres, standard deviation
    jitter_clip: float = 0.02  # metres
    shift_z: float = 0.0  # metres either way: other mounting heights
    drop: float = 0.0  # largest share of points left out of a scan
    sector: float = 360.0  # degrees around the sensor that are kept of a scan: cheaper steps, and more of them
    intensity_gain: float = 0.0  # largest relative change of a scan's intensities
    mix_prob: float = 0.0  # probability that the batch's scans are merged in pairs (Mix3D)


@dataclass
class OptimizerConfig:
    """AdamW under a one-cycle schedule."""

    lr: float = 0.002  # peak
    weight_decay: float = 0.005
    block_lr_factor: float = 0.1  # on parameters of the blocks of encoder and decoder (Pointcept's setting)
    warmup: float = 0.04  # share of the steps in which the rate rises
    initial_divisor: float = 10.0  # lr / initial_divisor is the first rate
    final_divisor: float = 100.0  # the first rate / final_divisor is the last


@dataclass
class TrainerConfig:
    """Length, machines, precision, saving."""

    epochs: int = 50  # passes over the training set
    max_steps: int = 0  # optimiser steps; 0: by epochs
    accumulate: int = 1  # batches an optimiser step
    precision: Literal["32", "bf16", "fp16"] = "32"  # bf16 and fp16 are mixed: weights and losses stay float32
    gradient_clip: float = 1.0  # largest norm; 0: none
    recompute: bool = False  # compute blocks again for the gradient instead of keeping what they made: less memory
    ema: float = 0.0  # decay of an exponential moving average of the weights, e.g. 0.999; 0: none
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 0  # a machine; 0: all GPUs, or one CPU process
    nodes: int = 1  # machines, under torchrun or SLURM
    strategy: Literal["auto", "ddp", "ddp_gloo", "fsdp"] = "auto"
    batch_norm_momentum: float = 0.01  # PTv3's, for long runs; a few hundred steps want 0.1
    sync_batch_norm: bool = False  # one normalisation over all GPUs
    threads: int = 0  # of torch on CPU; 0: torch's choice
    convolution: Literal["own", "spconv"] = "own"  # kernels; spconv's need the cu120 or cu126 extra
    validate_every: int = 1  # epochs
    save_every: int = 200  # optimiser steps between checkpoints to resume from
    log_every: int = 10  # optimiser steps


@dataclass
class TaskLossConfig:
    """Losses from ground truth. A weight of 0 costs nothing."""

    cross_entropy: float = 1.0
    lovasz: float = 1.0
    smoothing: float = 0.0  # of labels in the cross-entropy
    class_weights: Literal["none", "inverse-sqrt"] = "none"  # in the cross-entropy, from the frequencies in training


@dataclass
class KlConfig:
    """L_kd on logits."""

    weight: float = 0.3
    temperature: float = 2.0
    reverse: bool = False  # KL(student || teacher), the paper's direction
    per_point: bool = False  # a voxel counts as often as it has points


@dataclass
class AffinityConfig:
    """L_point or L_voxel: relations within cylindrical supervoxels."""

    weight: float = 0.0
    stage: int = 0  # decoder stage whose features are compared, 0 the finest
    count: int = 16  # supervoxels a scan
    size: int = 64  # points or voxels a supervoxel
    cell: tuple[float, float, float] = (12.5, 60.0, 1.5)  # metres outward, degrees around, metres up
    extent: tuple[float, float] = (50.0, 6.0)  # metres outward and up, in the sampling weight
    normalise: bool = True
    weighting: Literal["mean-one", "paper", "none"] = "mean-one"


@dataclass
class ChannelConfig:
    """L_channel: distributions of features over points or channels."""

    weight: float = 0.0
    source: Literal["logits", "features"] = "logits"  # features pass an adapter first
    stage: int = 0  # decoder stage, for features
    temperature: float = 1.0
    over: Literal["points", "channels"] = "points"
    points: bool = True  # the term summed over points
    voxels: bool = True  # the term summed over voxels
    voxel_reduction: Literal["mean", "sum"] = (
        "mean"  # of the latter, over channels; sum: of a scan's voxels, as printed
    )
    reverse: bool = False


@dataclass
class CrossSampleConfig:
    """L_cross: relations between scans of a batch."""

    weight: float = 0.0
    stage: int = 0  # decoder stage
    points: int = 1024  # a scan
    temperature: float = 0.1
    pairs: Literal["unordered", "ordered", "all"] = "unordered"
    across_ranks: bool = False  # pairs with the scans of other processes too
    reverse: bool = False


@dataclass
class FeatureConfig:
    """L_feature: the teacher's features through linear adapters."""

    weight: float = 0.0
    stages: tuple[int, ...] = (0, 1, 2, 3)  # decoder stages; those that either network lacks are left out
    normalise: bool = True


@dataclass
class DistillLossConfig(TaskLossConfig):
    """All terms of SRKD. The paper's weights are 0.3, 1e-3, 1e-3, 1000 and 0.1; ours are scaled for our forms."""

    kl: KlConfig = field(default_factory=KlConfig)
    point_affinity: AffinityConfig = field(default_factory=AffinityConfig)
    voxel_affinity: AffinityConfig = field(default_factory=AffinityConfig)
    channel: ChannelConfig = field(default_factory=ChannelConfig)
    cross_sample: CrossSampleConfig = field(default_factory=CrossSampleConfig)
    feature: FeatureConfig = field(default_factory=FeatureConfig)
    fade: tuple[float, float] = (1.0, 1.0)  # shares of the run between which all terms but kl sink to 0; [1, 1]: never


@dataclass
class TeacherConfig:
    """The frozen teacher."""

    file: str = ""  # a student file (.safetensors) of this program, trained or imported
    precision: Literal["auto", "32", "bf16"] = "auto"  # auto: bf16 on GPUs
    cache: str = ""  # folder for its outputs on unaugmented scans; empty: it runs on every augmented batch
    cache_features: bool = False  # also cache the finest decoder features, which the relation terms need


@dataclass
class TrainConfig:
    """A supervised run: a teacher, or a student without one."""

    output: str = "runs/train"  # folder of logs, checkpoints and student.safetensors
    seed: int = 0
    resume: bool = False  # continue the run in `output` from its last checkpoint
    init: str = ""  # student file whose weights to start from
    data: DataConfig = field(default_factory=DataConfig)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    losses: TaskLossConfig = field(default_factory=TaskLossConfig)


@dataclass
class DistillConfig(TrainConfig):
    """A distillation run."""

    output: str = "runs/distill"
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    losses: DistillLossConfig = field(default_factory=DistillLossConfig)


def check(config: TrainConfig) -> None:
    """ConfigError for values that have the right type and make no sense; the key is named."""
    check_numbers(config)
    if config.trainer.strategy == "fsdp" and config.trainer.precision == "fp16":
        raise ConfigError("trainer.precision: fp16 does not go with fsdp; take bf16, or ddp")
    if config.trainer.strategy == "fsdp" and config.trainer.sync_batch_norm:
        raise ConfigError("trainer.sync_batch_norm: does not go with fsdp; set it to false, or take ddp")
    if not config.augment.scale[0] <= config.augment.scale[1]:
        raise ConfigError(f"augment.scale: {list(config.augment.scale)} is not a rising pair of factors")
    if config.data.label_share == 0 and not config.data.keep_unlabelled:
        raise ConfigError("data.label_share: 0 leaves no scans; set data.keep_unlabelled to distil without labels")
    _check_losses(config.losses)
    if not _teaches(config.losses):
        for key in ("unlabelled", "keep_unlabelled"):
            if getattr(config.data, key):
                raise ConfigError(
                    f"data.{key}: without labels a scan teaches nothing in a supervised run; leave this out, or take "
                    f"srkd-train distill with a loss of the teacher (losses.kl.weight, say)"
                )


def _teaches(losses: TaskLossConfig) -> bool:
    """Whether any term needs a teacher."""
    return isinstance(losses, DistillLossConfig) and any(getattr(losses, term).weight for term in TERMS)


def _check_losses(losses: TaskLossConfig) -> None:
    weights = {"cross_entropy": losses.cross_entropy, "lovasz": losses.lovasz}
    if isinstance(losses, DistillLossConfig):
        weights |= {f"{term}.weight": getattr(losses, term).weight for term in TERMS}
        if losses.channel.weight and not (losses.channel.points or losses.channel.voxels):
            raise ConfigError("losses.channel: neither points nor voxels to sum over; set one, or the weight to 0")
        if losses.channel.weight and losses.channel.voxel_reduction == "sum" and losses.channel.over == "points":
            raise ConfigError("losses.channel.voxel_reduction: sum goes with over: channels alone")
    if not any(weights.values()):
        raise ConfigError(f"losses: {', '.join(weights)} are all 0; raise one, or there is nothing to learn")
    if isinstance(losses, DistillLossConfig):
        begin, end = losses.fade
        if begin > end:
            raise ConfigError(f"losses.fade: {list(losses.fade)} is not a rising pair of shares")
        if end < 1 and not any(weights[kept] for kept in ("cross_entropy", "lovasz", "kl.weight")):
            raise ConfigError("losses.fade: nothing is left to learn at the end; raise losses.kl.weight or take [1, 1]")
