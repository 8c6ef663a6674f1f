# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The PointCloud2 codec on random layouts, against struct.unpack point by point, and on messages that are broken."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srkd_ros import pointcloud2
from srkd_ros.errors import CloudError

pytestmark = pytest.mark.usefixtures("either_way")

CODES = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 8: "d"}
PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)


class Message(SimpleNamespace):
    """Any object with the attributes of a PointCloud2."""


def message(fields, step, height, width, data, big=False, row_step=None):
    return Message(
        header="header",
        height=height,
        width=width,
        fields=[Message(name=n, offset=o, datatype=d, count=c) for n, o, d, c in fields],
        is_bigendian=big,
        point_step=step,
        row_step=width * step if row_step is None else row_step,
        data=data,
        is_dense=True,
    )


@st.composite
def layouts(draw):
    """A message of any valid layout: fields in any order, gaps, padding, byte order, organised or not."""
    names = ["x", "y", "z", *draw(st.lists(st.sampled_from(["intensity", "ring", "t", "rgb", "label"]), unique=True))]
    fields, end = [], 0
    for name in draw(st.permutations(names)):
        datatype = draw(st.sampled_from([7, 7, 7, 8, 1, 2, 3, 4, 5, 6]))
        count = draw(st.sampled_from([1, 1, 1, 3, 0]))
        offset = end + draw(st.integers(0, 5))
        end = offset + struct.calcsize(CODES[datatype]) * max(count, 1)
        fields.append((name, offset, datatype, count))
    step = end + draw(st.integers(0, 9))
    height, width = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    row_step = width * step + draw(st.sampled_from([0, 0, 1, 8]))
    size = row_step * (height - 1) + width * step + draw(st.integers(0, 3))
    data = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(0, 256, size).astype(np.uint8)
    return message(fields, step, height, width, data.tobytes(), draw(st.booleans()), row_step)


def unpacked(msg, name):
    """The first element of a field for every point, read one by one."""
    field = next(f for f in msg.fields if f.name == name)
    code = (">" if msg.is_bigendian else "<") + CODES[field.datatype]
    places = [r * msg.row_step + c * msg.point_step for r in range(msg.height) for c in range(msg.width)]
    return [struct.unpack_from(code, msg.data, place + field.offset)[0] for place in places]


def same(values, expected):
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(values, np.array(expected).astype(values.dtype))


@settings(max_examples=150, deadline=None)
@given(layouts())
def test_any_layout_reads_as_struct_does(msg):
    cloud = pointcloud2.read(msg)
    assert cloud.xyz.dtype == np.float32
    for i, name in enumerate("xyz"):
        same(cloud.xyz[:, i], unpacked(msg, name))
    if any(f.name == "intensity" for f in msg.fields):
        same(cloud.intensity, unpacked(msg, "intensity"))
    for field in msg.fields:
        values = pointcloud2.read_field(msg, field.name)
        assert values.dtype.isnative
        assert values.shape == ((len(cloud),) if field.count < 2 else (len(cloud), field.count))
        same(values.reshape(len(cloud), -1)[:, 0], unpacked(msg, field.name))


@settings(max_examples=80, deadline=None)
@given(layouts(), st.booleans(), st.integers(0, 99))
def test_any_layout_is_written_and_selected(msg, keep_input_fields, seed):
    rng = np.random.default_rng(seed)
    points = msg.height * msg.width
    labels, confidence = rng.integers(0, 256, points).astype(np.uint8), rng.random(points, dtype=np.float32)
    out = pointcloud2.write(msg, labels, confidence, PALETTE, keep_input_fields)
    assert (out.height, out.width, out.header) == (msg.height, msg.width, "header")
    assert len(out.data) == out.row_step * out.height
    assert out.is_bigendian == (keep_input_fields and msg.is_bigendian)
    xyz = pointcloud2.read(msg).xyz
    np.testing.assert_array_equal(pointcloud2.read(out).xyz, xyz)
    assert out.is_dense == np.isfinite(xyz).all()
    same(pointcloud2.read_field(out, "label"), labels)
    same(pointcloud2.read_field(out, "confidence"), confidence)
    assert unpacked(out, "label") == labels.tolist()
    if keep_input_fields:
        for field in msg.fields:
            if field.name not in ("rgb", "label"):
                same(pointcloud2.read_field(out, field.name), pointcloud2.read_field(msg, field.name))
    keep = rng.random(points) < 0.5
    chosen = pointcloud2.select(msg, keep)
    assert len(chosen.data) == keep.sum() * msg.point_step
    for field in msg.fields if keep.any() else ():
        same(pointcloud2.read_field(chosen, field.name), pointcloud2.read_field(msg, field.name)[keep])


XYZ = [("x", 0, 7, 1), ("y", 4, 7, 1), ("z", 8, 7, 1)]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (message(XYZ, 12, 1, 2, bytes(23)), "data of the cloud has 23 bytes, fewer than the 24 of height 1, width 2"),
        (message(XYZ, 12, 1, 2, b""), "data of the cloud has 0 bytes"),
        (message(XYZ[:2], 12, 1, 2, bytes(24)), "no field 'z'"),
        (message([], 12, 1, 2, bytes(24)), "no field 'x'.*no fields"),
        (message([*XYZ[:2], ("z", 8, 9, 1)], 12, 1, 2, bytes(24)), "field 'z' of the cloud has the unknown datatype 9"),
        (message([*XYZ, ("i", 0, 0, 1)], 12, 1, 2, bytes(24)), "field 'i' of the cloud has the unknown datatype 0"),
        (message(XYZ, 0, 1, 2, bytes(24)), "point_step of the cloud is 0"),
        (message(XYZ, 11, 1, 2, bytes(24)), "field 'z' of the cloud takes the bytes 8 to 12 .* point_step 11"),
        (message([*XYZ, ("i", 2, 4, 6)], 12, 1, 2, bytes(24)), "field 'i' of the cloud takes the bytes 2 to 14"),
        (message([*XYZ, ("i", 2**32 - 1, 4, 2**32 - 1)], 12, 1, 2, bytes(24)), "field 'i'"),
        (message([("intensity", 0, 9, 1), *XYZ, ("i", 0, 2, 1)], 12, 1, 2, bytes(24)), "field 'intensity'"),
        (message(XYZ, 12, 2, 2, bytes(48), row_step=23), "row_step of the cloud is 23, less than width 2"),
        (message(XYZ, 12, 2, 2, bytes(48), row_step=0), "row_step of the cloud is 0, less than width 2"),
        (message(XYZ, 12, 3, 2, bytes(83), row_step=30), "data of the cloud has 83 bytes, fewer than the 84"),
        (message(XYZ, 12, 2**32 - 1, 2**32 - 1, bytes(24)), "data of the cloud has 24 bytes"),
        (message([*XYZ, XYZ[0]], 12, 1, 2, bytes(24)), "field 'x' of the cloud is declared twice"),
        (message(XYZ, 12, -1, -2, bytes(24)), "height -1"),
        (message(XYZ, 12, 1, 2, "a string that is no cloud"), "data of the cloud is not a sequence of bytes"),
        (message(XYZ, 12, 1, 2, [256] * 24), "data of the cloud is not a sequence of bytes"),
        (Message(height=1), "not a PointCloud2"),
    ],
)
def test_broken_messages_are_named(broken, said):
    with pytest.raises(CloudError, match=said) as caught:
        pointcloud2.read(broken)
    assert "\n" not in str(caught.value)


XYZ_BYTES = np.arange(1, 13, dtype="<f4").tobytes()  # four points
ROWS = XYZ_BYTES[:24] + b"padded" + XYZ_BYTES[24:]  # in two rows, the last without padding


@pytest.mark.parametrize(
    ("odd", "buffer"),
    [
        (message(XYZ, 12, 1, 4, XYZ_BYTES, row_step=0), XYZ_BYTES),
        (message(XYZ, 12, 1, 4, XYZ_BYTES, row_step=2**32 - 1), XYZ_BYTES),
        (message(XYZ, 12, 2, 2, ROWS, row_step=30), ROWS),
        (message([*XYZ, ("a", 0, 9, 1)], 12, 1, 4, XYZ_BYTES), XYZ_BYTES),
        (message([*XYZ, ("a", 0, 7, 1), ("a", 4, 7, 1)], 12, 1, 4, XYZ_BYTES), XYZ_BYTES),
        (message([("a", 8, 7, 2), *XYZ, ("a", 0, 7, 1)], 12, 1, 4, XYZ_BYTES), XYZ_BYTES),
    ],
    ids=["row_step 0", "huge row_step", "no padding at the end", "unknown type", "twice", "beyond the point"],
)
def test_what_cannot_mislead_is_let_pass(odd, buffer):
    xyz = np.arange(1, 13, dtype=np.float32).reshape(4, 3)
    # At the end of a larger buffer, which shows that nothing beyond the message's bytes is read.
    odd.data = np.frombuffer(buffer + b"\xff" * 8, np.uint8)[: len(buffer)]
    np.testing.assert_array_equal(pointcloud2.read(odd).xyz, xyz)
    np.testing.assert_array_equal(pointcloud2.read_field(odd, "y"), xyz[:, 1])
    for name in {f.name for f in odd.fields} - set("xyz"):
        for ask in (pointcloud2.read_field, pointcloud2.read):
            with pytest.raises(CloudError, match="field 'a'"):
                ask(odd, name)
    chosen = pointcloud2.select(odd, np.array([True, False, False, True]))
    np.testing.assert_array_equal(pointcloud2.read(chosen).xyz, xyz[[0, 3]])
    for keep_input_fields in (False, True):
        out = pointcloud2.write(odd, np.zeros(4, np.uint8), np.ones(4, np.float32), PALETTE, keep_input_fields)
        np.testing.assert_array_equal(pointcloud2.read(out).xyz, xyz)
        assert [f.name for f in out.fields] == ["x", "y", "z", "rgb", "label", "confidence"]


def test_padding_fields_may_repeat():
    padding = [("_", 0, 2, 4), ("", 0, 99, 1), ("_", 4, 2, 4)]
    assert len(pointcloud2.read(message([*XYZ, *padding], 12, 1, 2, bytes(24)))) == 2


uint32 = st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1))
any_field = st.tuples(st.sampled_from(["x", "y", "z", "intensity", "", "t"]), uint32, st.integers(0, 255), uint32)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.lists(any_field), st.just(XYZ)),
    *[uint32] * 4,
    st.binary(max_size=200),
    st.booleans(),
)
def test_nothing_but_cloud_error(fields, step, height, width, row_step, data, big):
    msg = message(fields, step, height, width, data, big, row_step)
    for use in (
        pointcloud2.read,
        lambda m: pointcloud2.read_field(m, "t"),
        lambda m: pointcloud2.read(m, "intensity"),
    ):
        try:
            result = use(msg)
        except CloudError:
            continue
        assert len(result) == height * width
