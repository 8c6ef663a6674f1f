# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""`srkd-train export`: a student file to an ONNX graph, and for TensorRT to an engine beside it."""

from __future__ import annotations

import os
from pathlib import Path

from srkd_ros.errors import ConfigError, MissingPackageError
from srkd_ros.runtimes.graph import PRECISION_KEY
from srkd_ros.runtimes.torch_runtime import load_network
from srkd_ros.student import METADATA_KEY

FORMATS = ("onnx", "tensorrt")
PRECISIONS = ("fp32", "fp16")


def run_export(
    student: str | Path,
    format: str = "onnx",
    output: str | Path | None = None,
    precision: str | None = None,
    points: int | None = None,
) -> Path:
    """Export a student file, or build an engine from a graph that it was exported to; returns the file written.

    "onnx" writes the graph (default STUDENT.onnx, fp32). "tensorrt" writes the graph (default STUDENT-fp16.onnx, so
    that a STUDENT.onnx for CPUs stays) and builds the engine of this machine's GPU from it, for a sensor of `points`
    points a scan (default 131072), where the TensorRT runtime looks for it; `output` may then name the .onnx or the
    .engine file. From an .onnx file the engine alone is built, without the exporter: the robot's way.
    ModelError for a bad student, ConfigError for a wrong setting, MissingPackageError without the exporter or TensorRT.
    """
    student = Path(student)
    if format not in FORMATS:
        raise ConfigError(f"--format: {format!r} is not one of {', '.join(FORMATS)}")
    if precision not in (None, *PRECISIONS):
        raise ConfigError(f"--precision: {precision!r} is not one of {', '.join(PRECISIONS)}")
    if points is not None and points < 1:
        raise ConfigError(f"--points: {points} is not a positive number of points")
    if student.suffix == ".onnx":
        return _build_from_graph(student, format, output, precision, points)
    precision = precision or ("fp16" if format == "tensorrt" else "fp32")
    if format == "onnx":
        return export_onnx(student, Path(output) if output else student.with_suffix(".onnx"), precision)

    from srkd_ros.runtimes.tensorrt_engine import build_engine_file, require_builder

    require_builder()  # before the work, not after it
    suffix = "-fp16" if precision == "fp16" else ""
    target = Path(output) if output else student.with_name(f"{student.stem}{suffix}.onnx")
    if target.suffix not in (".onnx", ".engine"):
        raise ConfigError(f"-o {target}: the name of a graph ends in .onnx, that of an engine in .engine")
    graph = export_onnx(student, target.with_suffix(".onnx"), precision)
    engine = target if target.suffix == ".engine" else None
    return build_engine_file(graph, points, engine)


def _build_from_graph(
    graph: Path, format: str, output: str | Path | None, precision: str | None, points: int | None
) -> Path:
    if format != "tensorrt":
        raise ConfigError(f"{graph}: is a graph already; --format tensorrt builds an engine from it")
    if output and Path(output).suffix != ".engine":
        raise ConfigError(f"-o {output}: an engine's name ends in .engine")

    from srkd_ros.runtimes.onnx_file import read_manifest, read_metadata
    from srkd_ros.runtimes.tensorrt_engine import build_engine_file, require_builder

    metadata = read_metadata(graph)
    read_manifest(graph, metadata)
    own = metadata.get(PRECISION_KEY, "fp32")
    if precision not in (None, own):
        raise ConfigError(f"--precision: {graph} is a graph in {own}; export the student again for {precision}")
    require_builder()
    return build_engine_file(graph, points, Path(output) if output else None)


def export_onnx(student: Path, output: Path, precision: str = "fp32") -> Path:
    """Write the student's graph, with its manifest in the metadata, first under a temporary name beside it."""
    try:
        from srkd_train.export_graph import trace
    except ImportError as error:
        raise MissingPackageError(
            f"export needs the package {error.name}: pip install 'onnx>=1.16' 'onnxscript>=0.5'"
        ) from error
    if output.suffix != ".onnx":
        raise ConfigError(f"-o {output}: an exported graph's name ends in .onnx")
    model, manifest = load_network(student)
    graph = trace(model, precision)
    graph.producer_name = "srkd_train"
    for key, value in ((METADATA_KEY, manifest.to_json()), (PRECISION_KEY, precision)):
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(graph.SerializeToString())
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    return output
