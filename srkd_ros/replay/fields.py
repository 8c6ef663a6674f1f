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


def check_fields(options: Options, source: Source, truth: Truth) -> None:
    """ConfigError in one line if --intensity-field or --truth names a field that the first readable cloud lacks."""
    clouds = (cloud.record for cloud in Source(source.inputs))
    wanted = {}
    if options.intensity_field not in ("auto", ""):
        wanted["--intensity-field"] = options.intensity_field
    if isinstance(truth, FieldTruth):
        wanted["--truth"] = truth.source
    _check(wanted, clouds, source.inputs[0].topic)
    if isinstance(truth, TopicTruth):
        bags = (bag for bag in source.inputs if isinstance(bag, BagInput))
        records = (record for bag in bags for record in bag.storage.messages({truth.topic}))
        _check({f"--truth {truth.topic}": truth.field}, records, truth.topic)


def _check(wanted: dict[str, str], records: Iterable[Record], topic: str) -> None:
    message = _first(records) if wanted else None
    if message is None:
        return
    names = [field.name for field in message.fields]
    for option, name in wanted.items():
        if name not in names:
            raise ConfigError(f"{option}: the clouds of {topic} have no field {name!r}; they have {', '.join(names)}")


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
