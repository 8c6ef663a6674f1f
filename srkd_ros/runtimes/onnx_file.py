# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The metadata of an .onnx file, read without the package onnx: a robot with TensorRT needs the manifest alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from srkd_ros.errors import ModelError
from srkd_ros.student import METADATA_KEY, Manifest

# ModelProto is a protocol buffer: (field number << 3 | wire type) as a varint, then the value. Its metadata_props,
# field 14, are pairs of key (field 1) and value (field 2).
_METADATA_PROPS = 14
_LENGTH_DELIMITED = 2


def read_metadata(path: str | Path) -> dict[str, str]:
    """Metadata of an .onnx file; ModelError if it is missing, damaged, or cut short."""
    path = Path(path)
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        entries = [dict(_fields(value)) for number, value in _fields(data) if number == _METADATA_PROPS]
        return {str(entry[1], "utf-8"): str(entry[2], "utf-8") for entry in entries}
    except (IndexError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: not a whole .onnx file; export the student again") from error


def read_manifest(path: str | Path, metadata: dict[str, str]) -> Manifest:
    """The manifest in a graph's metadata; ModelError if there is none or it is wrong."""
    if METADATA_KEY not in metadata:
        raise ModelError(f"{path}: has no srkd manifest; make the file with `srkd-train export`")
    return Manifest.from_json(metadata[METADATA_KEY], str(path))


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of each length-delimited field; ValueError or IndexError where the data do not add up."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        wire = tag & 7
        if wire == 0:
            _, place = _varint(data, place)
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        elif wire == _LENGTH_DELIMITED:
            length, place = _varint(data, place)
            if place + length > len(data):
                raise ValueError("cut short")
            yield tag >> 3, data[place : place + length]
            place += length
        else:
            raise ValueError(f"wire type {wire}")
    if place != len(data):
        raise ValueError("cut short")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
        if shift > 63:
            raise ValueError("varint too long")
