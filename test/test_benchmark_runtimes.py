# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The benchmark of runtimes: a short run writes both files, and wrong names are one line."""

import json

import pytest
import torch

from benchmarks import runtimes
from srkd_ros.network.packing import available


@pytest.mark.parametrize(("option", "name"), [("--presets", "nano"), ("--clouds", "vlp-16")])
def test_wrong_names(option, name, capsys):
    assert runtimes.main([option, "colossal"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {option}: 'colossal' is not one of ")
    assert name in error
    assert error.count("\n") == 1


def test_a_short_run(tmp_path, monkeypatch):
    pytest.importorskip("embreex")
    torch.set_num_threads(1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chosen = ["--presets", "nano", "--clouds", "vlp-16", "--runtimes", "torch", "--seconds", "0"]
    assert runtimes.main([*chosen, "--output", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "runtimes-cpu.json").read_text())["rows"]
    methods = {"network": ["torch fp32", "torch bf16"], "geometry": ["torch fp32"]}
    if not available(torch.bfloat16):
        methods["network"].remove("torch bf16")
    assert [(row["benchmark"], row["method"]) for row in rows] == [(b, m) for b, ms in methods.items() for m in ms]
    for row in rows:
        assert 0 < row["median_ms"] <= row["p95_ms"]
        assert row["sizes"]["parameters"] > 0
    assert "| nano, vlp-16 (" in (tmp_path / "runtimes-cpu.md").read_text()
