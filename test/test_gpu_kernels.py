# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The Triton kernels, on a GPU or by Triton's interpreter, and as code for GPUs, which takes none to compile."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srkd_ros import gpu, native
from srkd_ros.geometry import GeometrySpec, LevelSpec, build_geometry, voxelize, voxels_from_grid
from srkd_ros.geometry.curves import encode
from srkd_ros.network import PointTransformer, preset
from srkd_ros.network.convolution import table_convolution

pytest.importorskip("triton")
DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="module")
def kernels():
    """Where there is no GPU conftest has asked for Triton's interpreter."""
    return gpu.import_kernels()


def cells(count, size, clouds=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    grid = torch.randint(0, size, (count, 3), generator=generator)
    batch = torch.randint(0, clouds, (count,), generator=generator).sort().values
    return voxels_from_grid(grid.to(DEVICE), batch.to(DEVICE) if clouds > 1 else None, clouds)


def assert_same_geometry(voxels, spec, kernels):
    with native.without_kernels():
        with gpu.taking(DEVICE, None):
            expected = build_geometry(voxels, spec)
        with gpu.taking(DEVICE, kernels):
            made = build_geometry(voxels, spec)
    for ours, torchs in zip(made.levels, expected.levels, strict=True):
        assert ours.counts == torchs.counts
        for name in ("grid", "batch", "parents", "children"):
            a, b = getattr(ours, name), getattr(torchs, name)
            assert (a is None) == (b is None)
            assert a is None or (a.dtype == b.dtype and torch.equal(a, b)), name
        for a, b in ((ours.neighbors, torchs.neighbors), (ours.patches, torchs.patches), (ours.pairs, torchs.pairs)):
            assert a.keys() == b.keys()
        for size in ours.neighbors:
            assert ours.neighbors[size].dtype == torch.int32
            assert torch.equal(ours.neighbors[size], torchs.neighbors[size])
        for size in ours.pairs:
            assert torch.equal(ours.pairs[size].source, torchs.pairs[size].source)
        for order in ours.patches:
            for name in ("table", "slot"):
                a, b = getattr(ours.patches[order], name), getattr(torchs.patches[order], name)
                assert a.dtype == b.dtype
                assert torch.equal(a, b), name


@pytest.mark.parametrize("order", ["z", "z-trans", "hilbert", "hilbert-trans"])
@pytest.mark.parametrize("depth", [1, 5, 9, 16])
def test_curves_are_torchs(kernels, order, depth):
    grid = cells(700, 1 << depth).grid
    with gpu.taking(DEVICE, kernels):
        made = encode(grid, order, depth)
    with gpu.taking(DEVICE, None):
        assert torch.equal(made, encode(grid, order, depth))


@pytest.mark.parametrize("name", ["nano", "litept-s", "ptv3"])
def test_tables_are_torchs(kernels, name):
    """A cloud with full patches, so that curves matter."""
    with torch.device("meta"):
        spec = PointTransformer(dataclasses.replace(preset(name), patch_size=64)).geometry_spec
    xyz = torch.randn(1200, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([9.0, 9.0, 1.0])
    assert_same_geometry(voxelize(xyz.to(DEVICE), 0.4), dataclasses.replace(spec, tables="neighbors"), kernels)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 60),
    st.sampled_from([1, 2, 3, 9, 40, 65536]),
    st.integers(1, 3),
    st.sampled_from(["pairs", "neighbors"]),
    st.integers(0, 1000),
)
def test_tables_of_any_cloud_are_torchs(kernels, count, size, clouds, tables, seed):
    """Single voxels, crowded cells, the corners of the largest grid, several clouds, one level."""
    levels = (LevelSpec((3, 5), ("hilbert",)), LevelSpec((3,), ("z-trans",)), LevelSpec((3,), ("z",)))
    for used in (levels, levels[:1]):
        assert_same_geometry(cells(count, size, clouds, seed), GeometrySpec(used, 16, tables=tables), kernels)


@pytest.mark.parametrize(
    ("inside", "outside", "size"), [(2, 24, 5), (4, 36, 5), (36, 36, 3), (64, 130, 3), (1, 1, 3), (33, 17, 1)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])  # the interpreter multiplies bfloat16 as integers
def test_convolution_is_torchs(kernels, inside, outside, size, dtype):
    voxels = cells(150, 7)
    table = build_geometry(voxels, GeometrySpec((LevelSpec((size,)), LevelSpec(())), tables="neighbors")).levels[0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(table), inside, generator=generator).to(DEVICE)
    weight = (0.1 * torch.randn(size**3, inside, outside, generator=generator)).to(DEVICE, dtype)
    bias = torch.randn(outside, generator=generator).to(DEVICE)
    expected = table_convolution(x.to(dtype).double(), weight.double(), table.neighbors[size])
    for given_bias in (None, bias):
        made = kernels.convolution.convolution(x, weight, given_bias, table.neighbors[size])
        assert made.dtype == torch.float32
        wanted = expected if given_bias is None else expected + bias
        torch.testing.assert_close(made.double(), wanted, rtol=1e-5, atol=1e-5)


def test_convolution_refuses_what_does_not_fit(kernels):
    x, weight = torch.zeros(5, 4, device=DEVICE), torch.zeros(27, 4, 6, device=DEVICE)
    neighbors = torch.zeros(5, 27, dtype=torch.int32, device=DEVICE)
    assert kernels.convolution.convolution(x[:0], weight, None, neighbors[:0]).shape == (0, 6)
    for wrong in ((x[:, :3], weight, neighbors), (x, weight, neighbors[:4]), (x, weight[:26], neighbors)):
        with pytest.raises(ValueError, match="neighbours"):
            kernels.convolution.convolution(wrong[0], wrong[1], None, wrong[2])


def test_nothing_is_taken_by_itself_and_taking_ends(kernels):
    assert gpu.taken_for(DEVICE) is None
    with gpu.taking(DEVICE, kernels):
        assert gpu.taken_for(DEVICE) is kernels
        with gpu.taking(DEVICE, None):
            assert gpu.taken_for(DEVICE) is None
        assert gpu.taken_for(DEVICE) is kernels
    assert gpu.taken_for(DEVICE) is None


COMPILE = """
import sys, warnings
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from srkd_ros.gpu import convolution, geometry

def build(kernel, capability, signature, **constants):
    options = {key: constants.pop(key) for key in ("num_warps", "num_stages") if key in constants}
    types = signature | dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel, signature={name: types[name] for name in kernel.arg_names}, constexprs=constants)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert made.asm["cubin"]
    assert made.metadata.shared <= limits[capability], (kernel, capability, made.metadata.shared)

limits = {87: 99 * 1024, 90: 227 * 1024}  # shared memory of a block (8.6, 8.9 and 12.0 have less than 8.7)
long, count = "*i64", "i32"
layers = (
    (4, 36, 5, "fp32"), (36, 36, 3, "bf16"), (72, 72, 3, "fp16"), (96, 96, 3, "fp32"), (256, 256, 3, "fp16"),
    (256, 256, 3, "fp32"),
)
for capability in map(int, sys.argv[1:]):
    for inside, outside, size, name in layers:
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
        rows, depth, columns = convolution.tile(inside, outside, dtype)
        signature = {"x": "*" + name, "weight": "*" + name, "bias": "*fp32", "neighbors": "*i32", "out": "*fp32"}
        build(
            convolution._convolution_kernel, capability, signature | {"voxels": count}, K=size**3, INSIDE=inside,
            OUTSIDE=outside, BIASED=True, ROWS=rows, DEPTH=depth, COLUMNS=columns, num_warps=4, num_stages=3,
        )
    cloud = {"grid": long, "code": long, "batch": long, "voxels": count, "out": "*i32"}
    build(geometry._search_kernel, capability, cloud, REACH=1, K=27, WIDTH=32, BLOCK=32)
    build(geometry._boundaries_kernel, capability, cloud | {"out": "*i8"}, BLOCK=256)
    curve = cloud | {"table": long, "out": long, "state": count, "steps": count, "depth": count}
    build(geometry._curve_codes_kernel, capability, curve, SWAP=True, BLOCK=256)
    fine = dict.fromkeys(("ranks", "parents", "coarse_grid", "coarse_code"), long)
    fine = cloud | fine | {"children": "*i32", "shift": count}
    build(geometry._coarsen_kernel, capability, fine, FINEST=False, BLOCK=256)
    places = {"order": long, "table": long, "slot": long} | dict.fromkeys(("voxels", "width", "places"), count)
    build(geometry._patches_kernel, capability, places, BLOCK=256)
    near = dict.fromkeys(("parent_neighbors", "children", "direction", "child"), "*i32") | {"parents": long}
    build(geometry._neighbors_kernel, capability, cloud | near, K=125, WIDTH=128, BLOCK=8)
"""


def test_they_compile_for_the_gpus_of_robots_and_workstations(tmp_path):
    """Machine code for Jetson Orin (8.7) and H100 (9.0), within the shared memory of these and of RTX cards."""
    pytest.importorskip("triton.backends.nvidia")
    file = tmp_path / "build.py"
    file.write_text(COMPILE)
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(gpu.__file__).parents[2])}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run([sys.executable, str(file), "87", "90"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
