# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The floor: arithmetic and bytes of a network, counted by hand, and rates; memory of a step; short runs of both."""

import dataclasses

import pytest
import torch

from benchmarks import floor, memory
from benchmarks.floor import Work
from srkd_ros.geometry import build_geometry, voxels_from_grid
from srkd_ros.network import PointTransformer, preset
from srkd_ros.network.folding import fold


def test_layers_are_counted_as_by_hand():
    """Two voxels side by side, of one parent: each is the other's one neighbour, and they attend to each other."""
    config = dataclasses.replace(
        preset("nano"), encoder_channels=(6, 12), encoder_depths=(1, 1), encoder_heads=(1, 2), decoder_channels=(6,),
        decoder_depths=(0,), decoder_heads=(1,), encoder_convolution=(True, False), encoder_attention=(False, True),
        decoder_convolution=(True,), decoder_attention=(False,), mlp_ratio=2.0, stem_kernel=3, in_channels=4,
        num_classes=3,
    )  # fmt: skip
    model = fold(PointTransformer(config).eval())
    spec = dataclasses.replace(model.geometry_spec, tables="neighbors")
    geometry = build_geometry(voxels_from_grid(torch.tensor([[0, 0, 0], [0, 0, 1]])), spec)
    features = torch.randn(2, 4)
    layers = floor.count_layers(model, features, geometry, 4)
    stem = Work(2 * 4 * 4 * 6, 4 * (2 * 4 + 2 * 6 + 27 * 4 * 6) + 4 * 2 * 27)  # four pairs of voxels
    unit = Work(2 * 4 * 6 * 6, 4 * (2 * 6 + 2 * 6 + 27 * 6 * 6) + 4 * 2 * 27)
    pooling = Work(2 * 2 * 6 * 12, 4 * (2 * 6 + 2 * 12 + 6 * 12))
    qkv = Work(2 * 1 * 12 * 36, 4 * (12 + 36 + 12 * 36))  # the parent alone
    projection = Work(2 * 1 * 12 * 12, 4 * (12 + 12 + 12 * 12))
    attention = Work(4 * 1 * 1 * 12, 4 * 4 * 12)
    mlp = [Work(2 * 12 * 24, 4 * (12 + 24 + 12 * 24)), Work(2 * 24 * 12, 4 * (24 + 12 + 24 * 12))]
    unpooling = [Work(2 * 2 * 6 * 6, 4 * (12 + 12 + 36)), Work(2 * 12 * 6, 4 * (12 + 6 + 12 * 6))]
    head = Work(2 * 2 * 6 * 3, 4 * (2 * 6 + 2 * 3 + 6 * 3))
    expected = [stem, unit, pooling, qkv, projection, attention, *mlp, *unpooling, head]
    assert layers == expected
    assert not any(module._forward_hooks for module in model.modules())

    weights = sum(parameter.numel() for parameter in model.parameters())
    tables = 4 * (2 * 27 + 2 + 1 * 8 + 1 + 1)  # neighbours, parents, children, patches, slots
    rotary = 4 * 2 * 1 * 3 if config.rope_base is not None else 0
    assert floor.once(model, features, geometry, 2) == 2 * weights + 4 * (2 * 4 + 2 * 3) + tables + rotary


def test_the_floor_is_the_longer_of_both():
    layers = [Work(100.0, 10.0), Work(10.0, 100.0)]
    found = floor.floors(layers, 40.0, flops_per_ms=10.0, bytes_per_ms=5.0)
    assert found == {"arithmetic": 11.0, "memory": 8.0, "floor": 11.0, "layer by layer": 30.0}
    assert floor.floors(layers, 400.0, 10.0, 5.0)["floor"] == 80.0


@pytest.mark.parametrize("arguments", [["--presets", "nino"], ["--device", "cuda"]])
def test_wrong_options_are_one_line(arguments, capsys):
    if arguments[1] == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    assert floor.main(arguments) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_short_run(tmp_path, monkeypatch):
    monkeypatch.setattr(floor, "SIDE", {"cpu": 64})
    monkeypatch.setattr(floor, "COPIED", {"cpu": 1 << 16})
    monkeypatch.setattr(floor, "INPUTS", (("nano", "vlp-16", 0.5),))
    assert floor.main(["--presets", "nano", "--seconds", "0.1", "--output", str(tmp_path)]) == 0
    text = (tmp_path / "floor-cpu.md").read_text()
    assert "| nano fp32, vlp-16 at 0.5 m (" in text
    assert "over the floor" in text


def test_memory_of_a_step_and_what_would_not_fit(tmp_path, monkeypatch, capsys):
    pytest.importorskip("lightning")
    assert memory.main(["--students", "nino"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    small = ["--students", "nano", "--sensor", "vlp-16", "--voxel-size", "1.0", "--scans", "2"]
    assert memory.main([*small, "--output", str(tmp_path)]) == 0
    lines = [line for line in (tmp_path / "memory-cpu.md").read_text().splitlines() if line.startswith("| nano")]
    assert [line.split("|")[1].strip() for line in lines] == ["nano, blocks recomputed", "nano, blocks kept"]
    assert all(float(line.split("|")[3]) < 2 for line in lines)
    monkeypatch.setattr(memory, "free_memory", lambda device: 1e6)
    assert memory.main([*small, "--output", str(tmp_path)]) == 0
    assert (tmp_path / "memory-cpu.md").read_text().count("left out: some") == 2
