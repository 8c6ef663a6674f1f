# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The numbers that make sense, by key: what the types of a configuration cannot say."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from srkd_ros.errors import ConfigError


class Range(NamedTuple):
    """Numbers that are `said`; `holds` is false for NaN. Infinity is in no range."""

    said: str
    holds: Callable[[float], bool]


POSITIVE = Range("positive", lambda v: v > 0)
NOT_NEGATIVE = Range("0 or more", lambda v: v >= 0)
TWO_OR_MORE = Range("2 or more", lambda v: v >= 2)
SHARE = Range("between 0 and 1", lambda v: 0 <= v <= 1)
BELOW_ONE = Range("0 or more and below 1", lambda v: 0 <= v < 1)
ANGLE = Range("an angle up to 360 degrees", lambda v: 0 < v <= 360)
SEED = Range("between 0 and 4294967295", lambda v: 0 <= v < 2**32)  # numpy's limit
VOXEL = Range("0.001 m or more", lambda v: v >= 1e-3)  # a voxel's place has 16 bits an axis: finer ones end within 65 m

_LEVELS = ("encoder", "decoder")
_TEMPERED = ("kl", "channel", "cross_sample")
_STAGED = ("point_affinity", "voxel_affinity", "channel", "cross_sample")
_AFFINITIES = ("point_affinity", "voxel_affinity")
TERMS = ("kl", "point_affinity", "voxel_affinity", "channel", "cross_sample", "feature")
"""Loss terms that need a teacher."""

RANGES = {
    "seed": SEED,
    "data.unlabelled_scale": NOT_NEGATIVE,
    "data.label_share": SHARE,
    "data.batch_size": POSITIVE,
    "data.workers": NOT_NEGATIVE,
    "data.validation_scans": NOT_NEGATIVE,
    "data.sensor_height": NOT_NEGATIVE,
    "preprocessing.voxel_size": VOXEL,
    "preprocessing.min_range": NOT_NEGATIVE,
    "preprocessing.max_range": POSITIVE,
    **{f"network.{level}_channels": POSITIVE for level in _LEVELS},
    **{f"network.{level}_depths": NOT_NEGATIVE for level in _LEVELS},
    **{f"network.{level}_heads": POSITIVE for level in _LEVELS},
    "network.stem_kernel": POSITIVE,
    "network.mlp_ratio": POSITIVE,
    "network.patch_size": POSITIVE,
    "network.rope_base": POSITIVE,
    "network.drop_path": BELOW_ONE,
    "augment.rotate_z": NOT_NEGATIVE,
    "augment.scale": POSITIVE,
    "augment.flip": SHARE,
    "augment.jitter": NOT_NEGATIVE,
    "augment.jitter_clip": NOT_NEGATIVE,
    "augment.shift_z": NOT_NEGATIVE,
    "augment.drop": SHARE,
    "augment.sector": ANGLE,
    "augment.intensity_gain": SHARE,
    "augment.mix_prob": SHARE,
    "optimizer.lr": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.block_lr_factor": NOT_NEGATIVE,
    "optimizer.warmup": SHARE,
    "optimizer.initial_divisor": POSITIVE,
    "optimizer.final_divisor": POSITIVE,
    "trainer.epochs": POSITIVE,
    "trainer.max_steps": NOT_NEGATIVE,
    "trainer.accumulate": POSITIVE,
    "trainer.gradient_clip": NOT_NEGATIVE,
    "trainer.ema": SHARE,
    "trainer.devices": NOT_NEGATIVE,
    "trainer.nodes": POSITIVE,
    "trainer.batch_norm_momentum": SHARE,
    "trainer.threads": NOT_NEGATIVE,
    "trainer.validate_every": POSITIVE,
    "trainer.save_every": POSITIVE,
    "trainer.log_every": POSITIVE,
    "losses.cross_entropy": NOT_NEGATIVE,
    "losses.lovasz": NOT_NEGATIVE,
    "losses.smoothing": SHARE,
    "losses.fade": SHARE,
    **{f"losses.{term}.weight": NOT_NEGATIVE for term in TERMS},
    **{f"losses.{term}.temperature": POSITIVE for term in _TEMPERED},
    **{f"losses.{term}.stage": NOT_NEGATIVE for term in _STAGED},
    **{f"losses.{term}.count": POSITIVE for term in _AFFINITIES},
    **{f"losses.{term}.size": TWO_OR_MORE for term in _AFFINITIES},  # one has no relation to another
    **{f"losses.{term}.cell": POSITIVE for term in _AFFINITIES},
    **{f"losses.{term}.extent": POSITIVE for term in _AFFINITIES},
    "losses.cross_sample.points": TWO_OR_MORE,
    "losses.feature.stages": NOT_NEGATIVE,
}
"""By key; of a key with several numbers, that of each."""


def check_numbers(config: Any) -> None:
    """ConfigError naming the first key whose number is infinite, NaN or out of its range."""
    for key, value in numbers(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key}: {value} is not a finite number")
        if not RANGES[key].holds(value):
            raise ConfigError(f"{key}: {value} is not {RANGES[key].said}")


def numbers(config: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a configuration with its key; those of a dataset's own options are the dataset's to check."""
    for field in dataclasses.fields(config):
        key, value = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from numbers(value, f"{key}.")
        else:
            values = value if isinstance(value, (tuple, list)) else (value,)
            yield from ((key, v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool))
