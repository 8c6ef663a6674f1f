# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The loss of a batch: which tensors of student, teacher and batch enter which term, and with what weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srkd_ros.labels import UNLABELLED
from srkd_ros.network import Features
from srkd_train import losses
from srkd_train.batches import Batch, only_voxels
from srkd_train.config import AffinityConfig, DistillLossConfig, TaskLossConfig
from srkd_train.ranges import TERMS
from srkd_train.ranks import equal_share, gather_scans
from srkd_train.sharding import own_part
from srkd_train.teacher import TeacherOutput, ascend, representatives

FADING = tuple(term for term in TERMS if term != "kl")
"""Terms that losses.fade is about."""

_RELATION_POINTS = 50_000  # of a scan, among which the points of supervoxels are drawn: more change nothing but time


def task_terms(
    config: TaskLossConfig, logits: Tensor, batch: Batch, class_weights: Tensor | None = None
) -> dict[str, Tensor]:
    """Weighted terms from ground truth. Across processes, Lovasz is the mean of each process's own."""
    terms = {}
    if config.cross_entropy:
        share = equal_share((batch.labels != UNLABELLED).sum())
        value = losses.cross_entropy(logits, batch.labels, class_weights, config.smoothing)
        terms["cross_entropy"] = config.cross_entropy * share * value
    if config.lovasz:
        terms["lovasz"] = config.lovasz * losses.lovasz_softmax(logits, batch.labels)
    return terms


class DistillationTerms(nn.Module):
    """All terms that need the teacher. Holds the feature adapters, which are trained and never reach the student."""

    def __init__(
        self,
        config: DistillLossConfig,
        student_widths: tuple[int, ...],
        teacher_widths: tuple[int, ...],
        classes: int,
        logits_only: bool = False,
        features_only_finest: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.classes = classes
        available = 0 if logits_only else 1 if features_only_finest else min(len(student_widths), len(teacher_widths))
        if logits_only:
            said = "teacher.cache holds logits only; set teacher.cache_features, or this weight to 0"
        elif features_only_finest:
            said = "teacher.cache holds stage 0 only; set stage 0 or weight 0, or run without the cache"
        else:
            said = f"student and teacher share {available} stages, counted from 0"
        self._check_stages(available, said)
        self.stages = tuple(s for s in config.feature.stages if s < available) if config.feature.weight else ()
        adapted = set(self.stages)
        if config.channel.weight and config.channel.source == "features":
            adapted.add(config.channel.stage)
        self.adapters = nn.ModuleDict(
            {str(stage): nn.Linear(student_widths[stage], teacher_widths[stage]) for stage in sorted(adapted)}
        )

    def strength(self, progress: float) -> float:
        """Factor on the weights of all terms but KL after a share of the run: 1, and from there to 0 over `fade`."""
        begin, end = self.config.fade
        if progress < begin:
            return 1.0
        return (end - progress) / (end - begin) if progress < end else 0.0

    def active(self, strength: float = 1.0) -> bool:
        """Whether any term has a weight: without one the teacher need not run."""
        c = self.config
        return bool(c.kl.weight) or (strength > 0 and any(getattr(c, name).weight for name in FADING))

    def faded(self, student: Features) -> dict[str, Tensor]:
        """The terms that have faded: 0, for the log, and the adapters in one, as DDP waits for all gradients."""
        c = self.config
        names = [n for n in FADING if getattr(c, n).weight]
        terms = {name: student.logits.new_zeros((), dtype=torch.float32) for name in names}
        if parameters := [own_part(p).sum() for p in self.adapters.parameters()]:
            terms[names[-1]] = torch.stack(parameters).sum() * 0
        return terms

    def _check_stages(self, available: int, said: str) -> None:
        from srkd_ros.errors import ConfigError

        c = self.config
        wanted = {name: getattr(c, name).stage for name in ("point_affinity", "voxel_affinity", "cross_sample")}
        if c.channel.source == "features":
            wanted["channel"] = c.channel.stage
        for name, stage in wanted.items():
            if getattr(c, name).weight and not 0 <= stage < available:
                raise ConfigError(f"losses.{name}.stage: there is no {stage}; {said}")
        if c.feature.weight and not any(0 <= s < available for s in c.feature.stages):
            raise ConfigError(f"losses.feature.stages: none of {list(c.feature.stages)} is there; {said}")

    def forward(
        self, student: Features, teacher: TeacherOutput, batch: Batch, strength: float = 1.0
    ) -> dict[str, Tensor]:
        """Weighted terms, those that fade times `strength`; those of weight 0 are absent."""
        c = self.config
        if teacher.rows is not None:
            batch = only_voxels(batch, teacher.rows)
            finest = student.decoder[0].index_select(0, teacher.rows)
            student = Features(student.logits.index_select(0, teacher.rows), [], [finest])
        generator = torch.Generator(batch.features.device).manual_seed(batch.raw.seed + 1)
        terms: dict[str, Tensor] = {}
        if c.kl.weight:
            counts = batch.counts if c.kl.per_point else None
            rows = counts.sum() if counts is not None else torch.tensor(len(student.logits))
            value = losses.logit_kl(student.logits, teacher.logits, c.kl.temperature, c.kl.reverse, counts)
            terms["kl"] = c.kl.weight * equal_share(rows) * value
        if strength == 0:
            return terms | self.faded(student)
        fading = self._fading(student, teacher, batch, generator)
        return terms | {name: strength * value for name, value in fading.items()}

    def _fading(
        self, student: Features, teacher: TeacherOutput, batch: Batch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Weighted terms of relations and features."""
        c = self.config
        terms: dict[str, Tensor] = {}
        if c.point_affinity.weight or c.voxel_affinity.weight:
            classes = torch.where(batch.labels < self.classes, batch.labels, teacher.logits.argmax(1))
            if c.point_affinity.weight:
                cells = self._point_cells(c.point_affinity, batch, classes, generator)
                terms["point_affinity"] = self._affinity(c.point_affinity, student, teacher, cells)
            if c.voxel_affinity.weight:
                cells = self._voxel_cells(c.voxel_affinity, batch, classes, generator)
                terms["voxel_affinity"] = self._affinity(c.voxel_affinity, student, teacher, cells)
        if c.channel.weight:
            terms["channel"] = self._channel(student, teacher, batch)
        if c.cross_sample.weight:
            terms["cross_sample"] = self._cross_sample(student, teacher, batch, generator)
        if c.feature.weight:
            values = []
            for stage in self.stages:
                adapted = self.adapters[str(stage)](student.decoder[stage])
                share = equal_share(torch.tensor(len(adapted)))
                values.append(share * losses.feature(adapted, teacher.decoder[stage], c.feature.normalise))
            terms["feature"] = c.feature.weight * torch.stack(values).mean()
        return terms

    def _point_cells(
        self, config: AffinityConfig, batch: Batch, classes: Tensor, generator: torch.Generator
    ) -> losses.Supervoxels:
        voxel = batch.voxels.point_to_voxel
        points = torch.arange(len(voxel), device=voxel.device)
        limit = _RELATION_POINTS * batch.scans
        if len(points) > limit:
            points = torch.randperm(len(voxel), generator=generator, device=voxel.device)[:limit]
            voxel = voxel.index_select(0, points)
        xyz = batch.raw.xyz.index_select(0, batch.kept.index_select(0, points))
        cells = losses.sample_supervoxels(
            xyz,
            batch.voxels.batch.index_select(0, voxel),
            classes.index_select(0, voxel),
            self.classes,
            config.cell,
            config.extent,
            config.count,
            config.size,
            generator,
        )
        rows = ascend(voxel, batch.geometry, config.stage)
        missing = rows.new_full((1,), len(batch.geometry.levels[config.stage]))
        return losses.Supervoxels(torch.cat([rows, missing])[cells.members], cells.weights)

    def _voxel_cells(
        self, config: AffinityConfig, batch: Batch, classes: Tensor, generator: torch.Generator
    ) -> losses.Supervoxels:
        level = batch.geometry.levels[config.stage]
        first = representatives(batch.geometry, config.stage)
        points = batch.kept.index_select(0, batch.voxels.first_point.index_select(0, first))
        return losses.sample_supervoxels(
            batch.raw.xyz.index_select(0, points),
            level.batch,
            classes.index_select(0, first),
            self.classes,
            config.cell,
            config.extent,
            config.count,
            config.size,
            generator,
        )

    @staticmethod
    def _affinity(
        config: AffinityConfig, student: Features, teacher: TeacherOutput, cells: losses.Supervoxels
    ) -> Tensor:
        s, t = student.decoder[config.stage], teacher.decoder[config.stage]
        value = losses.affinity(s, t, cells, config.normalise, config.weighting)
        return config.weight * equal_share(torch.tensor(len(cells.members))) * value

    def _channel(self, student: Features, teacher: TeacherOutput, batch: Batch) -> Tensor:
        c = self.config.channel
        if c.source == "logits":
            s, t, level = student.logits, teacher.logits, 0
        else:
            level = c.stage
            s, t = self.adapters[str(level)](student.decoder[level]), teacher.decoder[level]
        index = batch.geometry.levels[level].batch
        value = s.new_zeros((), dtype=torch.float32)
        forms = [None] * c.voxels + [True] * c.points
        for weighted in forms:
            counts = None
            if weighted:
                rows = ascend(batch.voxels.point_to_voxel, batch.geometry, level)
                counts = torch.bincount(rows, minlength=len(s))
            reduction = "mean" if weighted else c.voxel_reduction
            by_scan = c.over == "points" or reduction == "sum"
            total = torch.tensor(batch.scans if by_scan else len(s) if counts is None else len(rows))
            value = value + equal_share(total) * losses.channel(
                s, t, index, batch.scans, c.temperature, c.over, counts, c.reverse, reduction
            )
        return c.weight * value

    def _cross_sample(
        self, student: Features, teacher: TeacherOutput, batch: Batch, generator: torch.Generator
    ) -> Tensor:
        c = self.config.cross_sample
        level = batch.geometry.levels[c.stage]
        filled = torch.tensor([n > 0 for n in level.counts])
        number = (filled.cumsum(0) - 1).to(level.batch.device)  # of each scan among those with voxels
        rows = losses.sample_rows(number.index_select(0, level.batch), int(filled.sum()), c.points, generator)
        # Every size is named: of no rows at all, as from a cache without an answer, none could be inferred.
        s, t = (
            x.index_select(0, rows.view(-1)).view(*rows.shape, x.shape[1])
            for x in (student.decoder[c.stage], teacher.decoder[c.stage])
        )
        if not c.across_ranks:
            return c.weight * losses.cross_sample(s, t, c.temperature, c.pairs, c.reverse)
        s, t, ranks = gather_scans(s, t)
        value = losses.cross_sample(s, t, c.temperature, c.pairs, c.reverse)
        # Every rank holds the whole term and the gradient of its own scans; the mean over ranks would divide that.
        return c.weight * (ranks * value - (ranks - 1) * value.detach())
