# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Recipes and `--key.sub value` into typed settings; whatever is wrong becomes one line that names the key."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace, get_loader

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
        settings = parser.parse_args(_checked(cls, arguments))
    except argparse.ArgumentError as error:
        raise ConfigError(_one_line(str(error), parser)) from error
    config = _built(cls, parser.instantiate(settings))
    check(config)
    return config


def _checked(cls: type[C], arguments: Sequence[str]) -> list[str]:
    """The arguments, with the text of each recipe and section in place of its file; ConfigError for what is none.

    jsonargparse takes a section that is no mapping as it is, and what is built of it fails far from its key.
    """
    checked = list(arguments)
    for i, argument in enumerate(arguments):
        flag, joined, text = argument.partition("=")
        section = cls if flag == "--config" else _section(cls, flag[2:]) if flag.startswith("--") else None
        if section is None:
            continue
        if not joined:
            text = arguments[i + 1] if i + 1 < len(arguments) else "--"
            if text.startswith("--"):
                continue  # the parser says that the value is missing
        key = "" if flag == "--config" else flag[2:]
        # In quotes, as the text "1e3" is a number to jsonargparse without them.
        settings = yaml.safe_dump(_settings(section, key, _loaded(flag, text)), default_style='"')
        checked[i if joined else i + 1] = flag + joined + settings if joined else settings
    return checked


def _loaded(flag: str, text: str) -> Any:
    """YAML in a file of this name, or in `text` itself."""
    try:
        is_file = Path(text).is_file()
    except OSError:  # too long for a name
        is_file = False
    try:
        content = Path(text).read_text() if is_file else text
        value = get_loader("yaml")(content)  # jsonargparse's own: 1e-3 is a number
        if isinstance(value, str):  # what it makes of "augment:" alone, too
            value = yaml.safe_load(content)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{flag}: {text} is not text; name a recipe, as in config/train/") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(f"{flag}: {_short(text)} is not YAML{f' in line {mark.line + 1}' if mark else ''}") from error
    if flag == "--config" and not is_file and not isinstance(value, dict):
        raise ConfigError(f"--config: no such file {text}")
    return value


def _settings(section: type, key: str, given: Any) -> dict[str, Any]:
    """The mapping of a section, without empty ones in it; ConfigError naming the key of one that is no mapping."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        example = _example(section, given)
        raise ConfigError(f"{key or '--config'}: expected settings such as {example}, got {_short(given)}")
    checked = {}
    for name, value in given.items():
        inner = _section(section, str(name))
        checked[name] = value if inner is None else _settings(inner, f"{key}.{name}".lstrip("."), value)
    return checked


def _section(cls: type, key: str) -> type | None:
    """The type of the section at a dotted key; None for a single setting and for what is unknown."""
    for name in key.split("."):
        cls = get_type_hints(cls).get(name, object) if dataclasses.is_dataclass(cls) else object
    is_section = dataclasses.is_dataclass(cls) or get_origin(cls) is dict
    return cls if is_section else None


def _example(section: type, given: Any) -> str:
    """One setting of a section: of its default, or of what was given where that says more."""
    if not dataclasses.is_dataclass(section):
        return "{name: value}"
    first = dataclasses.fields(section)[0]
    return f"{{{first.name}: {first.default or _short(given)}}}"


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) < 60 else f"{text[:60]} ..."


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
