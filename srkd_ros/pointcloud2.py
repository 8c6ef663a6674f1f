# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""PointCloud2 messages to arrays and back, by field name: any layout in, views instead of copies where it allows.

Works on the messages of rclpy and on those that rosbags deserialises, and imports neither. Every function raises
CloudError, with one sentence that names the field, for a message that contradicts itself.
"""

from __future__ import annotations

import array
import dataclasses
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from srkd_ros import native
from srkd_ros.errors import CloudError
from srkd_ros.pointcloud2_layout import Layout, parse

INTENSITY_NAMES = ("intensity", "intensities", "i", "reflectivity", "reflectance", "remission", "signal")
"""What "auto" takes for the intensity, first match wins, upper and lower case alike.

A field called intensity is what other models were trained with, even where reflectivity or signal stand beside it.
"""

_FLOAT32 = np.dtype(np.float32)
_NATIVE = "<" if sys.byteorder == "little" else ">"
_U4, _F4 = 6, 7  # PointField.UINT32, PointField.FLOAT32


@dataclass(frozen=True)
class Cloud:
    """The points of a message, row-major. The arrays may be strided, read-only views of the message's own bytes."""

    xyz: np.ndarray  # float32 [N, 3], metres, in the message's frame
    intensity: np.ndarray | None  # float32 [N], raw values, unscaled
    intensity_field: str | None
    intensity_full_scale: float | None  # largest value of an integer field that uses its whole type; None: unknown

    def __len__(self) -> int:
        return len(self.xyz)


def has_points(msg: Any) -> bool:
    """Whether height * width > 0. Looks at nothing else."""
    return bool(msg.height and msg.width)


def read(msg: Any, intensity_field: str = "auto") -> Cloud:
    """Coordinates and intensity of a PointCloud2, converted to float32 where they are of another type.

    `intensity_field`: a name, "auto" for the first of INTENSITY_NAMES that the cloud has, "" for none. CloudError if
    x, y or z is missing, or a named intensity field, or one that is taken is wrongly declared; wrong fields that nobody
    asks for do no harm. Points that are not finite stay.
    """
    layout = parse(msg)
    if layout.points == 0:
        return Cloud(np.empty((0, 3), np.float32), None, None, None)
    name = _intensity_name(layout, intensity_field)
    if name is None:
        return Cloud(_xyz(layout), None, None, None)
    return Cloud(_xyz(layout), _float32(_first(layout, name)), name, _full_scale(layout, name))


def read_field(msg: Any, name: str) -> np.ndarray:
    """One field in its own type and native byte order: [N], or [N, count] for count > 1. CloudError if absent."""
    layout = parse(msg)
    if layout.points == 0:
        return np.empty(0, np.float32)
    values = layout.field(name)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def write(
    msg: Any, labels: np.ndarray, confidence: np.ndarray, palette: np.ndarray, keep_input_fields: bool = False
) -> Any:
    """A message of `msg`'s kind with its header, height, width and order of points, and what was found for them.

    `labels` uint8 [N], `confidence` float32 [N], `palette` uint8 [256, 3] (r g b by label). The fields are x y z
    float32, rgb float32 (the bits 0x00RRGGBB, as RViz and PCL read it), label uint32, confidence float32: 24 bytes a
    point, rows not padded, host byte order, is_dense only if all coordinates are finite.

    With `keep_input_fields` the input's own fields come first, in their layout and byte order, x y z among them; rgb,
    label and confidence follow, aligned to 4 bytes. An input field of one of these three names is no longer declared,
    nor is one whose declaration does not hold.
    """
    layout = parse(msg)
    if labels.shape != (layout.points,) or confidence.shape != (layout.points,):
        raise ValueError(f"{labels.shape} labels, {confidence.shape} confidences for {layout.points} points")
    if labels.dtype != np.uint8 or palette.shape != (256, 3):
        raise ValueError(f"labels are {labels.dtype}, the palette {palette.shape}; expected uint8 and (256, 3)")
    kernels = native.load_kernels()
    xyz = _xyz(layout, aligned=kernels is None) if layout.points else np.empty((0, 3), np.float32)
    colours = _packed(palette)
    keep_input_fields = keep_input_fields and layout.points > 0
    if keep_input_fields:
        taken = [f for f in msg.fields if f.name not in ("rgb", "label", "confidence", *layout.wrong)]
        start, order = -(-layout.point_step // 4) * 4, ">" if msg.is_bigendian else "<"
    else:
        taken, start, order = [_field(msg, name, 4 * i, _F4) for i, name in enumerate("xyz")], 12, _NATIVE
    step = start + 12
    data, raw = _allocate(msg, layout.points * step)
    if not layout.points:
        dense = True
    elif kernels is not None and not keep_input_fields and xyz.strides[1] == 4:
        dense = kernels.write_points(xyz, labels, confidence, colours, raw)
    else:
        dense = all(bool(np.isfinite(column).all()) for column in xyz.T)  # by column: rows of three are slow to walk
        if keep_input_fields:
            into = np.ndarray((layout.points,), f"V{layout.point_step}", raw, 0, (step,))
            into[:] = layout.whole_points()
        else:
            for i, column in enumerate(xyz.T):
                np.ndarray((layout.points,), np.float32, raw, 4 * i, (step,))[:] = column
        words = np.ndarray((layout.points, 3), order + "u4", raw, start, (step, 4))
        words[:, 0] = np.take(colours, labels)
        words[:, 1] = labels
        np.ndarray((layout.points,), order + "f4", raw, start + 8, (step,))[:] = confidence
    added = [("rgb", _F4), ("label", _U4), ("confidence", _F4)]
    fields = [*taken, *(_field(msg, name, start + 4 * i, kind) for i, (name, kind) in enumerate(added))]
    return _message(msg, layout.height, layout.width, fields, order == ">", step, data, dense)


def select(msg: Any, keep: np.ndarray) -> Any:
    """The points where `keep` (bool [N]) is true, in the input's own layout, with height 1 and the same header."""
    layout = parse(msg)
    if keep.shape != (layout.points,) or keep.dtype != bool:
        raise ValueError(f"keep is {keep.dtype} {keep.shape}; expected bool [{layout.points}]")
    if layout.points == 0:
        data, _ = _allocate(msg, 0)
        return _message(msg, 1, 0, msg.fields, msg.is_bigendian, layout.point_step, data, bool(msg.is_dense))
    index = np.flatnonzero(keep)
    data, raw = _allocate(msg, len(index) * layout.point_step)
    if len(index):
        raw.view(f"V{layout.point_step}")[:] = layout.whole_points()[index]
    return _message(msg, 1, len(index), msg.fields, msg.is_bigendian, layout.point_step, data, bool(msg.is_dense))


def _xyz(layout: Layout, aligned: bool = True) -> np.ndarray:
    """Coordinates float32 [N, 3], a view where the layout allows; if not `aligned`, one at any address."""
    for name in "xyz":
        if not layout.declares(name):
            raise CloudError(
                f"the cloud has no field {name!r}; x, y and z are needed, it has "
                f"{', '.join(layout.fields) or 'no fields'}"
            )
    x, y, z = (layout.fields[name] for name in "xyz")
    adjacent = y.offset == x.offset + 4 and z.offset == x.offset + 8
    if adjacent and x.dtype == y.dtype == z.dtype == _FLOAT32:
        view = layout.view(x.offset, _FLOAT32, 3)
        if aligned and not _usable(view):  # 12 bytes at once: a third of the time that copying numbers takes
            view = layout.view(x.offset, np.dtype("V12")).copy().view(np.float32).reshape(-1, 3)
        return view
    xyz = np.empty((layout.points, 3), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 becomes infinite, so unlabelled
        for i, name in enumerate("xyz"):
            xyz[:, i] = _first(layout, name)
    return xyz


def _first(layout: Layout, name: str) -> np.ndarray:
    """A field, or the first element of a field with count > 1."""
    field = layout.fields[name]
    return layout.view(field.offset, field.dtype)


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32, copy=not _usable(values))


def _usable(values: np.ndarray) -> bool:
    """Whether torch can use this memory as it is: aligned, and strides that are multiples of the item."""
    return values.flags.aligned and all(stride % values.itemsize == 0 for stride in values.strides)


def _intensity_name(layout: Layout, wanted: str) -> str | None:
    if wanted == "":
        return None
    if wanted != "auto":
        if not layout.declares(wanted):
            raise CloudError(f"the cloud has no intensity field {wanted!r}; it has {', '.join(layout.fields)}")
        return wanted
    by_lower = {name.lower(): name for name in reversed([*layout.fields, *layout.wrong])}
    found = next((by_lower[name] for name in INTENSITY_NAMES if name in by_lower), None)
    return found if found is not None and layout.declares(found) else None


def _full_scale(layout: Layout, name: str) -> float | None:
    dtype = layout.fields[name].dtype
    if dtype.kind != "u" or dtype.itemsize > 2:
        return None
    if dtype.itemsize == 2 and name.lower() == "reflectivity":
        return None  # Ouster's is 8 bits wide in some firmware profiles and 16 in others, in the same uint16 field
    return float(np.iinfo(dtype).max)


def _packed(palette: np.ndarray) -> np.ndarray:
    """uint32 [256], 0x00RRGGBB."""
    r, g, b = palette.astype(np.uint32).T
    return r << 16 | g << 8 | b


def _allocate(msg: Any, size: int) -> tuple[Any, np.ndarray]:
    """`size` zero bytes of the type that the message's family holds best, and a uint8 view to fill them by."""
    if dataclasses.is_dataclass(msg):  # rosbags
        data = np.zeros(size, np.uint8)
        return data, data
    buffer = array.array("B", b"\0") * size  # rclpy assigns an array.array as it is, and anything else by element
    return buffer, np.frombuffer(buffer, np.uint8) if size else np.empty(0, np.uint8)


def _field(msg: Any, name: str, offset: int, datatype: int) -> Any:
    if len(msg.fields):
        kind: Any = type(msg.fields[0])
    else:  # an empty cloud of a message that declares nothing
        package = sys.modules.get(type(msg).__module__.rpartition("._")[0])  # sensor_msgs.msg, if it is rclpy's
        kind = getattr(package, "PointField", _PointField)
    return kind(name=name, offset=offset, datatype=datatype, count=1)


@dataclass
class _PointField:
    """Stands in for rosbags' class, which only its type store can name; serialisers ask for the attributes alone."""

    name: str
    offset: int
    datatype: int
    count: int


def _message(
    msg: Any, height: int, width: int, fields: list, is_bigendian: bool, point_step: int, data: Any, is_dense: bool
) -> Any:
    values = {
        "header": msg.header,
        "height": height,
        "width": width,
        "fields": fields,
        "is_bigendian": is_bigendian,
        "point_step": point_step,
        "row_step": width * point_step,
        "data": data,
        "is_dense": is_dense,
    }
    kind: Any = type(msg)
    if dataclasses.is_dataclass(msg):
        return kind(**values)
    made = kind()  # its constructor would copy the data; the setters do not
    for name, value in values.items():
        setattr(made, name, value)
    return made
