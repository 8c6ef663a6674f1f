# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The best, the median and the worst cloud of a run, labelled again and drawn from above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srkd_ros import pointcloud2
from srkd_ros.errors import CloudError
from srkd_ros.replay import birdseye, legend
from srkd_ros.replay.results import read_table, replacing, write_json
from srkd_ros.replay.source import CloudRecord
from srkd_ros.replay.table import percent
from srkd_ros.replay.truth import translation
from srkd_ros.replay.truth_ids import class_ids

if TYPE_CHECKING:
    from srkd_ros.replay.pipeline import Run


MEASURES = {"miou": "mIoU", "agreement": "agreement with the teacher (mIoU)", "confidence": "mean confidence"}


@dataclass
class Frame:
    """One cloud's pictures by caption, in the order to show them."""

    title: str  # "best", "median", "worst"
    score: float | None
    measure: str  # what the score is: a key of MEASURES
    index: int
    seconds: float  # since the run's first cloud
    half: float  # metres from the middle to the picture's side
    pictures: list[tuple[str, bytes]] = field(default_factory=list)  # (caption, PNG with a legend below its square)

    @property
    def about(self) -> str:
        """Which cloud this is, and how far the picture reaches."""
        score = f", {MEASURES[self.measure]} {percent(self.score)} %" if self.score is not None else ""
        scale = f"{2 * self.half:.0f} m wide, rings every {birdseye.ring_step(self.half):.0f} m"
        return f"cloud {self.index}, {self.seconds:.1f} s, {scale}{score}"

    def file(self, caption: str) -> str:
        return f"{self.title}_{caption.replace(' ', '_').replace('/', '_')}.png"

    def to_dict(self) -> dict[str, Any]:
        """For pictures/index.json: the pictures are named, not included."""
        files = {caption: self.file(caption) for caption, _ in self.pictures}
        return {**{k: v for k, v in vars(self).items() if k != "pictures"}, "pictures": files}

    @classmethod
    def from_dict(cls, data: dict[str, Any], folder: Path) -> Frame:
        pictures = [(caption, (folder / file).read_bytes()) for caption, file in data["pictures"].items()]
        return cls(**{**data, "pictures": pictures})


def chosen_frames(run: Run) -> list[Frame]:
    """Frames of a run, by the first model's score; their pictures are also kept in `pictures/`."""
    rows = [r for r in read_table(run.folder / "clouds.csv") if r["model"] == run.models[0].name]
    measure = next((m for m in MEASURES if any(r[m] for r in rows)), "confidence")
    ranked = sorted((r for r in rows if r[measure]), key=lambda r: float(r[measure]), reverse=True) or rows
    picks = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1} if len(ranked) > 2 else {}
    picks = picks or dict(zip(("best", "worst"), range(len(ranked)), strict=False))
    frames = []
    for title, place in picks.items():
        row = ranked[place]
        cloud = run.source.again(*(int(row[k]) for k in ("index", "input", "stamp_ns", "log_time_ns")))
        if cloud is None:
            continue
        seconds = (cloud.stamp - (run.state.first_stamp or 0)) * 1e-9
        score = float(row[measure]) if row[measure] else None
        frame = Frame(title, score, measure, cloud.index, seconds, 0.0)
        try:
            _draw(run, frame, cloud)
        except CloudError:
            continue
        frames.append(frame)
    folder = run.folder / "pictures"
    folder.mkdir(exist_ok=True)
    for frame in frames:
        for caption, png in frame.pictures:
            with replacing(folder / frame.file(caption), "wb") as file:
                file.write(png)
    write_json(folder / "index.json", [frame.to_dict() for frame in frames])
    return frames


def _draw(run: Run, frame: Frame, cloud: CloudRecord) -> None:
    message = cloud.message()
    points = pointcloud2.read(message, run.options.intensity_field)
    frame.half = birdseye.extent(points.xyz)
    values = run.truth(cloud, message)
    taught = run.teacher.labeller(cloud, message, points) if run.teacher else None

    def add(caption: str, colors: np.ndarray, entries: Sequence[legend.Entry]) -> None:
        image = birdseye.draw(points.xyz, colors, frame.half)
        title = f"{caption.capitalize()}, {frame.title} cloud of {run.source.inputs[cloud.input].path.name}"
        frame.pictures.append((caption, birdseye.png(legend.with_legend(image, title, frame.about, entries))))

    for model in run.models:
        output = model.labeller(cloud, message, points)
        if output is None:
            continue
        of = f" {model.name}" if len(run.models) > 1 else ""
        reference = None
        if values is not None:
            reference = class_ids(values, run.truth.ids, model.labels)
        elif taught is not None and run.teacher is not None:
            reference = translation(run.teacher.labels, model.labels)[taught.labels]
        shown = legend.of_classes(model.labels, output.labels)
        add(f"prediction{of}", birdseye.by_class(output.labels, model.labels.palette), shown)
        if reference is None:
            add(f"confidence{of}", birdseye.by_confidence(output.labels, output.confidence), legend.of_confidence())
            continue
        if model is run.models[0]:
            shown = legend.of_classes(model.labels, reference)
            add("truth" if values is not None else "teacher", birdseye.by_class(reference, model.labels.palette), shown)
        add(f"error{of}", birdseye.by_error(output.labels, reference), legend.of_errors())
