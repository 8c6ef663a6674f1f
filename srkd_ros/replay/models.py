# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What a run is asked to do (Options) and the students it evaluates (Model)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from srkd_ros import pointcloud2
from srkd_ros.errors import CloudError
from srkd_ros.intensity import IntensityScale
from srkd_ros.labels import LabelSet
from srkd_ros.replay.evaluation import Evaluation
from srkd_ros.replay.labeller import Labeller, Offline
from srkd_ros.replay.source import Selection, Source
from srkd_ros.segmenter import Segmenter
from srkd_ros.student import unique_names

_SCALE_CLOUDS = 10  # clouds from which "auto" finds the intensity scale, the same for every shard


@dataclass
class Options:
    """What the command line says."""

    inputs: Sequence[Path]
    models: Sequence[Path]
    topic: str | None = None
    truth: str | None = None
    truth_ids: str | None = None
    teacher: Path | None = None
    output: Path = Path("results")
    selection: Selection = field(default_factory=Selection)
    device: str = "auto"
    runtime: str = "auto"
    precision: str = "auto"
    intensity_scale: str | float = "auto"
    intensity_field: str = "auto"
    bag: bool = True
    resume: bool = False
    rerun: str | None = None
    realtime: bool = False
    rate: float = 1.0


@dataclass
class Model:
    """A student under evaluation."""

    name: str
    segmenter: Segmenter
    labeller: Labeller
    evaluation: Evaluation
    topic: str  # of its labels in the labelled bag

    @property
    def labels(self) -> LabelSet:
        return self.segmenter.labels


def load_models(options: Options, source: Source) -> list[Model]:
    """Load every --model, with one intensity scale for the whole run."""
    scale = find_intensity_scale(options, source)
    names = unique_names(options.models)
    models = []
    for name, path in zip(names, options.models, strict=True):
        segmenter = Segmenter.load(path, options.runtime, options.device, scale, options.precision)
        topic = "/segmented" if len(names) == 1 else f"/{topic_name(name)}/segmented"
        spec = segmenter.manifest.preprocessing
        limits = (spec.min_range, spec.max_range)
        evaluation = Evaluation(segmenter.labels, segmenter.manifest.statistics, limits)
        models.append(Model(name, segmenter, Offline(segmenter, options.bag), evaluation, topic))
    return models


def load_teacher(options: Options, source: Source) -> Model | None:
    if options.teacher is None:
        return None
    scale = find_intensity_scale(options, source)
    exact = "fp32" if options.teacher.suffix == ".safetensors" else "auto"  # what others are held against
    segmenter = Segmenter.load(options.teacher, options.runtime, options.device, scale, exact)
    return Model(options.teacher.stem, segmenter, Offline(segmenter, False), Evaluation(segmenter.labels), "")


def find_intensity_scale(options: Options, source: Source) -> str | float:
    """The fixed scale that "auto" finds on the first clouds: shards and resumed runs must not each find their own."""
    if options.intensity_scale != "auto":
        return options.intensity_scale
    scale = IntensityScale("auto")
    whole = Source(source.inputs, Selection(limit=_SCALE_CLOUDS))
    for cloud in islice(whole, _SCALE_CLOUDS):
        try:
            points = pointcloud2.read(cloud.message(), options.intensity_field)
        except CloudError:
            continue
        if points.intensity is not None and len(points.intensity):
            scale(points.intensity, points.intensity_full_scale)
    return scale.resolved or "auto"


def topic_name(name: str) -> str:
    """A model's name as a ROS topic name: letters, digits and underscores, not beginning with a digit."""
    text = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
    return f"m{text}" if text[:1].isdigit() else text
