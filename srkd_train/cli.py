# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""srkd-train: synthetic data, training, distillation, evaluation, import and export. Heavy packages load on demand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from srkd_ros.errors import SrkdError

EXAMPLES = """\
examples:
  srkd-train synth data/streets                                             synthetic streets, SemanticKITTI layout
  srkd-train teacher --config config/train/synthetic-teacher.yaml           supervised: a teacher, or a baseline
  srkd-train distill --config config/train/synthetic-distill.yaml --teacher runs/teacher/student.safetensors
  srkd-train distill --config config/train/synthetic-distill.yaml --resume  after an interruption
  srkd-train eval student.safetensors data/streets --json metrics.json      mIoU, per class, by range
  srkd-train import checkpoint.pth --arch litept-s --labels nuscenes -o teacher.safetensors
  srkd-train export student.safetensors --format onnx
  srkd-train info student.safetensors

commands: synth, teacher, distill, eval, import, export, info      each with its own --help
"""

TRAIN_EXAMPLES = """\
examples:
  srkd-train teacher --config config/train/synthetic-teacher.yaml
  srkd-train teacher --config config/train/semantickitti-teacher.yaml --data.root ~/kitti --trainer.precision bf16
  srkd-train teacher --config config/train/synthetic-student.yaml --optimizer.lr 0.004 --output runs/baseline
  srkd-train teacher --config ... --resume                       continue a run that was interrupted
  torchrun --nproc_per_node 8 -m srkd_train.cli teacher --config ... --trainer.devices 8

Every key of the recipe can be given on the command line; `--print_config` shows all of them.
"""

DISTILL_EXAMPLES = """\
examples:
  srkd-train distill --config config/train/synthetic-distill.yaml --teacher runs/teacher/student.safetensors
  srkd-train distill --config config/train/nuscenes-distill.yaml --teacher cdsegnet.safetensors --data.root ~/nuscenes
  srkd-train distill --config ... --losses.cross_sample.weight 0 --losses.kl.temperature 4
  srkd-train distill --config ... --data.unlabelled '[drive.mcap]'      a robot's own recordings, without labels
  srkd-train distill --config ... --resume                       continue a run that was interrupted

Every key of the recipe can be given on the command line; `--print_config` shows all of them.
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise SrkdError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the console script: exit status 0, 1 for a full disk and the like, 2 for wrong input, 130 if stopped."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(arguments)
    except SrkdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        print(f"error: {name}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: a training continues with --resume from its last checkpoint", file=sys.stderr)
        return 130


def _run(arguments: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "synth": _synth,
        "teacher": _teacher,
        "distill": _distill,
        "eval": _eval,
        "import": _import,
        "export": _export,
        "info": _info,
    }
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(EXAMPLES, end="")
        return 0
    if arguments[0] == "--version":
        from srkd_ros import __version__

        print(f"srkd-train {__version__}")
        return 0
    if arguments[0] not in commands:
        raise SrkdError(f"no command {arguments[0]!r}; there are {', '.join(commands)}")
    return commands[arguments[0]](arguments[1:])


def _parser(command: str, examples: str) -> _Parser:
    return _Parser(
        prog=f"srkd-train {command}",
        description=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a number of scans; 0 takes all")
    return int(text)


def _synth(arguments: list[str]) -> int:
    parser = _parser(
        "synth",
        "  srkd-train synth data/streets\n"
        "  srkd-train synth data/vlp16 --sensor vlp-16 --sequences 4 --scans 100 --seed 7\n"
        "  srkd-train synth data/drive --sequences 1 --bag              also a rosbag2 (mcap) of the drive\n",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="a new or empty folder, or one to complete")
    parser.add_argument("--sequences", type=int, default=8, help="towns, each a sequence of its own (8)")
    parser.add_argument("--scans", type=int, default=40, help="sweeps a sequence (40)")
    parser.add_argument("--sensor", default="os1-64", help="os1-64, os1-128, hdl-32e or vlp-16 (os1-64)")
    parser.add_argument("--columns", type=int, help="firings a revolution; default: the sensor's own")
    parser.add_argument("--stride", type=int, help="keep every n-th revolution (1 with --bag, else 5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bag", action="store_true", help="also write a rosbag2 (mcap) a sequence")
    given = parser.parse_args(arguments)
    from srkd_train.simulation import synthesize

    synthesize(**vars(given))
    print(given.out)
    return 0


def _teacher(arguments: list[str]) -> int:
    from srkd_train.config import TrainConfig
    from srkd_train.parsing import parse_config

    config = parse_config(TrainConfig, _flags(arguments), "srkd-train teacher", TRAIN_EXAMPLES)
    from srkd_train.trainer import train

    print(train(config))
    return 0


def _distill(arguments: list[str]) -> int:
    from srkd_train.config import DistillConfig
    from srkd_train.parsing import parse_config

    # `--teacher FILE` is short for `--teacher.file FILE`.
    arguments = ["--teacher.file" if a == "--teacher" else a for a in arguments]
    arguments = [a.replace("--teacher=", "--teacher.file=", 1) for a in arguments]
    config = parse_config(DistillConfig, _flags(arguments), "srkd-train distill", DISTILL_EXAMPLES)
    from srkd_train.trainer import train

    print(train(config))
    return 0


def _flags(arguments: list[str]) -> list[str]:
    """`--resume` alone means `--resume true`."""
    return [
        "--resume=true" if a == "--resume" and (i + 1 == len(arguments) or arguments[i + 1].startswith("-")) else a
        for i, a in enumerate(arguments)
    ]


def _eval(arguments: list[str]) -> int:
    parser = _parser(
        "eval",
        "  srkd-train eval student.safetensors data/streets\n"
        "  srkd-train eval student.safetensors teacher.safetensors data/streets --json metrics.json --tta\n"
        "  srkd-train eval student.safetensors data/streets --on-corrupt skip           despite damaged scans\n"
        "  srkd-train eval student.onnx nuscenes/ --kind nuscenes --split val --picture confusion.png\n",
    )
    parser.add_argument("models", metavar="MODEL", type=Path, nargs="+", help="student files; they share a label set")
    parser.add_argument("data", metavar="DATA", type=Path, help="a dataset's folder")
    parser.add_argument("--kind", default="semantic_kitti", help="kind of dataset (semantic_kitti)")
    parser.add_argument("--split", default="val", help="split of the dataset (val)")
    parser.add_argument(
        "--labels", default="", help="label set of the data's raw ids, by name or YAML file (the dataset's own)"
    )
    parser.add_argument("--scans", type=_count, default=0, help="how many scans, evenly spread (all)")
    parser.add_argument(
        "--on-corrupt",
        choices=("refuse", "skip"),
        default="refuse",
        help="a scan that cannot be read: stop, or name, count and skip it (refuse)",
    )
    parser.add_argument("--tta", action="store_true", help="also with test-time augmentation, reported apart")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers, by class and range")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write a picture of the confusion matrices")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--precision", default="auto", help="of torch's products: auto, fp32, bf16, fp16 (auto)")
    given = parser.parse_args(arguments)
    if given.picture:
        _check_picture(given.picture)
    from rich.console import Console

    from srkd_train.evaluation import EvaluationOptions, evaluate, write_json

    options = EvaluationOptions(
        given.kind,
        given.split,
        given.labels,
        given.scans,
        given.tta,
        given.device,
        given.runtime,
        given.precision,
        given.picture,
        given.on_corrupt,
    )
    document = evaluate(given.models, given.data, options, Console())
    if given.json:
        write_json(document, given.json)
    return 0


def _check_picture(path: Path) -> None:
    """Before the evaluation, which may take hours: that a picture can be written under this name."""
    from matplotlib.backend_bases import FigureCanvasBase

    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix and path.suffix[1:].lower() not in formats:
        raise SrkdError(f"--picture: {path} is of no kind that can be written; possible are .{', .'.join(formats)}")


def _import(arguments: list[str]) -> int:
    parser = _parser(
        "import",
        "  srkd-train import nuscenes-litept.pth --arch litept-s --labels nuscenes -o teacher.safetensors\n"
        "  srkd-train import best.pth --arch ptv3 --labels classes.yaml --recipe nuscenes -o teacher.safetensors\n",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="Pointcept's .pth, or .safetensors")
    parser.add_argument(
        "--arch", required=True, help="litept-s, litept-s-star, litept-b, litept-l, ptv3-half, ptv3, sonata"
    )
    parser.add_argument("--labels", required=True, help="label set it was trained on: a name or a YAML file")
    parser.add_argument("--recipe", default="auto", help="preprocessing it was trained with (that of the label set)")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="student file to write")
    given = parser.parse_args(arguments)
    from srkd_train.checkpoints import run_import

    run_import(given.checkpoint, given.arch, given.labels, given.output, given.recipe)
    print(given.output)
    return 0


def _export(arguments: list[str]) -> int:
    parser = _parser(
        "export",
        "  srkd-train export student.safetensors\n"
        "  srkd-train export student.safetensors --precision fp16 -o half.onnx\n"
        "  srkd-train export half.onnx --format tensorrt --points 131072       on the robot itself\n",
    )
    parser.add_argument("student", metavar="STUDENT", type=Path, help="a student file, or its .onnx for an engine")
    parser.add_argument(
        "--format", default="onnx", help="onnx, or tensorrt: the graph and this machine's engine (onnx)"
    )
    parser.add_argument("--precision", help="fp32 or fp16 (onnx: fp32, tensorrt: fp16)")
    parser.add_argument("--points", type=int, help="points a scan that an engine is built for (131072)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="file to write (beside the student)")
    given = parser.parse_args(arguments)
    from srkd_train.export import run_export

    print(run_export(given.student, given.format, given.output, given.precision, given.points))
    return 0


def _info(arguments: list[str]) -> int:
    parser = _parser(
        "info", "  srkd-train info student.safetensors\n  srkd-train info student.safetensors --json | jq .provenance\n"
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="a student file, or its exported .onnx")
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")
    given = parser.parse_args(arguments)
    from srkd_train.info import describe, print_description

    about = describe(given.file)
    if given.json:
        import json

        print(json.dumps(about, indent=1))
    else:
        from rich.console import Console

        print_description(about, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
