# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""From datasets to batches: which scans a run uses, how loader processes read them, and what of them cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.utils.data import DataLoader, Dataset

from srkd_ros.errors import ConfigError, DataError, SrkdError
from srkd_ros.labels import UNLABELLED, LabelSet
from srkd_train.batches import RawBatch, collate
from srkd_train.config import DataConfig
from srkd_train.datasets import Scan, ScanDataset, open_dataset
from srkd_train.datasets.combine import guess_intensity_scale
from srkd_train.ranks import ranks
from srkd_train.sampler import Key, RunSampler

Fault = SrkdError | OSError  # the errors that a command reports in one line
Corrupt = list[str]  # what is wrong with scans that cannot be read: each line names its file


class Source:
    """One or more scan datasets with one label set, as one.

    Indices run through the labelled scans of `datasets[0]`, then its scans whose labels are withheld, then the scans of
    the other datasets, which are used without labels.
    """

    def __init__(
        self,
        datasets: Sequence[ScanDataset],
        label_share: float = 1.0,
        keep_unlabelled: bool = False,
        on_corrupt: str = "refuse",
        limit: int = 0,
    ) -> None:
        self.datasets = list(datasets)
        self.on_corrupt = on_corrupt
        self.corrupt: set[str] = set()  # such lines, of this process and its loader processes
        first = len(datasets[0])
        chosen = evenly_spread(first, min(limit, first) if limit else first)
        labelled = chosen[evenly_spread(len(chosen), max(1, round(label_share * len(chosen))))] if label_share else []
        self.entries: list[tuple[int, int, bool]] = [(0, int(i), True) for i in labelled]
        if keep_unlabelled:
            withheld = set(chosen.tolist()) - {int(i) for i in labelled}
            self.entries += [(0, i, False) for i in sorted(withheld)]
        for number, dataset in enumerate(datasets[1:], 1):
            self.entries += [(number, i, False) for i in range(len(dataset))]
        if not self.entries:
            raise DataError("the training data has no scans")

    @property
    def labelled(self) -> np.ndarray:
        """Indices int64 of the scans whose labels are used."""
        return np.flatnonzero([labelled for _, _, labelled in self.entries])

    @property
    def labels(self) -> LabelSet:
        return self.datasets[0].labels

    def __len__(self) -> int:
        return len(self.entries)

    def scan(self, index: int) -> tuple[Scan, float]:
        """Scan `index` and its intensity scale; a corrupt one is refused, or the next that can be read is given."""
        scan, scale, corrupt = self.read(index)
        self.note(corrupt)
        return scan, scale

    def read(self, index: int, substitute: bool = True) -> tuple[Scan, float, Corrupt]:
        """As `scan`, with what could not be read instead of saying so; not `substitute`: a scan of no points for it."""
        corrupt: Corrupt = []
        for attempt in range(len(self.entries) if substitute else 1):
            number, place, labelled = self.entries[(index + attempt) % len(self.entries)]
            dataset = self.datasets[number]
            try:
                scan = dataset[place]
            except DataError as error:
                if self.on_corrupt == "refuse":
                    raise
                corrupt.append(str(error))
                continue
            if not labelled:
                scan.labels = np.full(len(scan.xyz), UNLABELLED, np.uint8)
            return scan, intensity_scale(dataset, scan), corrupt
        if substitute:
            raise DataError("not one scan of the training data can be read")
        return Scan(np.zeros((0, 3), np.float32), None, None, ""), 1.0, corrupt

    def note(self, corrupt: Corrupt) -> None:
        """Say what is wrong with scans, of each once, whichever process read it and how often."""
        for reason in corrupt:
            if reason not in self.corrupt:
                self.corrupt.add(reason)
                count = len(self.corrupt)
                say_skipped(count if ranks() == 1 else f"{count} by this process", reason)


def say_skipped(count: int | str, reason: object) -> None:
    """One line on stderr, above a progress bar if there is one. `count`: how many were skipped, this one included."""
    line = f"skipped, {count} so far: {reason}"
    Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)


def intensity_scale(dataset: ScanDataset, scan: Scan) -> float:
    """The dataset's scale, or, where it is 0 (bags of unknown drivers), what the scan suggests."""
    return dataset.intensity_scale if dataset.intensity_scale > 0 else guess_intensity_scale(scan)


def evenly_spread(total: int, count: int) -> np.ndarray:
    """`count` indices of range(total) at even distances: a subset that covers a drive better than its beginning."""
    return np.floor((np.arange(count) + 0.5) * total / max(count, 1)).astype(np.int64)


class _Reading(Dataset):
    """What loader processes read of a source, by key."""

    def __init__(self, source: Source, substitute: bool) -> None:
        self.source, self.substitute = source, substitute

    def __getitem__(self, key: Key) -> tuple[Scan, float, Key, Corrupt] | Fault:
        """A scan, its intensity scale, its key and what could not be read; or a fault, for the loader to raise."""
        try:
            scan, scale, corrupt = self.source.read(key[2], self.substitute)
        except (SrkdError, OSError) as error:
            return error
        return scan, scale, key, corrupt


class _Loader(DataLoader):
    """Raises the faults of its processes here: torch would put a traceback into the text of an error they raise.

    And says here which scans they could not read: each of them would count its own.
    """

    def __init__(self, source: Source, substitute: bool, **options: Any) -> None:
        super().__init__(_Reading(source, substitute), **options)
        self._source = source

    def __iter__(self) -> Any:
        return self._heard(super().__iter__())

    def _heard(self, batches: Iterator[tuple[RawBatch, Corrupt] | Fault]) -> Iterator[RawBatch]:
        for item in batches:
            if isinstance(item, Fault):
                raise item
            batch, corrupt = item
            self._source.note(corrupt)
            yield batch


def training_loader(source: Source, sampler: RunSampler, workers: int) -> DataLoader:
    """Batches of `sampler` as RawBatch; its `start` counts when the loader is iterated."""
    return _Loader(
        source,
        substitute=True,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_Collate(sampler.rank),
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
        prefetch_factor=4 if workers else None,
    )


def validation_loader(source: Source, workers: int, rank: int = 0, ranks: int = 1) -> DataLoader:
    """One scan a batch, every rank its share; of no points if it is corrupt, so that what is measured is the others.

    ConfigError if that would be none for some rank, which Lightning cannot do.
    """
    if len(source) < ranks:
        if rank:  # all ranks find it, the first says it; status 0, or torchrun would end that one before it has spoken
            raise SystemExit(0)
        raise ConfigError(
            f"data.validation_scans: {len(source)} to validate on, fewer than the {ranks} processes; take {ranks} or "
            f"more (0 takes all of data.val), or fewer trainer.devices"
        )
    keys = [[(0, 0, i)] for i in range(rank, len(source), ranks)]
    return _Loader(source, substitute=False, batch_sampler=keys, num_workers=workers, collate_fn=_Collate(rank))


class _Collate:
    """A class and not a closure: loader processes that are spawned must be able to receive it."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def __call__(self, items: list[tuple[Scan, float, Key, Corrupt] | Fault]) -> tuple[RawBatch, Corrupt] | Fault:
        read = [item for item in items if not isinstance(item, Fault)]
        if len(read) < len(items):
            return next(item for item in items if isinstance(item, Fault))
        scans, scales, keys, corrupt = zip(*read, strict=True)
        seed = int(np.random.SeedSequence([*keys[0], self.rank]).generate_state(1)[0])
        return collate(scans, scales, keys, seed), [reason for reasons in corrupt for reason in reasons]


def open_sources(data: DataConfig) -> tuple[Source, Source | None]:
    """Training and validation scans of a configuration; no validation without `data.val`. SrkdError in one line."""
    options: dict[str, Any] = dict(data.options or {})
    if data.labels:
        options["labels"] = LabelSet.load(data.labels)
    if data.kind == "bag":
        options.setdefault("on_corrupt", data.on_corrupt)
    first = open_dataset(data.kind, data.root, data.train, **options)
    unlabelled, unreadable = _open_unlabelled(data, first.labels)
    train = [first, *unlabelled]
    for count, line in enumerate([*getattr(first, "unreadable", []), *unreadable], 1):
        say_skipped(f"{count} bag" if count == 1 else f"{count} bags", line)
    source = Source(train, data.label_share, data.keep_unlabelled, data.on_corrupt)
    if not data.val:
        return source, None
    val = open_dataset(data.kind, data.root, data.val, **options)
    return source, Source([val], on_corrupt=data.on_corrupt, limit=data.validation_scans)


def shared_scans(train: Source, val: Source) -> int:
    """How many scans of `val` are among those of `train`. None is read: datasets of files keep a list of these."""
    return len(_files(train) & _files(val))


def _files(source: Source) -> set[Any]:
    """What the first dataset knows the source's scans by; nothing where they are no files."""
    dataset = source.datasets[0]
    files = getattr(dataset, "files", None)
    return {files[place] for number, place, _ in source.entries if number == 0} if files else set()


def _open_unlabelled(data: DataConfig, labels: LabelSet) -> tuple[list[ScanDataset], list[str]]:
    """The bags of `data.unlabelled`, and a line for each that is skipped; DataError if none is left."""
    opened: list[ScanDataset] = []
    unreadable: list[str] = []
    if data.unlabelled:
        from srkd_train.datasets.bags import BagDataset, UnreadableBag
    for path in data.unlabelled:
        try:
            topic = data.unlabelled_topic or None
            bags = BagDataset(path, "train", labels, topic, data.unlabelled_scale, on_corrupt=data.on_corrupt)
        except UnreadableBag as error:
            if data.on_corrupt == "refuse":
                raise
            unreadable += error.bags
            continue
        opened.append(bags)
        unreadable += bags.unreadable
    if data.unlabelled and not opened:
        raise UnreadableBag.all_of("data.unlabelled", unreadable)
    return opened, unreadable
