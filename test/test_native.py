# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The C++ kernels, every kind that this machine can run, against float64 sums written from the definitions."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import built_kernels, shallow, trained

from srkd_ros import native
from srkd_ros.geometry import GeometrySpec, LevelSpec, build_geometry, voxelize, voxels_from_grid
from srkd_ros.geometry.patches import make_patches
from srkd_ros.geometry.tables import named_tables
from srkd_ros.native.kernels import paired
from srkd_ros.network.attention import patch_attention
from srkd_ros.network.blocks import max_over_children
from srkd_ros.network.folding import fold
from srkd_ros.runtimes.graph import table_names
from srkd_train.export_graph import GraphNetwork

KERNELS = built_kernels()
each_kind = pytest.mark.parametrize("kernels", KERNELS, ids=lambda kernels: kernels.kind)
narrow_kind = pytest.mark.parametrize(
    "kernels", [k for k in KERNELS if torch.bfloat16 in k.dtypes], ids=lambda kernels: kernels.kind
)


@pytest.fixture(autouse=True, params=[1, 3], scope="module")
def threads(request) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@each_kind
@pytest.mark.parametrize("dim", [6, 8, 12, 16, 18, 24, 32])
@pytest.mark.parametrize("counts", [[1], [5], [100], [64, 3, 130], [40, 0, 40], [257, 64]])
def test_attention_is_that_of_float64(kernels, dim, counts):
    torch.manual_seed(dim)
    voxels, heads = sum(counts), 3
    starts = torch.tensor(counts).cumsum(0) - torch.tensor(counts)
    order = torch.cat([start + torch.randperm(n) for start, n in zip(starts.tolist(), counts, strict=True)])
    patches = make_patches(order, counts, 64)
    qkv = torch.randn(voxels, 3 * heads * dim) * 2
    q, k, v = qkv.split(heads * dim, 1)  # rows with a stride
    got = kernels.attention(q, k, v, heads, patches.table, patches.slot, patches.mask)
    wanted = patch_attention([qkv.double()], heads, dim, patches)
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)


@narrow_kind
@pytest.mark.parametrize("dim", [6, 8, 12, 16, 18, 24, 32])
@pytest.mark.parametrize("counts", [[1], [5], [101], [64, 3, 130]])
def test_narrow_attention_is_near_that_of_float64(kernels, dim, counts):
    torch.manual_seed(dim)
    voxels = sum(counts)
    patches = make_patches(torch.arange(voxels), counts, 64)
    qkv = torch.randn(voxels, 3 * dim * 2)
    q, k, v = qkv.split(dim * 2, 1)
    got = kernels.attention(q, k, v, 2, patches.table, patches.slot, patches.mask, torch.bfloat16)
    wanted = patch_attention([qkv.double()], 2, dim, patches)
    torch.testing.assert_close(got.double(), wanted, rtol=0.0, atol=0.03)
    assert (got - wanted).abs().mean() < 0.004
    constant = kernels.attention(q, k, v * 0 + 1.5, 2, patches.table, patches.slot, patches.mask, torch.bfloat16)
    torch.testing.assert_close(constant, torch.full_like(v, 1.5), rtol=1e-6, atol=0)  # weights sum to exactly one


@each_kind
def test_attention_of_scores_far_apart(kernels):
    """Scores of several hundred neither overflow nor lose the largest."""
    torch.manual_seed(0)
    patches = make_patches(torch.randperm(150), [150], 150)
    q, k, v = (torch.randn(150, 16) * scale for scale in (40.0, 40.0, 1.0))
    got = kernels.attention(q, k, v, 1, patches.table, patches.slot, None)
    wanted = patch_attention([t.double() for t in (q, k, v)], 1, 16, patches)
    torch.testing.assert_close(got.double(), wanted, rtol=1e-3, atol=1e-3)
    assert kernels.attention(q * 0, k, v, 1, patches.table, patches.slot, None).allclose(v.mean(0), atol=1e-6)


@each_kind
def test_attention_of_a_block_without_a_finite_score(kernels):
    patches = make_patches(torch.arange(100), [100], 100)
    q, k, v = torch.ones(100, 16), torch.zeros(100, 16), torch.randn(100, 16)
    k[:64] = -3e38  # infinite with the opposite sign, for the first block of keys
    got = kernels.attention(q, k, v, 1, patches.table, patches.slot, None)
    torch.testing.assert_close(got, v[64:].mean(0).expand(100, -1), rtol=1e-5, atol=1e-5)


@each_kind
@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FC00001, 0x7FFFFFFF, -1])
@pytest.mark.parametrize("of_keys", [False, True])
def test_attention_keeps_what_is_not_a_number_in_its_patch(kernels, bits, of_keys):
    patches = make_patches(torch.arange(128), [128], 64)
    q, k, v = (torch.randn(128, 16) for _ in range(3))
    (k if of_keys else v)[3] = torch.tensor(bits, dtype=torch.int32).view(torch.float32)
    got = kernels.attention(q, k, v, 1, patches.table, patches.slot, None)
    assert got[:64].isnan().all()
    assert got[64:].isfinite().all()


@each_kind
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_convolution_is_the_sum_over_neighbours(kernels, data):
    voxels = data.draw(st.integers(1, 900))
    offsets = data.draw(st.sampled_from([1, 27, 125]))
    inside, outside = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 90))
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    x = torch.randn(voxels, inside)
    weight = torch.randn(offsets, inside, outside) / (offsets * inside) ** 0.5
    bias = torch.randn(outside) if data.draw(st.booleans()) else None
    narrow = torch.bfloat16 in kernels.dtypes and data.draw(st.booleans())
    if narrow:  # what the kernel rounds
        x, weight = x.to(torch.bfloat16).float(), weight.to(torch.bfloat16).float()
    neighbors = torch.randint(0, voxels, (voxels, offsets), dtype=torch.int32)
    neighbors[torch.rand(voxels, offsets) < data.draw(st.sampled_from([0.0, 0.5, 1.0]))] = voxels  # missing
    got = kernels.convolution(x, paired(weight) if narrow else weight, bias, neighbors)
    padded = torch.cat([x, x.new_zeros(1, inside)]).double()
    wanted = torch.zeros(voxels, outside, dtype=torch.float64)
    for k in range(offsets):
        wanted += padded[neighbors[:, k].long()] @ weight[k].double()
    if bias is not None:
        wanted += bias.double()
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-4)  # up to 6,250 terms, one after the other


@each_kind
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_max_pooling_is_the_maximum_of_children(kernels, data):
    children = torch.tensor(data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=300)))
    channels = data.draw(st.integers(1, 40))
    parents = torch.repeat_interleave(torch.arange(len(children)), children)
    x = torch.randn(len(parents), channels)
    x[torch.rand(len(parents)) < 0.01] = torch.nan
    got = kernels.max_pooling(x, parents, len(children))
    wanted = torch.full((len(children), channels), -torch.inf)
    wanted.scatter_reduce_(0, parents[:, None].expand_as(x), x, "amax")
    assert torch.equal(got.nan_to_num(nan=9.0), wanted.nan_to_num(nan=9.0))


@each_kind
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_voxels_are_those_of_torch(kernels, data):
    count = data.draw(st.integers(1, 20_000))
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    reach = data.draw(st.sampled_from([0.0, 3.0, 50.0, 700.0]))
    xyz = (torch.rand(count, 3) - 0.5) * reach
    size = data.draw(st.sampled_from([0.05, 0.2, 1.0]))
    cell = torch.floor(xyz.double() / size).long()
    wanted = voxels_from_grid(cell - cell.amin(0))
    code, grid, first_point, points, point_to_voxel = kernels.voxelize(xyz, size)
    assert torch.equal(code, wanted.code)
    assert torch.equal(grid, wanted.grid)
    assert torch.equal(first_point, wanted.first_point)
    assert torch.equal(points, wanted.points)
    assert torch.equal(point_to_voxel, wanted.point_to_voxel)
    values = torch.randn(count, data.draw(st.integers(1, 6)))
    total = torch.zeros(len(code), values.shape[1], dtype=torch.float64).index_add_(0, point_to_voxel, values.double())
    mean = kernels.voxel_mean(values, point_to_voxel, points)
    torch.testing.assert_close(mean.double(), total / points[:, None], rtol=1e-5, atol=1e-5)


@each_kind
def test_cells_beyond_the_codes_are_the_outermost(kernels):
    xyz = torch.tensor([[0.0, 0.0, 0.0], [1e9, 0.0, 0.0], [65535.5, 1.0, 0.0], [3e38, -0.5, 0.0]])
    code, grid, *_ = kernels.voxelize(xyz, 1.0)
    assert grid.tolist() == [[0, 1, 0], [65535, 0, 0], [65535, 1, 0], [65535, 2, 0]]
    assert torch.equal(code, code.sort().values)
    assert all(len(t) == 0 for t in kernels.voxelize(xyz[:0], 1.0))


@each_kind
def test_codes_that_leave_no_room_for_the_point_are_declined(kernels):
    xyz = torch.rand(70_000, 3) * 65535.0  # 48 bits of code and 17 of number
    assert kernels.voxelize(xyz, 1.0) is None
    assert kernels.voxelize(xyz[:65_000], 1.0) is not None
    assert len(voxelize(xyz, 1.0).code) > 0


@each_kind
@pytest.mark.parametrize("step", [12, 16, 22, 48])
def test_points_are_written_as_declared(kernels, step):
    generator = np.random.default_rng(0)
    raw = generator.integers(0, 256, 9000 * step, dtype=np.uint8)
    xyz = np.ndarray((9000, 3), np.float32, raw, 0, (step, 4))
    labels = generator.integers(0, 256, 9000, dtype=np.uint8)
    confidence = generator.random(9000, np.float32)
    colours = generator.integers(0, 1 << 24, 256, dtype=np.uint32)
    out = np.zeros(9000 * 24, np.uint8)
    assert kernels.write_points(xyz, labels, confidence, colours, out) == bool(np.isfinite(xyz).all())
    fields = ["<u4", "<u4", "<u4", "<u4", "<u4", "<f4"]
    points = out.view([(name, kind) for name, kind in zip("xyzrlc", fields, strict=True)])
    for i, name in enumerate("xyz"):
        assert np.array_equal(points[name], xyz[:, i].copy().view(np.uint32))
    assert np.array_equal(points["r"], colours[labels])
    assert np.array_equal(points["l"], labels)
    assert np.array_equal(points["c"], confidence)
    finite = np.zeros((100, 3), np.float32)
    assert kernels.write_points(finite, labels[:100], confidence[:100], colours, out)
    for wrong in (np.nan, np.inf, -np.inf):
        finite[57, 1] = wrong
        assert not kernels.write_points(finite, labels[:100], confidence[:100], colours, out)


@each_kind
def test_shapes_that_do_not_fit_are_refused(kernels):
    x, weight = torch.randn(50, 6), torch.randn(27, 6, 8)
    neighbors = torch.zeros(50, 27, dtype=torch.int32)
    for wrong in ((x[:, :4], weight, neighbors), (x[:40], weight, neighbors), (x, weight, neighbors[:, :26])):
        with pytest.raises(ValueError, match="neighbours"):
            kernels.convolution(wrong[0], wrong[1], None, wrong[2])
    with pytest.raises(ValueError, match="points"):
        kernels.voxel_mean(torch.ones(9, 2), torch.zeros(10, dtype=torch.int64), torch.tensor([10]))
    arrays = [np.zeros((5, 3), np.float32), np.zeros(5, np.uint8), np.zeros(5, np.float32), np.zeros(256, np.uint32)]
    for i, short in ((1, np.zeros(4, np.uint8)), (3, np.zeros(20, np.uint32))):
        with pytest.raises(ValueError, match="lengths"):
            kernels.write_points(*arrays[:i], short, *arrays[i + 1 :], np.zeros(120, np.uint8))
    colours = np.arange(512, dtype=np.uint32)[::2]  # copied for the kernel
    out = np.zeros(120, np.uint8)
    kernels.write_points(*arrays[:1], np.full(5, 7, np.uint8), arrays[2], colours, out)
    assert out.view(np.uint32)[3::6].tolist() == [14] * 5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_points_of_other_types_have_voxels_too(dtype):
    xyz = (torch.rand(1000, 3) * 30).to(dtype)
    assert torch.equal(voxelize(xyz, 0.5).code, voxelize(xyz.float(), 0.5).code)


def test_another_default_device_changes_nothing():
    xyz = torch.rand(100, 3)
    with torch.device("meta"):
        assert voxelize(xyz, 0.1).code.device.type == "cpu"


def test_tables_of_a_graph_are_not_taken_for_ours():
    """They are int32, where the kernels read int64."""
    model = fold(trained(shallow("nano")))
    voxels = voxelize(torch.rand(2000, 3) * 20, 0.5)
    geometry = build_geometry(voxels, dataclasses.replace(model.geometry_spec, tables="neighbors"))
    names = table_names(model)
    tables = named_tables(geometry, names, model.config.rope_base)
    x = torch.randn(len(voxels.code), 4)
    with torch.inference_mode():
        got = GraphNetwork(model, names)(x, *(tables[name] for name in names))
        torch.testing.assert_close(got, model(x, geometry), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_trace_computes_again():
    parents = torch.tensor([0, 0, 1])
    spec = GeometrySpec((LevelSpec(()), LevelSpec(())))
    fine, coarse = build_geometry(voxels_from_grid(torch.tensor([[0, 0, 0], [1, 1, 1], [2, 2, 2]])), spec).levels
    assert fine.parents.equal(parents)
    with torch.no_grad():
        traced = torch.jit.trace(lambda x: max_over_children(x, fine, coarse), torch.zeros(3, 2), check_trace=False)
        assert traced(torch.tensor([[1.0, 2], [3, 0], [5, 6]])).tolist() == [[3, 2], [5, 6]]


def test_kernels_are_left_alone_where_they_cannot_serve():
    x = torch.randn(4, 16)
    assert native.kernels_for(x) is None  # a gradient may be wanted
    with torch.inference_mode():
        assert native.kernels_for(x.double()) is None
        assert native.kernels_for(x, x.to(torch.bfloat16)) is None
        assert (native.kernels_for(x) is None) == (not KERNELS)
