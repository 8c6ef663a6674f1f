# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""python -m benchmarks floor: how long a network must take on this machine at least, and how long it takes.

The floor is the network's arithmetic over the rate of a large matrix product, or its bytes over the rate of a large
copy, whichever takes longer; both rates are measured in the same rounds. Arithmetic: products of neighbours that exist,
of linear maps and of attention; no exponentials, norms or sums. Bytes: weights, tables, features and logits once, as if
all between stayed in caches. Layer by layer, the input and output of every layer are moved too, and the longer of both
counts for each.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress
from torch import Tensor, nn

from benchmarks import clouds, report
from benchmarks.models import bf16_available, check_device, cloud_of, network, student_file
from benchmarks.timing import Case, Timing, measure
from srkd_ros.errors import ConfigError, SrkdError
from srkd_ros.geometry import Geometry, Level, build_geometry, voxelize
from srkd_ros.geometry.tables import named_tables
from srkd_ros.native import without_kernels
from srkd_ros.network import PointTransformer
from srkd_ros.network.attention import PatchAttention, interleave
from srkd_ros.network.convolution import SubmanifoldConvolution
from srkd_ros.network.folding import fold
from srkd_ros.runtimes import open_runtime
from srkd_ros.runtimes.graph import table_names

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
INPUTS = (
    ("nano", "120k", 0.2),
    ("litept-s", "hdl-32e", 0.05),
    ("ptv3-half", "hdl-32e", 0.05),
    ("ptv3", "hdl-32e", 0.05),
)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SIDE = {"cpu": 2048, "cuda": 8192}  # of the large matrices
COPIED = {"cpu": 1 << 27, "cuda": 1 << 29}  # bytes of the large copy, many times a cache

console = Console(soft_wrap=True)


@dataclass(frozen=True)
class Work:
    """Of a layer, or of a network: multiplications and additions, and bytes that are moved."""

    flops: float
    bytes: float


def count_layers(model: PointTransformer, features: Tensor, geometry: Geometry, width: int) -> list[Work]:
    """The work of each layer of a folded model, its own from now on, on one cloud; numbers of `width` bytes."""
    interleave(model)  # or rotary attention would take qkv's weights itself, unseen
    layers: list[Work] = []

    def convolution(module: SubmanifoldConvolution, given: tuple[Tensor, Level], out: Tensor) -> None:
        x, level = given
        table = level.neighbors[module.kernel_size]
        pairs = int((table < len(x)).sum())
        moved = width * (x.numel() + out.numel() + module.weight.numel()) + table.numel() * table.element_size()
        layers.append(Work(2.0 * pairs * module.in_channels * module.out_channels, moved))

    def linear(module: nn.Linear, given: tuple[Tensor], out: Tensor) -> None:
        moved = width * (given[0].numel() + out.numel() + module.weight.numel())
        layers.append(Work(2.0 * given[0].numel() * module.out_features, moved))

    def attention(module: PatchAttention, given: tuple[Tensor, Level], out: Tensor) -> None:
        table = given[1].patches[module.order].table
        layers.append(Work(4.0 * table.numel() * table.shape[1] * out.shape[1], width * 4 * out.numel()))

    hooks: tuple[tuple[type[nn.Module], Callable], ...] = (
        (SubmanifoldConvolution, convolution), (nn.Linear, linear), (PatchAttention, attention),
    )  # fmt: skip
    handles = [
        module.register_forward_hook(hook)
        for module in model.modules()
        for kind, hook in hooks
        if isinstance(module, kind)
    ]
    with torch.inference_mode(), without_kernels():
        model(features, geometry)
    for handle in handles:
        handle.remove()
    return layers


def once(model: PointTransformer, features: Tensor, geometry: Geometry, width: int) -> float:
    """Bytes of weights, tables, features and logits, each once."""
    tables = named_tables(geometry, table_names(model), model.config.rope_base).values()
    weights = sum(parameter.numel() for parameter in model.parameters())
    ends = features.numel() + len(features) * model.config.num_classes
    return width * weights + 4 * ends + sum(table.numel() * table.element_size() for table in tables)


def floors(layers: Sequence[Work], moved_once: float, flops_per_ms: float, bytes_per_ms: float) -> dict[str, float]:
    """Milliseconds: of all arithmetic, of what must be moved, the longer of the two, and layer by layer."""
    arithmetic = sum(layer.flops for layer in layers) / flops_per_ms
    memory = moved_once / bytes_per_ms
    by_layer = sum(max(layer.flops / flops_per_ms, layer.bytes / bytes_per_ms) for layer in layers)
    return {"arithmetic": arithmetic, "memory": memory, "floor": max(arithmetic, memory), "layer by layer": by_layer}


def row(preset: str, cloud: str, voxel_size: float, precision: str, device: str, seconds: float) -> dict[str, Any]:
    """Counted and measured, of one network on one cloud."""
    voxels = voxelize(clouds.tensor(cloud_of(cloud).returns, device), voxel_size)
    features = torch.randn(len(voxels.code), 4, generator=torch.Generator().manual_seed(0)).to(device)
    model = fold(network(preset)).to(device)
    geometry = build_geometry(voxels, dataclasses.replace(model.geometry_spec, tables="neighbors"))
    dtype = DTYPES[precision]
    layers = count_layers(model, features, geometry, dtype.itemsize)
    moved = once(model, features, geometry, dtype.itemsize)

    runtime = open_runtime(student_file(preset, voxel_size), "torch", device, precision)
    tables = build_geometry(voxels, runtime.geometry_spec)
    product, copy = rates(dtype, device)
    run = torch.inference_mode()(lambda: runtime.logits(features, tables))
    timings = measure([product, copy, Case("network", run)], seconds)
    flops_per_ms, bytes_per_ms = fastest(timings[0], 2.0 * SIDE[device] ** 3), fastest(timings[1], 2.0 * COPIED[device])
    found = floors(layers, moved, flops_per_ms, bytes_per_ms)
    return {
        "network": preset, "cloud": cloud, "voxel_size": voxel_size, "precision": precision, "voxels": len(features),
        "gflop": sum(layer.flops for layer in layers) / 1e9, "mb_once": moved / 1e6,
        "gflop_per_s": flops_per_ms / 1e6, "gb_per_s": bytes_per_ms / 1e6,
        **{f"{name}_ms": value for name, value in found.items()},
        "median_ms": timings[2].median, "p95_ms": timings[2].p95, "runtime": runtime.reason,
    }  # fmt: skip


def rates(dtype: torch.dtype, device: str) -> tuple[Case, Case]:
    """A large matrix product, and a large copy."""
    side = SIDE[device]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.zeros(COPIED[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return Case("product", lambda: a @ b), Case("copy", lambda: target.copy_(source))


def fastest(timing: Timing, amount: float) -> float:
    """Amount a millisecond in the fastest round: a rate that the machine has shown."""
    return amount / min(timing.times)


def markdown(rows: Sequence[dict[str, Any]], info: dict[str, Any]) -> str:
    """The page."""
    lines = [
        f"# The floor, and the distance to it, on {info['gpu'] or info['cpu']}",
        "",
        f"{info['cores']} cores, {info['torch_threads']} torch threads. torch {info['torch']}. {info['date']}, "
        f"revision {info['revision']}, load {info['load_at_start']} at the start. Made by `{info['command']}`.",
        "",
        *(" ".join(part.split()) for part in (__doc__ or "").partition("\n\n")[2:]),
        "",
        "| network, cloud (voxels) | GFLOP | rate, GFLOP/s | MB | rate, GB/s | floor, ms | layer by layer, ms "
        "| measured, median / p95 ms | over the floor | over layer by layer |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in rows:
        over = "memory" if one["memory_ms"] > one["arithmetic_ms"] else "arithmetic"
        lines.append(
            f"| {one['network']} {one['precision']}, {one['cloud']} at {one['voxel_size']} m ({one['voxels']:,}) "
            f"| {one['gflop']:.1f} | {one['gflop_per_s']:,.0f} | {one['mb_once']:.1f} | {one['gb_per_s']:.1f} "
            f"| {one['floor_ms']:.1f} ({over}) | {one['layer by layer_ms']:.1f} "
            f"| {one['median_ms']:.1f} / {one['p95_ms']:.1f} | {one['median_ms'] / one['floor_ms']:.1f} "
            f"| {one['median_ms'] / one['layer by layer_ms']:.1f} |"
        )
    if info["gpu"]:
        lines += ["", *(f"- {one['network']} {one['precision']}: {one['runtime']}" for one in rows)]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks floor",
        description=(__doc__ or "").partition(": ")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--presets", nargs="+", default=[each[0] for each in INPUTS], metavar="NAME")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0, help="of measuring a network, or five rounds")
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR", help="folder to write to")
    given = parser.parse_args(arguments)
    try:
        wanted = [each for each in INPUTS if each[0] in given.presets]
        unknown = [name for name in given.presets if name not in [each[0] for each in INPUTS]]
        if unknown:
            raise ConfigError(f"--presets: {unknown[0]!r} is not one of {', '.join(each[0] for each in INPUTS)}")
        check_device(given.device)
        info = report.hardware(f"python -m benchmarks floor {shlex.join(arguments)}")
        precisions = ["fp32", *(["bf16"] if bf16_available(given.device) or given.device == "cuda" else [])]
        precisions += ["fp16"] if given.device == "cuda" else []
        with Progress(console=console) as progress:
            jobs = [(*each, precision) for each in wanted for precision in precisions]
            rows = [row(*each, given.device, given.seconds) for each in progress.track(jobs)]
    except (SrkdError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    text = markdown(rows, info)
    report.write_text(given.output / f"floor-{given.device}.md", text)
    console.print(Markdown(text))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
