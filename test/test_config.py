# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Settings of the right type that make no sense are refused before anything is opened; those that do are not."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from srkd_ros.errors import ConfigError
from srkd_ros.network import preset
from srkd_train.cli import main
from srkd_train.config import DistillConfig, TrainConfig, check
from srkd_train.parsing import parse_config
from srkd_train.ranges import RANGES, TERMS, numbers


def full() -> DistillConfig:
    """A configuration that names every number: the network's come from a preset otherwise."""
    c = DistillConfig()
    for field in dataclasses.fields(c.network):
        if field.name != "preset":
            setattr(c.network, field.name, getattr(preset("litept-s"), field.name))
    return c


def changed(c: TrainConfig, key: str, value: Any) -> TrainConfig:
    *path, name = key.split(".")
    owner: Any = c
    for part in path:
        owner = getattr(owner, part)
    object.__setattr__(owner, name, value)  # Preprocessing is frozen
    return c


def test_every_number_has_a_range_and_the_defaults_lie_in_it():
    c = full()
    assert {key for key, _ in numbers(c)} == set(RANGES)
    check(c)
    check(TrainConfig())


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_no_float_may_be_infinite_or_no_number(bad: float):
    floats = {key for key, value in numbers(full()) if isinstance(value, float)}
    assert len(floats) > 40
    for key in floats:
        several = [v for k, v in numbers(full()) if k == key]
        value = (*several[:-1], bad) if len(several) > 1 else bad
        with pytest.raises(ConfigError, match=f"^{key}: {bad} is not a finite number$"):
            check(changed(full(), key, value))


WRONG = [
    ("data.workers", "-1", "-1 is not 0 or more"),
    ("data.validation_scans", "-2", "-2 is not 0 or more"),
    ("data.sensor_height", "-1", "-1.0 is not 0 or more"),
    ("trainer.max_steps", "-5", "-5 is not 0 or more"),
    ("trainer.threads", "-1", "-1 is not 0 or more"),
    ("trainer.devices", "-1", "-1 is not 0 or more"),
    ("trainer.ema", "2", "2.0 is not between 0 and 1"),
    ("optimizer.lr", ".inf", "inf is not a finite number"),
    ("optimizer.initial_divisor", "0", "0.0 is not positive"),
    ("optimizer.weight_decay", "-1", "-1.0 is not 0 or more"),
    ("seed", "-1", "-1 is not between 0 and 4294967295"),
    ("seed", "4294967296", "4294967296 is not between 0 and 4294967295"),
    ("preprocessing.features", "[]", "none; name one or more of x, y, z, intensity"),
    ("preprocessing.voxel_size", "1e-7", "1e-07 is not 0.001 m or more"),
    ("network.encoder_heads", "[1, 2, 0, 4, 6]", "0 is not positive"),
    ("network.drop_path", "1", "1.0 is not 0 or more and below 1"),
    ("augment.scale", "[0, 1]", "0.0 is not positive"),
    ("augment.scale", "[1.1, 0.9]", "[1.1, 0.9] is not a rising pair"),
    ("augment.sector", "361", "361.0 is not an angle up to 360 degrees"),
    ("losses.cross_entropy", "-1", "-1.0 is not 0 or more"),
    ("losses.smoothing", "2", "2.0 is not between 0 and 1"),
    ("losses.fade", "[0.5, 2]", "2.0 is not between 0 and 1"),
    ("losses.fade", "[0.8, 0.5]", "[0.8, 0.5] is not a rising pair of shares"),
    ("losses.kl.weight", ".nan", "nan is not a finite number"),
    ("losses.channel.temperature", "0", "0.0 is not positive"),
    ("losses.point_affinity.cell", "[0, 60, 1.5]", "0.0 is not positive"),
    ("losses.point_affinity.extent", "[0, 0]", "0.0 is not positive"),
    ("losses.voxel_affinity.size", "1", "1 is not 2 or more"),
    ("losses.cross_sample.points", "0", "0 is not 2 or more"),
    ("losses.feature.stages", "[0, -1]", "-1 is not 0 or more"),
]


@pytest.mark.parametrize(("key", "value", "said"), WRONG, ids=lambda v: v)
def test_a_wrong_value_is_one_line_and_status_2(
    key: str, value: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data: {{root: {tmp_path / 'missing'}}}\n")
    assert main(["distill", "--config", str(recipe), "--output", str(tmp_path / "run"), f"--{key}", value]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {key}: {said}")
    assert printed.count("\n") == 1


def test_zeros_that_mean_a_default_or_off_are_kept():
    c = full()
    for key in ("seed", "data.workers", "data.validation_scans", "data.unlabelled_scale", "data.sensor_height"):
        changed(c, key, 0)
    for key in ("max_steps", "gradient_clip", "ema", "devices", "threads", "batch_norm_momentum"):
        changed(c, f"trainer.{key}", 0)
    for key in ("rotate_z", "flip", "jitter", "jitter_clip", "shift_z", "drop", "intensity_gain", "mix_prob"):
        changed(c, f"augment.{key}", 0.0)
    for key in ("weight_decay", "block_lr_factor", "warmup"):
        changed(c, f"optimizer.{key}", 0.0)
    changed(changed(c, "losses.cross_entropy", 0.0), "losses.lovasz", 0.0)  # the teacher's terms are left
    check(c)


def test_losses_that_leave_nothing_to_learn():
    supervised = TrainConfig()
    supervised.losses.cross_entropy = supervised.losses.lovasz = 0.0
    with pytest.raises(ConfigError, match="losses: cross_entropy, lovasz are all 0"):
        check(supervised)
    c = DistillConfig()
    c.losses.channel.weight, c.losses.channel.points, c.losses.channel.voxels = 0.5, False, False
    with pytest.raises(ConfigError, match=r"losses\.channel: neither points nor voxels"):
        check(c)
    c.losses.channel.points, c.losses.channel.voxel_reduction = True, "sum"
    with pytest.raises(ConfigError, match=r"losses\.channel\.voxel_reduction: sum goes with over: channels"):
        check(c)
    c.losses.cross_entropy = c.losses.lovasz = c.losses.kl.weight = 0.0
    c.losses.channel.voxel_reduction, c.losses.fade = "mean", (0.5, 0.9)
    with pytest.raises(ConfigError, match=r"losses\.fade: nothing is left to learn at the end"):
        check(c)
    for term in TERMS:
        getattr(c.losses, term).weight = 0.0
    with pytest.raises(ConfigError, match=r"lovasz, kl\.weight, .*, feature\.weight are all 0"):
        check(c)


NOT_SECTIONS = [
    ("losses:\n  kl: 0.3\n", "losses.kl: expected settings such as {weight: 0.3}, got 0.3"),
    ("losses.kl: 0.3\n", "losses.kl: expected settings such as {weight: 0.3}, got 0.3"),
    ("losses:\n  channel: 0.5\n", "losses.channel: expected settings such as {weight: 0.5}, got 0.5"),
    ("losses: 3\n", "losses: expected settings such as {cross_entropy: 1.0}, got 3"),
    ("network: nano\n", "network: expected settings such as {preset: nano}, got nano"),
    ("teacher: t.safetensors\n", "teacher: expected settings such as {file: t.safetensors}, got t.safetensors"),
    ("data:\n  options: [1]\n", "data.options: expected settings such as {name: value}, got [1]"),
    ("- a\n- b\n", "--config: expected settings such as {output: runs/distill}, got ['a', 'b']"),
    ("a: [1\nb: 2\n", "is not YAML in line 2"),
]


@pytest.mark.parametrize(("text", "said"), NOT_SECTIONS)
def test_a_section_that_is_no_mapping_is_named_in_one_line(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    assert main(["distill", "--config", str(recipe)]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--losses.kl", "0.3"], ["--losses.kl=0.3"], ["--losses", "{kl: 0.3}"]])
def test_nor_is_one_on_the_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(["distill", *arguments]) == 2
    assert capsys.readouterr().err == "error: losses.kl: expected settings such as {weight: 0.3}, got 0.3\n"


@pytest.mark.parametrize(
    "text", ["", "augment:\n", "data:\n  options:\n", "losses:\n  kl:\n  feature:\n", "losses.kl:\n", "init: ''\n"]
)
def test_empty_sections_are_those_of_the_defaults(text: str, tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    assert parse_config(DistillConfig, ["--config", str(recipe)], "srkd-train distill", "") == DistillConfig()


def test_texts_that_look_like_numbers_stay_texts(tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text('output: "7e12"\ndata: {train: "00", root: "1e3"}\nlosses: {kl: {weight: 1e-3}}\n')
    config = parse_config(DistillConfig, ["--config", str(recipe)], "srkd-train distill", "")
    assert (config.output, config.data.train, config.data.root) == ("7e12", "00", "1e3")
    assert config.losses.kl.weight == 1e-3


def test_an_empty_section_leaves_what_an_earlier_recipe_set(tmp_path: Path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("losses: {kl: {weight: 1e-3}}\noptimizer: {lr: 2e-3}\n")
    second.write_text("losses:\n  kl:\noptimizer: {warmup: 0.1}\n")
    arguments = ["--config", str(first), f"--config={second}", "--losses.kl", "{temperature: 3}"]
    config = parse_config(DistillConfig, arguments, "srkd-train distill", "")
    assert (config.losses.kl.weight, config.losses.kl.temperature) == (1e-3, 3.0)
    assert (config.optimizer.lr, config.optimizer.warmup) == (2e-3, 0.1)


@pytest.mark.parametrize(("key", "value"), [("unlabelled", ["drive.mcap"]), ("keep_unlabelled", True)])
def test_scans_without_labels_need_a_teacher(key: str, value: Any):
    supervised, c = TrainConfig(), DistillConfig()
    setattr(supervised.data, key, value)
    setattr(c.data, key, value)
    check(c)
    c.losses.kl.weight = 0.0
    for wrong in (supervised, c):
        with pytest.raises(ConfigError, match=rf"^data\.{key}: without labels .*; leave this out, or take [^\n]*$"):
            check(wrong)


@pytest.mark.parametrize("joined", [True, False])
def test_a_recipe_that_is_not_text(joined: bool, tmp_path: Path):
    file = tmp_path / "program"
    file.write_bytes(b"\x7fELF\xd0\xff\x00")
    arguments = [f"--config={file}"] if joined else ["--seed", "1", "--config", str(file)]
    with pytest.raises(ConfigError, match=f"^--config: {file} is not text; name a recipe"):
        parse_config(TrainConfig, arguments, "srkd-train teacher", "")


def test_a_picture_of_an_unknown_kind_is_refused_before_the_evaluation(capsys: pytest.CaptureFixture[str]):
    assert main(["eval", "missing.safetensors", "data", "--picture", "confusion.xyz"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: --picture: confusion.xyz is of no kind that can be written; possible are .")
    assert printed.count("\n") == 1
    for name in ("confusion.PNG", "confusion"):
        assert main(["eval", "missing.safetensors", "data", "--picture", name]) == 2
        assert "missing.safetensors: no such model file" in capsys.readouterr().err
