# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Recipes and `--key.sub value` into typed settings; whatever is wrong becomes one line that names the key."""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
from collections.abc import Sequence
from typing import TypeVar

from jsonargparse import ArgumentParser, Namespace

from srkd_ros.errors import ConfigError
from srkd_train import config as config_module
from srkd_train.config import TrainConfig, check

C = TypeVar("C", bound=TrainConfig)


def config_parser(cls: type[C], program: str, examples: str) -> ArgumentParser:
    """A parser of every key of a configuration."""
    parser = ArgumentParser(
        prog=program,
        description=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
        usage=f"{program} --config FILE [--key.sub value ...]",
    )
    parser.add_argument("--config", action="config", help="a recipe, as in config/train/; later settings win")
    parser.add_class_arguments(cls)
    _explain(parser)
    return parser


def _explain(parser: ArgumentParser) -> None:
    """Put the comments beside the settings in config.py into --help, and keys in place of class names."""
    from srkd_ros import student

    comments: dict[tuple[str, str], str] = {}
    for module in (config_module, student):
        current = ""
        for line in inspect.getsource(module).splitlines():
            if match := re.match(r"class (\w+)", line):
                current = match[1]
            elif match := re.match(r"    (\w+): .*?  # (.*)", line):
                comments[current, match[1]] = match[2]
    for group in parser._action_groups:
        if match := re.match(r"<class '[\w.]*?(\w+)'>", group.title or ""):
            key = next((a.dest for a in group._group_actions if "." in a.dest), "")
            group.title = key.rsplit(".", 1)[0] or "run"
            for action in group._group_actions:
                name = (match[1], action.dest.rsplit(".", 1)[-1])
                owner = name if name in comments else ("TrainConfig", name[1])
                if owner in comments and action.help in (None, ""):
                    action.help = comments[owner].replace("%", "%%")


def parse_config(cls: type[C], arguments: Sequence[str], program: str, examples: str) -> C:
    """The configuration of a command line; ConfigError in one line if a key or value is wrong. --help exits."""
    parser = config_parser(cls, program, examples)
    try:
        settings = parser.parse_args(list(arguments))
    except argparse.ArgumentError as error:
        raise ConfigError(_one_line(str(error), parser)) from error
    except UnicodeDecodeError as error:
        files = [a for before, a in zip(["", *arguments], arguments, strict=False) if before == "--config"]
        files += [a.removeprefix("--config=") for a in arguments if a.startswith("--config=")]
        raise ConfigError(f"--config: {' or '.join(files)} is not text; name a recipe, as in config/train/") from error
    config = _built(cls, parser.instantiate(settings))
    check(config)
    return config


def _built(cls: type[C], settings: Namespace) -> C:
    values = {k: v for k, v in vars(settings).items() if k not in ("config", "__path__")}
    return cls(**values)


def _one_line(message: str, parser: ArgumentParser) -> str:
    keys = sorted(k for k in parser.get_defaults().keys(branches=True) if k != "config")
    if match := re.search(r"unrecognized arguments: (.*)", message):
        return _unknown(match[1].split()[0].lstrip("-").split("=")[0], keys)
    if match := re.search(r"Group '(.*?)' does not accept option '(.*?)'", message):
        return _unknown(f"{match[1]}.{match[2]}", keys)
    if match := re.search(r"Option '(.*?)' is not accepted", message):
        return _unknown(match[1], keys)
    if match := re.search(r'Parser key "config": File does not exist: \'(.*)\'', message):
        return f"--config: no such file {match[1]}"
    if match := re.search(r'Parser key "(.*?)":?\s*(.*)', message, re.DOTALL):
        return f"{match[1]}: {_readable(match[2])}"
    return _readable(message)


def _unknown(key: str, keys: list[str]) -> str:
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    if not near:  # the right name in the wrong place
        near = [k for k in keys if k.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]][:1]
    return f"{key}: unknown key" + (f"; did you mean {near[0]}?" if near else "; --help lists them")


def _readable(message: str) -> str:
    line = " ".join(message.split())
    line = re.sub(r"<class '(\w+)'>", r"\1", line).replace("typing.", "")
    line = line.replace("Expected a ", "expected ").replace("Got value:", "got")
    return line[0].lower() + line[1:] if line[:1].isupper() and not line[:2].isupper() else line
