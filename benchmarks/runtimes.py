# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""python -m benchmarks runtimes: every preset in every runtime on three sensors' clouds, geometry and network apart."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from benchmarks import clouds, report
from benchmarks.jobs import Job, run_job
from benchmarks.models import bf16_available, check_device, cloud_of, network, student_file
from benchmarks.timing import Case, Group
from srkd_ros.errors import ConfigError, SrkdError
from srkd_ros.geometry import Voxels, build_geometry, voxelize
from srkd_ros.network import PRESETS, parameter_count
from srkd_ros.runtimes import Runtime, open_runtime

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
RUNTIMES = ("torch", "onnx", "tensorrt")
TITLES = {
    "network": "Network: voxel features and tables to logits",
    "geometry": "Geometry: voxels to the tables it reads",
}
EXAMPLES = """examples:
  python -m benchmarks runtimes                               all presets, into docs/benchmarks/runtimes-cpu.md, .json
  python -m benchmarks runtimes --presets nano --seconds 10   one preset, longer
  python -m benchmarks runtimes --device cuda                 on a GPU, fp16, with TensorRT where it is installed
"""

console = Console()


@dataclass(frozen=True)
class Options:
    """Of a run."""

    device: str
    voxel_size: float  # metres
    runtimes: Sequence[str]
    seconds: float  # of measuring, for a preset on a cloud
    limit: float  # seconds a cloud above which a larger cloud is not tried


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks runtimes",
        description=__doc__.partition(": ")[2],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), metavar="NAME", help=", ".join(PRESETS))
    parser.add_argument("--clouds", nargs="+", default=list(clouds.SENSORS), metavar="NAME", help="smallest first")
    parser.add_argument("--runtimes", nargs="+", default=list(RUNTIMES), choices=RUNTIMES)
    parser.add_argument("--voxel-size", type=float, default=0.2, help="metres (default 0.2)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seconds", type=float, default=1.0, help="of measuring a table, or five rounds")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds a cloud; what would be slower is left out")
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR", help="folder to write to")
    given = parser.parse_args(arguments)
    options = Options(given.device, given.voxel_size, given.runtimes, given.seconds, given.limit)
    try:
        check(given)
        info = report.hardware(f"python -m benchmarks runtimes {shlex.join(arguments)}")
        rows, skipped = measure_all(given.presets, given.clouds, options)
    except (SrkdError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    results = report.document(info, rows, skipped)
    text = report.markdown(results, TITLES)
    report.write_json(given.output / f"runtimes-{options.device}.json", results)
    report.write_text(given.output / f"runtimes-{options.device}.md", text)
    console.print(Markdown(text))
    return 0


def check(given: argparse.Namespace) -> None:
    """ConfigError in one line for a name that does not exist."""
    for name in given.presets:
        if name not in PRESETS:
            raise ConfigError(f"--presets: {name!r} is not one of {', '.join(PRESETS)}")
    for name in given.clouds:
        if name not in clouds.SENSORS:
            raise ConfigError(f"--clouds: {name!r} is not one of {', '.join(clouds.SENSORS)}")
    check_device(given.device)


def measure_all(
    presets: Sequence[str], sensors: Sequence[str], options: Options
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows of both tables, and what was left out."""
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []

    def leave_out(preset: str, input: str, method: str, reason: str) -> None:
        skipped.append({"benchmark": preset, "input": input, "method": method, "reason": reason})

    with Progress(console=console) as progress:
        task = progress.add_task("", total=len(presets) * len(sensors))
        for preset in presets:
            expected = 0.0  # seconds a voxel of the slowest runtime, from the cloud before
            for sensor in sensors:
                progress.update(task, description=f"{preset}: {sensor}")
                voxels, features = voxels_of(sensor, options)
                label = f"{preset}, {sensor}"
                if expected * len(features) > options.limit:
                    leave_out(preset, sensor, "all", f"about {expected * len(features):.0f} s a cloud (--limit)")
                    progress.advance(task)
                    continue
                opened = {}  # anew for each cloud: what a runtime keeps of another would not count as its memory
                for name, runtime, reason in open_all(preset, options):
                    if runtime is not None:
                        opened[name] = runtime
                    elif sensor == sensors[0]:
                        leave_out(preset, "all", name, reason)
                for name, table in (("network", network_group), ("geometry", geometry_group)):
                    build = partial(table, preset, voxels, features, opened)
                    found, left_out = run_job(Job(name, label, build, options.seconds), False, lambda share: None)
                    rows += found
                    for method, reason in left_out.items():
                        leave_out(preset, sensor, method, reason)
                    if name == "network" and found:
                        expected = max(row["median_ms"] for row in found) / 1e3 / len(features)
                progress.advance(task)
    return sorted(rows, key=lambda row: list(TITLES).index(row["benchmark"])), skipped


def open_all(preset: str, options: Options) -> Iterator[tuple[str, Runtime | None, str]]:
    """Name, runtime (None if it cannot be had) and the reason why not."""
    student = student_file(preset, options.voxel_size)
    precision = "fp16" if options.device == "cuda" else "fp32"
    graph: Path | None = None
    for name in options.runtimes:
        try:
            if name != "torch" and graph is None:
                from srkd_train.export import export_onnx

                graph = student.with_suffix(f".{precision}.onnx")
                if not graph.exists():  # of the cloud before
                    export_onnx(student, graph, precision)
            file = student if graph is None or name == "torch" else graph
            runtime = open_runtime(file, name, options.device, precision)
            yield f"{name} {precision}", runtime, ""
            if name == "torch" and bf16_available(options.device):
                yield "torch bf16", open_runtime(student, name, options.device, "bf16"), ""
        except SrkdError as error:
            yield name, None, str(error)


def voxels_of(sensor: str, options: Options) -> tuple[Voxels, torch.Tensor]:
    """Voxels of a simulated sweep, and random features [V, 4]."""
    voxels = voxelize(clouds.tensor(cloud_of(sensor).returns, options.device), options.voxel_size)
    features = torch.randn(len(voxels.code), 4, generator=torch.Generator().manual_seed(0))
    return voxels, features.to(options.device)


def network_group(preset: str, voxels: Voxels, features: torch.Tensor, opened: dict[str, Runtime]) -> Group:
    """Voxel features and tables to logits."""
    cases = []
    for name, runtime in opened.items():
        geometry = build_geometry(voxels, runtime.geometry_spec)
        run = torch.inference_mode()(partial(runtime.logits, features, geometry))
        cases.append(Case(name, run, torchs=runtime.name == "torch" or not features.is_cuda))
    return Group(cases, cases[0].method, _sizes(preset, features))


def geometry_group(preset: str, voxels: Voxels, features: torch.Tensor, opened: dict[str, Runtime]) -> Group:
    """Voxels to the tables that each runtime reads; those of torch are the same in any precision."""
    cases = [
        Case(name, torch.inference_mode()(partial(build_geometry, voxels, runtime.geometry_spec)))
        for name, runtime in opened.items()
        if name != "torch bf16"
    ]
    return Group(cases, cases[0].method, _sizes(preset, features))


def _sizes(preset: str, features: torch.Tensor) -> dict[str, int]:
    return {"parameters": parameter_count(network(preset)), "voxels": len(features)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
