# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Which C++ kernels are taken: those for this machine, made of these sources, on torch's own threads."""

import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from networks import built_kernels

from srkd_ros import native

KERNELS = built_kernels()


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_an_installation_with_a_compiler_has_kernels():
    assert KERNELS, "pip install -e . builds them; run it again after a change of their sources"
    assert native.load_kernels() is not None


def test_the_openmp_library_is_found_whatever_its_path(monkeypatch):
    if (found := native._parallel_region()) is None:
        pytest.skip("torch has another OpenMP library here")
    real = Path("/proc/self/maps").read_text()
    path = next(line.split(maxsplit=5)[5] for line in real.splitlines() if "/libgomp" in line)
    lines = (
        f"7f00-7f01 r-xp 00000000 08:01 1    /no such folder/torch/lib/libgomp.so.1\n{real}7f02-7f03 rw-p 0 00:00 0\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda self: lines)
    again = native._parallel_region()
    assert again is not None
    assert again.value == found.value, path


@pytest.mark.parametrize(("wanted", "kind"), [("0", "None"), ("nothing", "None"), *((k.kind, k.kind) for k in KERNELS)])
def test_the_environment_chooses_them(wanted, kind):
    code = "import srkd_ros.native as n; k = n.load_kernels(); print(k and k.kind)"
    printed = subprocess.run([sys.executable, "-c", code], env={"SRKD_NATIVE": wanted}, capture_output=True, text=True)
    assert printed.stdout.strip() == kind, printed.stderr


@pytest.mark.skipif(not KERNELS, reason="no kernels were built")
def test_kernels_of_other_sources_are_not_taken(tmp_path, monkeypatch):
    kind = KERNELS[0].kind
    file = native.FOLDER / f"_{kind}{EXTENSION_SUFFIXES[0]}"
    assert native._open(file, kind, None) is not None
    for source in native.FOLDER.glob("*.cpp"):
        shutil.copy(source, tmp_path)
    (tmp_path / "cpu.cpp").write_text("changed since\n")
    changed = native.sources_hash(tmp_path)
    monkeypatch.setattr(native, "sources_hash", lambda folder: changed)
    assert native._open(file, kind, None) is None
    (tmp_path / "other.so").write_text("no library\n")
    assert native._open(tmp_path / "other.so", kind, None) is None
