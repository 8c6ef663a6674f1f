# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""srkd-replay: how good and how fast is a student on these recordings?"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from srkd_ros import __version__
from srkd_ros.errors import SrkdError
from srkd_ros.replay.arguments import ExamplesFirst, OneLine, factor, positive, seconds, shard

EXAMPLES = """\
examples:
  srkd-replay drive.mcap --model student.safetensors
  srkd-replay rosbag2_folder/ --model student.safetensors --topic /ouster/points
  srkd-replay kitti/sequences/08 --model student.safetensors              (labels/ beside it is the truth)
  srkd-replay drive.mcap --model a.safetensors --model b.safetensors --truth labels/
  srkd-replay drive.mcap --model student.safetensors --teacher teacher.safetensors   (no truth: agreement)
  srkd-replay drive.mcap --model student.safetensors --realtime           (through the live node, over ROS 2)
  srkd-replay day1/*.mcap --model student.safetensors --shard 0/4 -o out  (then: srkd-replay merge out/*_shard*)
  srkd-replay compare results/before/metrics.json results/latest/metrics.json --max-miou-drop 0.5

options of the other commands: srkd-replay compare --help, srkd-replay merge --help
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the console script: exit status 0, 2 for wrong input, 130 when interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["compare"]:
            from srkd_ros.replay import compare

            return compare.main(arguments[1:])
        if arguments[:1] == ["merge"]:
            from srkd_ros.replay import merge

            return merge.main(arguments[1:])
        return _replay(parser().parse_args(arguments))
    except SrkdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        nothing = "--realtime" in arguments or getattr(stopped, "nothing_kept", False)
        hint = "" if nothing else ": the same command with --resume goes on from here"
        print(f"interrupted{hint}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


def _replay(given: argparse.Namespace) -> int:
    from srkd_ros.replay import results
    from srkd_ros.replay.models import Options
    from srkd_ros.replay.pipeline import replay
    from srkd_ros.replay.source import Selection
    from srkd_ros.replay.table import print_summary

    console = Console(stderr=True) if given.json == "-" else Console()
    options = Options(
        inputs=given.inputs,
        models=given.model,
        topic=given.topic,
        truth=given.truth,
        truth_ids=given.truth_ids,
        teacher=given.teacher,
        output=given.output,
        selection=Selection(given.start, given.end, given.every, given.n, given.shard),
        device=given.device,
        runtime=given.runtime,
        precision=given.precision,
        intensity_scale=given.intensity_scale,
        intensity_field=given.intensity_field,
        bag=given.bag,
        resume=given.resume,
        rerun=given.rerun,
        realtime=given.realtime,
        rate=given.rate,
    )
    results.check_target("--json", given.json)
    with terminated_as_interrupted():
        folder = replay(options, console)
    document = json.loads((folder / "metrics.json").read_text())
    print_summary(document, folder, console)
    results.write_copy(document, given.json)
    return 0


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, with which schedulers and service managers end a run, saves as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def parser() -> argparse.ArgumentParser:
    p = OneLine(
        "srkd-replay",
        usage="srkd-replay BAG [BAG ...] --model FILE [options]",
        description=EXAMPLES,
        formatter_class=ExamplesFirst,
        add_help=False,
    )
    g = p.add_argument_group("input")
    g.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="BAG",
        help="rosbag2 folder, .mcap, .db3, ROS 1 .bag, folder of SemanticKITTI or nuScenes",
    )
    g.add_argument("-t", "--topic", help="PointCloud2 topic; needed where there are several")
    g.add_argument("--start", type=seconds, default=0.0, metavar="S", help="skip the first S seconds of each input")
    g.add_argument("--end", type=seconds, default=float("inf"), metavar="S", help="stop S seconds into each input")
    g.add_argument("--every", type=positive, default=1, metavar="K", help="every K-th cloud")
    g.add_argument("-n", type=positive, metavar="N", help="at most N clouds")
    g.add_argument("--intensity-field", default="auto", metavar="NAME", help='field to read, "" for none (auto)')
    g.add_argument("--intensity-scale", default="auto", metavar="X", help="raw intensity that counts as 1.0 (auto)")
    g = p.add_argument_group("models")
    g.add_argument(
        "-m", "--model", action="append", type=Path, required=True, metavar="FILE", help="student; repeat to compare"
    )
    g.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (auto)")
    g.add_argument("--runtime", default="auto", help="auto, torch, onnx, tensorrt (auto)")
    g.add_argument("--precision", default="auto", help="of matrix products in torch: auto, fp32, bf16, fp16 (auto)")
    g = p.add_argument_group("truth")
    g.add_argument("--truth", metavar="DIR|TOPIC|FIELD", help=".label files in order, a label topic, or a cloud field")
    g.add_argument("--truth-ids", choices=("raw", "class"), help="what its numbers are (raw in files, else class)")
    g.add_argument("--teacher", type=Path, metavar="FILE", help="without truth: measure agreement with this model")
    g = p.add_argument_group("live")
    g.add_argument("--realtime", action="store_true", help="through the real node at sensor rate (needs rclpy)")
    g.add_argument("--rate", type=factor, default=1.0, metavar="X", help="times the sensor's rate (1.0)")
    g = p.add_argument_group("output")
    g.add_argument("-o", "--output", type=Path, default=Path("results"), metavar="DIR", help="(results)")
    g.add_argument("--json", metavar="FILE", help="also write metrics.json there; - for standard output")
    g.add_argument("--no-bag", dest="bag", action="store_false", help="do not write the labelled bag")
    g.add_argument("--rerun", nargs="?", const="", metavar="FILE.rrd", help="open Rerun, or save its recording")
    g = p.add_argument_group("large recordings")
    g.add_argument("--shard", type=shard, default=(0, 1), metavar="I/N", help="only the I-th of N blocks (from 0)")
    g.add_argument("--resume", action="store_true", help="go on with the same run where it was interrupted")
    g = p.add_argument_group("other")
    g.add_argument("-h", "--help", action="help", help="this text")
    g.add_argument("--version", action="version", version=f"srkd-replay {__version__}")
    return p


if __name__ == "__main__":
    sys.exit(main())
