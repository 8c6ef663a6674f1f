# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What is left of a truncated or damaged bag: MCAP and ROS 1 files read record by record, without their index."""

from __future__ import annotations

import bz2
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from zlib import crc32

_MCAP_MAGIC = b"\x89MCAP0\r\n"
_BAG1_MAGIC = b"#ROSBAG V2.0\n"


class Damage(Exception):
    """Where and why reading ended: one line without the file's name."""


def scan_mcap(path: Path) -> Iterator[tuple[str, str, int, bytes]]:
    """(topic, message type, log time in ns, data) in file order; ends with Damage unless the file is whole.

    Of a chunk that the file's end cuts, the whole messages are read too where it is not compressed.
    Source: the MCAP specification, sections Records and Chunks.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(8) != _MCAP_MAGIC:
            raise Damage("does not begin as an MCAP file")
        schemas: dict[int, str] = {}
        channels: dict[int, tuple[str, str]] = {}
        while True:
            offset = file.tell()
            try:
                opcode, record, whole = _mcap_record(file)
                if opcode == 0x02:  # footer
                    return
                if not whole and opcode != 0x06:
                    raise EOFError("the file ends here")
                inner = BytesIO(_chunk(record, whole)) if opcode == 0x06 else None
            except Exception as error:  # the decompressors have errors of their own
                raise Damage(f"damaged at byte {offset:,} of {size:,} ({error})") from error
            if inner is None:
                yield from _mcap_message(opcode, record, schemas, channels)
                continue
            length = len(inner.getbuffer())
            try:
                while inner.tell() < length:
                    opcode, record, complete = _mcap_record(inner)
                    if not complete:
                        raise EOFError("the file ends within it")
                    yield from _mcap_message(opcode, record, schemas, channels)
            except (EOFError, struct.error, KeyError) as error:
                raise Damage(f"damaged in the chunk at byte {offset:,} of {size:,} ({error})") from error


def _mcap_record(file: IO[bytes]) -> tuple[int, bytes, bool]:
    """Opcode, content, and whether the content is all there."""
    opcode, length = struct.unpack("<BQ", _exactly(file, 9))
    try:
        record = file.read(length)
    except (OverflowError, MemoryError) as error:
        raise EOFError(f"a record of {length:,} bytes") from error
    return opcode, record, len(record) == length


def _mcap_message(
    opcode: int, record: bytes, schemas: dict[int, str], channels: dict[int, tuple[str, str]]
) -> Iterator[tuple[str, str, int, bytes]]:
    if opcode == 0x03:
        (number,) = struct.unpack_from("<H", record)
        schemas[number] = _text(record, 2)[0]
    elif opcode == 0x04:
        number, schema = struct.unpack_from("<HH", record)
        channels[number] = (_text(record, 4)[0], schemas.get(schema, ""))
    elif opcode == 0x05:
        number, _, time, _ = struct.unpack_from("<HIQQ", record)
        yield (*channels[number], time, record[22:])


def _chunk(record: bytes, whole: bool) -> bytes:
    size, crc = struct.unpack_from("<QI", record, 16)
    compression, at = _text(record, 28)
    (length,) = struct.unpack_from("<Q", record, at)
    data = record[at + 8 : at + 8 + length]
    if not whole:
        if compression:
            raise EOFError("the file ends within a compressed chunk")
        return data
    if compression == "lz4":
        from lz4.frame import decompress

        data = decompress(data)
    elif compression == "zstd":
        data = _zstd().decompress(data)
    elif compression:
        raise ValueError(f"unknown compression {compression!r}")
    if len(data) != size or (crc and crc32(data) != crc):
        raise ValueError("its checksum is wrong")
    return data


def _zstd() -> Any:  # in the standard library from Python 3.14 on; before that rosbags brings the backport
    try:
        from compression import zstd
    except ImportError:
        from backports import zstd
    return zstd


def _text(record: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", record, at)
    return record[at + 4 : at + 4 + length].decode(), at + 4 + length


def scan_bag1(path: Path) -> Iterator[tuple[str, str, int, bytes]]:
    """The same for a ROS 1 bag (ROS wiki, "Bags/Format/2.0"). One that was never closed ends with Damage."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(_BAG1_MAGIC)) != _BAG1_MAGIC:
            raise Damage("does not begin as a ROS 1 bag")
        connections: dict[int, tuple[str, str]] = {}
        while (offset := file.tell()) < size:
            try:
                header, data, whole = _bag1_record(file)
                if header["op"] != b"\x05":
                    if not whole:
                        raise EOFError("the file ends here")
                    yield from _bag1_message(header, data, connections)
                    continue
                chunk = BytesIO(_bag1_chunk(header, data, whole))
                length = len(chunk.getbuffer())
                while chunk.tell() < length:
                    header, data, complete = _bag1_record(chunk)
                    if not complete:
                        raise EOFError("the file ends within a chunk")
                    yield from _bag1_message(header, data, connections)
            except (EOFError, KeyError, ValueError, RuntimeError, OSError, struct.error) as error:
                raise Damage(f"damaged at byte {offset:,} of {size:,} ({error})") from error
        raise Damage("has no index: it was never closed")


def _bag1_record(file: IO[bytes]) -> tuple[dict[str, bytes], bytes, bool]:
    """Header fields, data, and whether the data is all there."""
    (length,) = struct.unpack("<I", _exactly(file, 4))
    header = _bag1_fields(_exactly(file, length))
    (length,) = struct.unpack("<I", _exactly(file, 4))
    data = file.read(length)
    return header, data, len(data) == length


def _bag1_message(
    header: dict[str, bytes], data: bytes, connections: dict[int, tuple[str, str]]
) -> Iterator[tuple[str, str, int, bytes]]:
    if header["op"] == b"\x07":
        kind = _bag1_fields(data)["type"].decode().replace("/", "/msg/")
        connections[int.from_bytes(header["conn"], "little")] = (header["topic"].decode(), kind)
    elif header["op"] == b"\x02":
        seconds, nanoseconds = struct.unpack("<II", header["time"])
        yield (*connections[int.from_bytes(header["conn"], "little")], seconds * 10**9 + nanoseconds, data)


def _exactly(file: IO[bytes], length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise EOFError("the file ends here")
    return data


def _bag1_fields(header: bytes) -> dict[str, bytes]:
    fields, at = {}, 0
    while at < len(header):
        (length,) = struct.unpack_from("<I", header, at)
        name, _, value = header[at + 4 : at + 4 + length].partition(b"=")
        fields[name.decode()] = value
        at += 4 + length
    return fields


def _bag1_chunk(header: dict[str, bytes], data: bytes, whole: bool) -> bytes:
    compression = header["compression"]
    if not whole and compression != b"none":
        raise EOFError("the file ends within a compressed chunk")
    if compression == b"bz2":
        return bz2.decompress(data)
    if compression == b"lz4":
        from lz4.frame import decompress

        return decompress(data)
    return data
