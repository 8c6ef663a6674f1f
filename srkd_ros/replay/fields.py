# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Whether the fields that the options name are in the clouds: a typo is wrong input, not a run without a result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from srkd_ros.errors import CloudError, ConfigError
from srkd_ros.replay.messages import decode
from srkd_ros.replay.models import Options
from srkd_ros.replay.source import BagInput, Source
from srkd_ros.replay.storage import Record
from srkd_ros.replay.truth import FieldTruth, TopicTruth, Truth
from srkd_ros.replay.truth_ids import read_ids


def check_fields(options: Options, source: Source, truth: Truth) -> None:
    """An error in one line if --intensity-field or --truth names a field that the first readable cloud lacks, or a
    truth whose numbers are no ids there."""
    clouds = (cloud.record for cloud in Source(source.inputs))
    wanted = {}
    if options.intensity_field not in ("auto", ""):
        wanted["--intensity-field"] = options.intensity_field
    if isinstance(truth, FieldTruth):
        wanted["--truth"] = truth.source
    message = _check(wanted, clouds, source.inputs[0].topic)
    if isinstance(truth, FieldTruth) and message is not None:
        read_ids(message, truth.source, f"--truth {truth.source}")
    if isinstance(truth, TopicTruth):
        bags = (bag for bag in source.inputs if isinstance(bag, BagInput))
        records = (record for bag in bags for record in bag.storage.messages({truth.topic}))
        message = _check({f"--truth {truth.topic}": truth.field}, records, truth.topic)
        if message is not None:
            read_ids(message, truth.field, f"--truth {truth.source}")


def _check(wanted: dict[str, str], records: Iterable[Record], topic: str) -> Any | None:
    """The first message with points, which has all fields wanted; None without one, or if none is wanted."""
    message = _first(records) if wanted else None
    if message is None:
        return None
    names = [field.name for field in message.fields]
    for option, name in wanted.items():
        if name not in names:
            raise ConfigError(f"{option}: the clouds of {topic} have no field {name!r}; they have {', '.join(names)}")
    return message


def _first(records: Iterable[Record]) -> Any | None:
    """The first message that decodes and has points."""
    for record in records:
        try:
            message = decode(record)
        except CloudError:
            continue
        if message.height and message.width:
            return message
    return None
