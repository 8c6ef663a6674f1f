# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""PointCloud2 messages as bags store them: their types, decoding, and the stamp without decoding."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

from rosbags.typesys import Stores, get_typestore

from srkd_ros.errors import CloudError
from srkd_ros.replay.storage import Record

CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"


@cache
def typestore() -> Any:
    """Message types of ROS 2 Jazzy: those of PointCloud2 are the same in every distribution."""
    return get_typestore(Stores.ROS2_JAZZY)


@cache
def _typestore1() -> Any:
    return get_typestore(Stores.ROS1_NOETIC)


def decode(record: Record) -> Any:
    """A stored PointCloud2 as a rosbags ROS 2 message; CloudError if it does not decode."""
    try:
        if not record.ros1:
            return typestore().deserialize_cdr(record.data, CLOUD_TYPE)
        message = _typestore1().deserialize_ros1(record.data, CLOUD_TYPE)
    except Exception as error:  # rosbags raises whatever its generated code meets
        raise CloudError(f"{record.topic}: a message that does not decode ({type(error).__name__}: {error})") from error
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](message.header.stamp.sec, message.header.stamp.nanosec)
    field = types["sensor_msgs/msg/PointField"]
    return types[CLOUD_TYPE](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=message.header.frame_id),
        height=message.height,
        width=message.width,
        fields=[field(f.name, f.offset, f.datatype, f.count) for f in message.fields],
        is_bigendian=message.is_bigendian,
        point_step=message.point_step,
        row_step=message.row_step,
        data=message.data,
        is_dense=message.is_dense,
    )


def stamp_of(record: Record) -> int:
    """header.stamp in ns without decoding the message; the log time where the stamp is 0.

    A CDR message begins with 4 bytes of encapsulation (bit 0 of the second: little endian), a ROS 1 message with seq.
    """
    if len(record.data) < 12:
        return record.log_time
    little = record.ros1 or bytes(record.data[1:2]) != b"\x00"
    seconds, nanoseconds = struct.unpack_from("<II" if little else ">II", record.data, 4)
    return (seconds * 10**9 + nanoseconds) or record.log_time
