# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""`srkd-train info`: what is in a student file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from srkd_ros import student


def describe(file: Path) -> dict[str, Any]:
    """The manifest, the number of trained values and the file's identity; ModelError in one line."""
    if file.suffix == ".onnx":
        from srkd_ros.runtimes import open_runtime

        manifest, parameters = open_runtime(file, "auto", "cpu").manifest, None
    else:
        from srkd_ros.network import PointTransformer, parameter_count

        tensors, manifest = student.load(file)
        parameters = parameter_count(PointTransformer(manifest.network))
        del tensors
    return {
        "file": str(file),
        "bytes": file.stat().st_size,
        "sha256": student.file_hash(file),
        "parameters": parameters,
        **json.loads(manifest.to_json()),
    }


def print_description(about: dict[str, Any], console: Console) -> None:
    table = Table(show_header=False, title=about["file"], title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    if about["parameters"]:
        table.add_row("parameters", f"{about['parameters']:,}")
    table.add_row("size", f"{about['bytes'] / 1e6:.1f} MB, SHA-256 {about['sha256'][:16]}...")
    p = about["preprocessing"]
    table.add_row("voxels", f"{p['voxel_size']:g} m, points from {p['min_range']:g} to {p['max_range']:g} m")
    table.add_row("features", f"{', '.join(p['features'])} ({p['voxel_feature']} of a voxel's points)")
    table.add_row("intensity", f"a raw value of {about['intensity_scale']:g} counts as 1.0")
    for name, quantiles in about["statistics"].items():
        if quantiles:
            values = ", ".join(f"{float(q):.0%} {v:.3g}" for q, v in quantiles.items())
            table.add_row(f"training {name}", values)
    network = about["network"]
    for key in ("encoder_channels", "encoder_depths", "decoder_channels", "decoder_depths", "patch_size"):
        table.add_row(key, str(network[key]))
    for key, value in _flat(about["provenance"]).items():
        if not key.startswith("losses ") or key.endswith(" weight") or key.count(" ") == 1:  # the rest is in --json
            table.add_row(key, str(value))
    console.print(table)
    labels = Table(title=f"label set {about['labels']['name']}", title_justify="left")
    for column in ("id", "class", "colour", "raw ids"):
        labels.add_column(column, justify="right" if column == "id" else "left")
    for c in about["labels"]["classes"]:
        r, g, b = c["color"]
        raw = ", ".join(map(str, c["raw_ids"]))
        labels.add_row(str(c["id"]), c["name"], f"[rgb({r},{g},{b})]██[/] {r} {g} {b}", raw)
    console.print(labels)


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key} "))
        elif value is not None:
            flat[prefix + key] = f"{value:.4g}" if isinstance(value, float) else value
    return flat
