# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""One run of srkd-replay: open, label, measure, write. `replay` reads as the list of these steps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from srkd_ros import pointcloud2
from srkd_ros.errors import CloudError, ConfigError, DataError
from srkd_ros.replay import rerun_view, results
from srkd_ros.replay.document import describe
from srkd_ros.replay.evaluation import CONSISTENCY_GAP
from srkd_ros.replay.fields import check_fields
from srkd_ros.replay.labelled_bag import LabelledBag, NoBag
from srkd_ros.replay.labeller import Labelled
from srkd_ros.replay.models import Model, Options, load_models, load_teacher
from srkd_ros.replay.progress import Interrupts, cloud_bar
from srkd_ros.replay.run_folder import Progressed, begin, removed_if_nothing_was_evaluated
from srkd_ros.replay.source import CloudRecord, Source, open_source
from srkd_ros.replay.truth import Truth, find_truth, translation
from srkd_ros.replay.truth_ids import class_ids, count_ids

if TYPE_CHECKING:
    from srkd_ros.replay.realtime import LiveResult

CHECKPOINT_SECONDS = 120.0


def replay(options: Options, console: Console) -> Path:
    """Label and measure; returns the run's folder. KeyboardInterrupt leaves it ready for --resume."""
    if options.realtime and (options.resume or options.selection.shard != (0, 1)):
        raise ConfigError("--realtime plays the whole selection in one go: leave out --shard and --resume")
    if options.rerun is not None:
        results.check_target("--rerun", options.rerun)
        rerun_view.sdk()  # a missing package is better known before an hour's work than after it
    source = open_source(options.inputs, options.topic, options.selection)
    truth = find_truth(options.truth, source, options.truth_ids)
    check_fields(options, source, truth)
    models = load_models(options, source)
    teacher = load_teacher(options, source)
    folder, state = begin(options, source, models, teacher, console)
    run = Run(options, source, truth, models, teacher, folder, state)
    with removed_if_nothing_was_evaluated(folder, state):
        _evaluate(run, console)
    document = describe(run)
    results.write_json(folder / "metrics.json", document)
    run.write_report(document, console)
    return folder


def _evaluate(run: Run, console: Console) -> None:
    options = run.options
    if options.realtime:
        from srkd_ros.replay.realtime import go_live

        go_live(run, console)
    run.label(console)
    if not run.state.done and options.selection.shard == (0, 1):
        raise DataError(f"{options.inputs[0]}: no cloud is left by --start, --end and --every")
    if run.state.unreadable == run.state.done and options.selection.shard == (0, 1):  # of shards, merge says it
        raise DataError(f"{options.inputs[0]}: no cloud could be evaluated; first: {run.state.first_unreadable}")


@dataclass
class Answers:
    """What everyone says about one cloud."""

    message: Any
    points: pointcloud2.Cloud
    decoding: float  # ms
    truth: np.ndarray | None
    taught: Labelled | None
    outputs: list[Labelled | None]


@dataclass
class Run:
    """Everything of a run, once its inputs are open."""

    options: Options
    source: Source
    truth: Truth
    models: list[Model]
    teacher: Model | None
    folder: Path
    state: Progressed
    live: dict[str, LiveResult] | None = None  # by model, what realtime mode measured

    def label(self, console: Console) -> None:
        """Label every selected cloud, with a progress bar; checkpoints on the way and when interrupted."""
        bag = self._open_bag()
        table = results.CloudTable(self.folder, self.state.next_index or None)
        if not self.options.realtime:
            for model in [*self.models, *([self.teacher] if self.teacher else [])]:
                model.segmenter.warm_up()
        title = "evaluating" if self.options.realtime else "labelling"
        first, saved = self.state.next_index, time.monotonic()
        started = time.monotonic() - self.state.seconds
        start, led = max(first, self.source.block.start), False
        lead = round(CONSISTENCY_GAP * 1e9)
        whole = True  # whether the last cloud is counted everywhere
        try:
            with cloud_bar(console) as progress, Interrupts() as interrupts:
                task = progress.add_task(title, total=self.source.expected(), completed=self.state.done)
                for cloud in self.source.clouds(first, lead, self.state.done):
                    if cloud.index < start:
                        led = led or self._lead(cloud)
                        continue
                    whole = False
                    self._one(cloud, bag, table)
                    whole = True
                    interrupts.check()
                    progress.update(task, completed=self.state.done)
                    self.state.seconds = time.monotonic() - started
                    if time.monotonic() - saved > CHECKPOINT_SECONDS:
                        self.checkpoint(bag, table)
                        saved = time.monotonic()
                progress.update(task, total=self.state.done)
            self.state.complete = True
        finally:
            if whole:
                self.checkpoint(bag, table)
            table.close()

    def _open_bag(self) -> LabelledBag | NoBag:
        if not self.options.bag or self.options.realtime:  # the live recorder has written it
            return NoBag()
        return LabelledBag(self.folder, {m.topic: m.labels for m in self.models}, self.state.parts)

    def checkpoint(self, bag: LabelledBag | NoBag, table: results.CloudTable) -> None:
        table.flush()
        self.state.parts = bag.checkpoint()
        results.Checkpoint(self.folder).save([m.evaluation.arrays for m in self.models], vars(self.state))

    def _answers(self, cloud: CloudRecord) -> Answers:
        begin = time.perf_counter()
        message = cloud.message()
        points = pointcloud2.read(message, self.options.intensity_field)
        decoding = (time.perf_counter() - begin) * 1e3
        truth = self.truth(cloud, message)
        taught = None if self.teacher is None else self.teacher.labeller(cloud, message, points)
        return Answers(
            message, points, decoding, truth, taught, [m.labeller(cloud, message, points) for m in self.models]
        )

    def _lead(self, cloud: CloudRecord) -> bool:
        """Prepare to compare the next cloud with this one; False where the unsplit run leaves it out, too."""
        try:
            a = self._answers(cloud)
        except CloudError:
            return False
        for model, output in zip(self.models, a.outputs, strict=True):
            if output is not None:
                model.evaluation.lead(a.points.xyz, output.labels, cloud.input, cloud.stamp)
        return True

    def _one(self, cloud: CloudRecord, bag: LabelledBag | NoBag, table: results.CloudTable) -> None:
        self.state.backward_stamps += cloud.backward
        try:
            a = self._answers(cloud)
        except CloudError as error:
            self._skip(cloud, str(error))
            return
        points = a.points
        self.state.without_truth += a.truth is None
        ids = 0 if a.truth is None else count_ids(a.truth, self.truth.ids)
        for model, output in zip(self.models, a.outputs, strict=True):
            if output is None:
                self.state.dropped += 1
                continue
            if "total" in output.timings:
                output.timings["decode"] = a.decoding
                output.timings["total"] += a.decoding
            scale, agreed = model.segmenter.resolved_intensity_scale, None
            if a.taught is not None and self.teacher is not None:
                agreed = translation(self.teacher.labels, model.labels)[a.taught.labels]
            scores = model.evaluation.add(
                points.xyz,
                output.labels,
                output.confidence,
                stream=cloud.input,
                stamp=cloud.stamp,
                intensity=points.intensity / np.float32(scale) if points.intensity is not None and scale else None,
                truth=None if a.truth is None else class_ids(a.truth, self.truth.ids, model.labels),
                teacher=agreed,
                timings=output.timings,
                voxels=output.voxels,
            )
            model.evaluation.truth_ids += ids
            bag.write(model.topic, cloud.log_time, output.encoded)
            table.add(
                index=cloud.index,
                input=cloud.input,
                stamp_ns=cloud.stamp,
                log_time_ns=cloud.log_time,
                model=model.name,
                points=len(points.xyz),
                voxels=output.voxels,
                total_ms=output.timings.get("total", output.timings.get("end_to_end")),
                **vars(scores),
            )
        self._count(cloud, a.message, points)

    def _count(self, cloud: CloudRecord, message: Any, points: pointcloud2.Cloud) -> None:
        s = self.state
        s.next_index, s.done, s.points = cloud.index + 1, s.done + 1, s.points + len(points)
        if len(points):
            s.without_intensity += points.intensity is None
            s.fields = s.fields or [f.name for f in message.fields]
        s.first_stamp = cloud.stamp if s.first_stamp is None else s.first_stamp
        span = s.spans.setdefault(str(cloud.input), [cloud.elapsed, cloud.elapsed])
        span[1] = cloud.elapsed
        s.last_stamp, s.frame_id = cloud.stamp, message.header.frame_id

    def _skip(self, cloud: CloudRecord, why: str) -> None:
        s = self.state
        s.next_index, s.done, s.unreadable = cloud.index + 1, s.done + 1, s.unreadable + 1
        for live in (self.live or {}).values():
            live.refuse(cloud.stamp)
        name = f"cloud {cloud.index}" + (f" ({cloud.name})" if cloud.name else "")
        s.first_unreadable = s.first_unreadable or f"{name}: {why}"

    def write_report(self, document: dict[str, Any], console: Console) -> None:
        """Pictures, report.html, the Rerun recording if asked for, and at last the link to this run."""
        from srkd_ros.replay.frames import chosen_frames
        from srkd_ros.replay.report import write_report

        with console.status("drawing the report"):
            frames = chosen_frames(self)
            write_report(self.folder, document, frames)
        if self.options.rerun is not None:
            rerun_view.show(self, self.options.rerun)
        results.link_latest(self.folder)
