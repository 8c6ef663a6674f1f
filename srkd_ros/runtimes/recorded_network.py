# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""A network recorded as CUDA graphs: its hundreds of kernels are launched as one, which a GPU otherwise waits for.

A recording has fixed shapes. Clouds are copied into tables of a capacity somewhat above their size, whose further rows
nothing reads; a cloud of quite another size gets a recording of its own.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import torch
from torch import Tensor

from srkd_ros.geometry import Geometry, GeometrySpec
from srkd_ros.geometry.tables import geometry_of, split_name, stored_table
from srkd_ros.gpu.capture import capture
from srkd_ros.network import PointTransformer
from srkd_ros.runtimes.graph import table_names

_SPARE = 1.15  # capacity over the voxels of the cloud that it is made for
_STEP = 64  # capacities are multiples
_WASTE = 2.0  # a recording serves clouds of at least its capacity over this
_KEPT = 3  # recordings, each with memory of its own
_PATIENCE = 2  # recordings that fail before there are no more

_log = logging.getLogger("srkd_ros.recorded_network")

Record = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]


class RecordedNetwork:
    """Logits [V, classes] of features [V, C] and the geometry of one cloud, as the model gives them."""

    def __init__(self, model: PointTransformer, spec: GeometrySpec, record: Record = capture) -> None:
        self._model, self._record = model, record
        self._names = table_names(model)
        self._attends = [bool(level.orders) for level in spec.levels]
        self._patch_size = spec.patch_size
        self._recordings: list[_Recording] = []  # the last used at the end
        self._missed = False  # whether no recording held the last cloud
        self._failures = 0
        self.given_up = ""  # why there are no recordings any more, if so

    @torch.inference_mode()
    def __call__(self, features: Tensor, geometry: Geometry) -> Tensor:
        """See the class."""
        sizes = [len(level) for level in geometry.levels]
        recording = None if self.given_up else self._find(features, sizes)
        return self._model(features, geometry) if recording is None else recording.logits(features, geometry)

    def _find(self, features: Tensor, sizes: list[int]) -> _Recording | None:
        """A recording that holds such a cloud, made if the cloud before had none either: one odd cloud is worth none.

        None, once and for all, where a recording cannot be made.
        """
        recording = next((r for r in reversed(self._recordings) if r.holds(sizes)), None)
        if recording is None and not self._missed:
            self._missed = True
            return None
        self._missed = False
        if recording is None:
            try:
                recording = self._make(features, sizes)
            except RuntimeError as error:  # memory is short, above all
                self._give_up(error)
                return None
        else:
            self._recordings.remove(recording)
        self._recordings.append(recording)
        return recording

    def _give_up(self, error: RuntimeError) -> None:
        """Once may be chance."""
        self._failures += 1
        if self._failures < _PATIENCE:
            return
        self.given_up, self._recordings = (str(error).splitlines() or [type(error).__name__])[0], []
        _log.warning("the network is no longer run as a CUDA graph: %s", self.given_up)

    def forget(self) -> None:
        """Let go of all recordings and their memory; later clouds get new ones."""
        self._recordings, self._missed = [], False

    def _make(self, features: Tensor, sizes: list[int]) -> _Recording:
        narrow = [attends and size <= self._patch_size for attends, size in zip(self._attends, sizes, strict=True)]
        capacity = [-(-int(size * _SPARE) // _STEP) * _STEP for size in sizes]
        like = [r.capacity for r in self._recordings if r.narrow == narrow and r.is_like(sizes)]
        capacity = [max(of_level) for of_level in zip(capacity, *like, strict=True)]
        # The new one holds their clouds as well. Let go before the new one is made, which takes their memory.
        self._recordings = [r for r in self._recordings if r.capacity not in like][1 - _KEPT :]
        capacity = [min(n, self._patch_size) if one else n for n, one in zip(capacity, narrow, strict=True)]
        wide = [attends and not one for attends, one in zip(self._attends, narrow, strict=True)]
        least = [self._patch_size + 1 if one else 1 for one in wide]
        on_device = torch.cuda.device(features.device) if features.is_cuda else contextlib.nullcontext()
        with on_device:
            return _Recording(
                self._model, self._names, features, capacity, narrow, least, self._patch_size, self._record
            )


class _Recording:
    """One set of shapes. `narrow` levels hold one patch that is not full, which a mask says."""

    def __init__(
        self,
        model: PointTransformer,
        names: list[str],
        features: Tensor,
        capacity: list[int],
        narrow: list[bool],
        least: list[int],
        patch_size: int,
        record: Record,
    ) -> None:
        self.capacity, self.narrow, self._least = capacity, narrow, least
        self._rope_base = model.config.rope_base
        self._features = features.new_zeros(capacity[0], features.shape[1])
        self._tables = {name: self._empty(name, patch_size, features.device) for name in names}
        self._missing = torch.tensor(capacity, dtype=torch.int32, device=features.device)
        self._filled = dict.fromkeys(names, 0)
        geometry = geometry_of(self._tables, model.geometry_spec, self._rope_base)
        self._masks: dict[int, Tensor] = {}
        for number, level in enumerate(geometry.levels):
            if narrow[number]:
                mask = torch.zeros(1, capacity[number], dtype=torch.bool, device=features.device)
                mask[:, 0] = True
                self._masks[number] = mask
                for patches in level.patches.values():
                    patches.mask = mask
        self._replay, self._logits = record(lambda: model(self._features, geometry).float())

    def holds(self, sizes: list[int]) -> bool:
        """Whether a cloud with so many voxels a level fits, without too much waste."""
        bounds = zip(self._least, sizes, self.capacity, strict=True)
        return all(low <= size <= high for low, size, high in bounds) and self.is_like(sizes)

    def is_like(self, sizes: list[int]) -> bool:
        """Whether the cloud is about as large as those that this was made for."""
        return self.capacity[0] / _WASTE <= max(sizes[0], _STEP) <= self.capacity[0] * _WASTE

    def logits(self, features: Tensor, geometry: Geometry) -> Tensor:
        """Of a cloud that it holds."""
        self._features[: len(features)] = features
        sizes = [len(level) for level in geometry.levels]
        for name, kept in self._tables.items():
            self._fill(name, kept, stored_table(geometry, name, self._rope_base), sizes)
        for number, mask in self._masks.items():
            mask[:, : sizes[number]] = True
            mask[:, sizes[number] :] = False
        self._replay()
        return self._logits[: len(features)].clone()

    def _empty(self, name: str, patch_size: int, device: torch.device) -> Tensor:
        """A table without voxels: what it holds is valid everywhere, so that rows beyond a cloud compute something."""
        kind, number, suffix = split_name(name)
        rows = self.capacity[number]
        if kind == "rotary":
            return torch.zeros(2, rows, int(suffix) // 2, device=device)
        if kind == "neighbors":
            return torch.full((rows, int(suffix) ** 3), rows, dtype=torch.int32, device=device)
        shape: tuple[int, ...] = (rows,)
        if kind == "children":
            shape = (rows, 8)
        elif kind == "patches":
            shape = (1, rows) if self.narrow[number] else (-(-rows // patch_size), patch_size)
        return torch.zeros(shape, dtype=torch.int32, device=device)

    def _fill(self, name: str, kept: Tensor, given: Tensor, sizes: list[int]) -> None:
        """Copy a cloud's table; a missing neighbour or child is the capacity here, and rows of an earlier cloud end."""
        kind, number, _ = split_name(name)
        if kind == "rotary":
            kept[:, : given.shape[1]] = given
            return
        if kind == "patches" and self.narrow[number]:
            kept[:, : given.shape[1]] = given
            kept[:, given.shape[1] :] = 0  # masked; but an earlier cloud's row, if no number, would show through
            return
        live = len(given)
        if kind in ("neighbors", "children"):
            level = number - (kind == "children")  # whose voxels it names
            torch.where(given == sizes[level], self._missing[level], given, out=kept[:live])
        else:
            kept[:live] = given
        if live < self._filled[name]:
            kept[live : self._filled[name]] = self.capacity[number] if kind == "neighbors" else 0
        self._filled[name] = live
