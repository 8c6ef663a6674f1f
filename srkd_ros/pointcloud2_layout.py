# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The memory layout that a PointCloud2 declares, checked against its bytes, and numpy views of its fields.

Knows sensor_msgs/PointCloud2 by its attributes alone, so that messages of rclpy and of rosbags serve alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from srkd_ros.errors import CloudError

DATATYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
"""PointField.datatype (sensor_msgs/PointField.msg) to numpy type codes."""

_PADDING_NAMES = ("", "_")  # PCL's names for padding; these may repeat


@dataclass(frozen=True)
class Field:
    """One field of a point: `count` elements of `dtype` (with the message's byte order) at byte `offset`."""

    name: str
    offset: int
    dtype: np.dtype
    count: int

    @property
    def end(self) -> int:
        return self.offset + self.dtype.itemsize * self.count


@dataclass(frozen=True)
class Layout:
    """A checked layout over the message's bytes (uint8, not copied)."""

    height: int
    width: int
    point_step: int
    row_step: int
    fields: dict[str, Field]
    wrong: dict[str, str]  # names whose declarations do not hold, and why; an error only for whom asks for one
    data: np.ndarray

    @property
    def points(self) -> int:
        return self.height * self.width

    @property
    def has_row_padding(self) -> bool:
        return self.height > 1 and self.row_step != self.width * self.point_step

    def view(self, offset: int, dtype: np.dtype, count: int = 1) -> np.ndarray:
        """`count` neighbouring elements of every point, row-major: [N] or [N, count]. Copies only for row padding."""
        inner = () if count == 1 else (count,)
        if self.points == 0:
            return np.empty((0, *inner), dtype)
        steps = () if count == 1 else (dtype.itemsize,)
        if not self.has_row_padding:
            return np.ndarray((self.points, *inner), dtype, self.data, offset, (self.point_step, *steps))
        shape, strides = (self.height, self.width, *inner), (self.row_step, self.point_step, *steps)
        return np.ndarray(shape, dtype, self.data, offset, strides).reshape(self.points, *inner)

    def declares(self, name: str) -> bool:
        """Whether there is a field of that name. CloudError if its declaration does not hold."""
        if name in self.wrong:
            raise CloudError(self.wrong[name])
        return name in self.fields

    def field(self, name: str) -> np.ndarray:
        """A field in the byte order of the message: [N], or [N, count]. CloudError if there is none of that name."""
        if not self.declares(name):
            raise CloudError(f"the cloud has no field {name!r}; it has {', '.join(self.fields) or 'no fields'}")
        field = self.fields[name]
        return self.view(field.offset, field.dtype, field.count)

    def whole_points(self) -> np.ndarray:
        """Every point as one opaque item of point_step bytes, [N]."""
        return self.view(0, np.dtype(f"V{max(self.point_step, 1)}"))


def parse(msg: Any) -> Layout:
    """Check a PointCloud2's declarations against its data; CloudError names the first that does not hold.

    A cloud of zero points is valid whatever else it declares, and what cannot mislead is let pass: row_step of a single
    row, padding that the last row lacks, bytes beyond it, and wrong fields until they are asked for. A field's count of
    0 means 1, as it does to PCL.
    """
    try:
        height, width, point_step, row_step = (
            int(getattr(msg, name)) for name in ("height", "width", "point_step", "row_step")
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise CloudError(f"not a PointCloud2 message: {error}") from error
    if height < 0 or width < 0:
        raise CloudError(f"height {height} and width {width} of the cloud: neither may be negative")
    data = _bytes(msg.data)
    if height * width == 0:
        return Layout(height, width, max(point_step, 0), max(row_step, 0), {}, {}, data)
    if point_step <= 0:
        raise CloudError(f"point_step of the cloud is {point_step}; it has to be the bytes of a point")
    row = width * point_step
    if height == 1:
        row_step = row
    if row_step < row:
        raise CloudError(
            f"row_step of the cloud is {row_step}, less than width {width} x point_step {point_step} = {row}"
        )
    if len(data) < (needed := row_step * (height - 1) + row):
        raise CloudError(
            f"data of the cloud has {len(data)} bytes, fewer than the {needed} of height {height}, width {width}, "
            f"point_step {point_step} and row_step {row_step}"
        )
    fields, wrong = _fields(msg.fields, point_step, ">" if msg.is_bigendian else "<")
    return Layout(height, width, point_step, row_step, fields, wrong, data)


def _fields(declared: Any, point_step: int, byte_order: str) -> tuple[dict[str, Field], dict[str, str]]:
    """Fields by name, and what is wrong with those that are not among them."""
    fields: dict[str, Field] = {}
    wrong: dict[str, str] = {}
    for d in declared:
        if d.name in _PADDING_NAMES:
            continue
        if d.name in fields or d.name in wrong:
            wrong.setdefault(d.name, f"field {d.name!r} of the cloud is declared twice")
            continue
        if d.datatype not in DATATYPES:
            wrong[d.name] = f"field {d.name!r} of the cloud has the unknown datatype {d.datatype}; known are 1 to 8"
            continue
        field = Field(d.name, int(d.offset), np.dtype(byte_order + DATATYPES[d.datatype]), max(int(d.count), 1))
        if field.offset < 0 or field.end > point_step:
            wrong[d.name] = (
                f"field {d.name!r} of the cloud takes the bytes {field.offset} to {field.end} of a point, "
                f"beyond point_step {point_step}"
            )
            continue
        fields[d.name] = field
    return {name: field for name, field in fields.items() if name not in wrong}, wrong


def _bytes(data: Any) -> np.ndarray:
    """The message's bytes as uint8 [B]: a view of array.array, bytes and numpy arrays; lists of integers are copied."""
    try:
        if isinstance(data, (list, tuple)):
            return np.frombuffer(bytes(data), np.uint8)
        if len(data) == 0:
            return np.empty(0, np.uint8)
        return np.frombuffer(np.ascontiguousarray(data) if isinstance(data, np.ndarray) else data, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise CloudError(f"data of the cloud is not a sequence of bytes but {type(data).__name__}") from error
