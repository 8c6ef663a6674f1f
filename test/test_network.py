# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The network against dense convolution, finite differences and its own invariances."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from srkd_ros.geometry import GeometrySpec, LevelSpec, build_geometry, voxels_from_grid
from srkd_ros.geometry.rotary import rotary_table
from srkd_ros.network import PRESETS, PointTransformer, parameter_count, preset
from srkd_ros.network.attention import _attend, interleaved, rotate
from srkd_ros.network.blocks import max_over_children
from srkd_ros.network.convolution import SubmanifoldConvolution, pair_convolution

pytestmark = pytest.mark.usefixtures("either_way")

SMALL = dataclasses.replace(
    PRESETS["nano"],
    num_classes=5,
    encoder_channels=(8, 12, 12, 12, 12),
    encoder_heads=(1, 1, 1, 2, 2),
    decoder_channels=(8, 8, 12, 12),
    decoder_heads=(1, 1, 1, 2),
    patch_size=16,
)


def cloud(count=200, size=12, seed=0, clouds=1):
    generator = torch.Generator().manual_seed(seed)
    grid = torch.randint(0, size, (count, 3), generator=generator)
    batch = torch.randint(0, clouds, (count,), generator=generator).sort().values
    return voxels_from_grid(grid, batch, clouds)


def level_of(voxels, kernel, tables):
    return build_geometry(voxels, GeometrySpec((LevelSpec((kernel,)), LevelSpec(())), tables=tables)).levels[0]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("tables", ["pairs", "neighbors"])
def test_convolution_is_dense_conv3d_at_the_sites(kernel, tables):
    voxels = cloud(clouds=2)
    level = level_of(voxels, kernel, tables)
    torch.manual_seed(1)
    layer = SubmanifoldConvolution(4, 6, kernel).double()
    x = torch.randn(len(level), 4, dtype=torch.float64, requires_grad=True)
    out = layer(x, level)
    b, (i, j, k) = voxels.batch, voxels.grid.t()
    dense = torch.zeros(2, 12, 12, 12, 4, dtype=torch.float64).index_put((b, i, j, k), x).permute(0, 4, 1, 2, 3)
    weight = layer.weight.view(kernel, kernel, kernel, 4, 6).permute(4, 3, 0, 1, 2)
    expected = F.conv3d(dense, weight, layer.bias, padding=kernel // 2).permute(0, 2, 3, 4, 1)[b, i, j, k]
    torch.testing.assert_close(out, expected)

    weights = torch.randn_like(out)
    got = torch.autograd.grad((out * weights).sum(), [x, layer.weight, layer.bias])
    wanted = torch.autograd.grad((expected * weights).sum(), [x, layer.weight, layer.bias])
    for a, e in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, e)


def test_pair_convolution_gradcheck():
    voxels = cloud(20, 4)
    pairs = level_of(voxels, 3, "pairs").pairs[3]
    x = torch.randn(len(voxels.code), 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(27, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, w: pair_convolution(a, w, pairs), (x, weight))


@pytest.mark.parametrize("tables", ["pairs", "neighbors"])
def test_pooling_is_the_maximum_of_the_children(tables):
    voxels = cloud()
    fine, coarse = build_geometry(voxels, GeometrySpec((LevelSpec(()), LevelSpec(())), tables=tables)).levels
    x = torch.randn(len(voxels.code), 3)
    pooled = max_over_children(x, fine, coarse)
    for parent in range(len(pooled)):
        assert torch.equal(pooled[parent], x[fine.parents == parent].amax(0))


def test_rotary_turns_the_pairs_of_litept():
    """Angles written out: axis a, channel d of a third pairs with d + Q, angle p_a / base**(d / Q)."""
    heads, dim, base = 2, 12, 100.0
    x = torch.randn(5, heads, dim, dtype=torch.float64)
    grid = torch.randint(0, 30, (5, 3))
    expected = x.clone()
    quarter = dim // 6
    for v in range(5):
        for axis in range(3):
            for d in range(quarter):
                angle = grid[v, axis].double() / base ** (d / quarter)
                i, j = axis * 2 * quarter + d, axis * 2 * quarter + quarter + d
                expected[v, :, i] = x[v, :, i] * angle.cos() - x[v, :, j] * angle.sin()
                expected[v, :, j] = x[v, :, j] * angle.cos() + x[v, :, i] * angle.sin()
    permutation = interleaved(dim, 1)
    table = rotary_table(grid, dim, base)
    for kind in (torch.float32, torch.float64):  # as complex numbers, and as real ones
        turned = rotate(x[:, :, permutation].to(kind), table)
        torch.testing.assert_close(turned.double(), expected[:, :, permutation], rtol=1e-4, atol=1e-4)


def test_rotary_depends_on_differences_alone():
    q, k = torch.randn(2, 7, 2, 12, dtype=torch.float64)
    grid = torch.randint(0, 50, (7, 3))

    def scores(shift):
        table = rotary_table(grid + shift, 12, 100.0)
        return torch.einsum("ihd,jhd->hij", rotate(q, table), rotate(k, table))

    torch.testing.assert_close(scores(0), scores(torch.tensor([5, 11, 2])), rtol=1e-4, atol=1e-4)


COUNTS = {"nano": 726_939, "litept-s": 12_703_932 + 1_168, "ptv3": 46_159_312, "ptv3-half": 11_562_736}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_published_ones(name):
    with torch.device("meta"):
        model = PointTransformer(preset(name, num_classes=19 if name == "nano" else 16))
    assert parameter_count(model) == COUNTS[name]


def test_a_teacher_above_100m():
    with torch.device("meta"):
        assert parameter_count(PointTransformer(preset("ptv3-xl"))) > 100e6


@pytest.mark.parametrize(
    "config", [SMALL, dataclasses.replace(preset("ptv3-half", num_classes=5), patch_size=16)], ids=["nano", "ptv3"]
)
def test_a_batch_equals_its_clouds_one_by_one(config):
    torch.manual_seed(0)
    model = PointTransformer(config).eval()
    one, two = cloud(150, seed=1), cloud(9, seed=2)
    # Curve codes depend on the extent of the whole batch: the same far corner in both clouds makes extents equal.
    corner = torch.tensor([[0, 0, 0], [15, 15, 15]])
    grids = [torch.cat([v.grid, corner]) for v in (one, two)]
    batch = torch.cat([torch.full((len(g),), i) for i, g in enumerate(grids)])
    both = voxels_from_grid(torch.cat(grids), batch, 2)
    x = torch.randn(len(both.code), 4)
    with torch.no_grad():
        together = model(x, build_geometry(both, model.geometry_spec))
        for i, grid in enumerate(grids):
            alone = voxels_from_grid(grid)
            mine = x[both.batch == i]
            expected = model(mine, build_geometry(alone, model.geometry_spec))
            torch.testing.assert_close(together[both.batch == i], expected, rtol=1e-4, atol=1e-5)


def test_tables_and_pairs_agree_through_the_whole_network():
    torch.manual_seed(0)
    model = PointTransformer(SMALL).eval()
    voxels = cloud()
    x = torch.randn(len(voxels.code), 4)
    with torch.no_grad():
        pairs = model(x, build_geometry(voxels, model.geometry_spec))
        spec = dataclasses.replace(model.geometry_spec, tables="neighbors")
        torch.testing.assert_close(model(x, build_geometry(voxels, spec)), pairs, rtol=1e-4, atol=1e-5)


def test_the_stem_reads_coordinates_in_full_precision():
    """Under autocast too: bfloat16 has steps of half a metre at 100 m."""
    voxels = cloud()
    model = PointTransformer(SMALL).eval()
    geometry = build_geometry(voxels, model.geometry_spec)
    x = torch.randn(len(voxels.code), SMALL.in_channels) + 100
    seen = []
    model.stem_norm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model(x, geometry)
        with torch.autocast("cpu", torch.bfloat16):
            model(x, geometry)
    assert torch.equal(*seen)


def test_attention_of_any_width_is_the_same_when_padded(monkeypatch):
    q, k, v = torch.randn(3, 2, 3, 16, 18)
    mask = torch.rand(2, 1, 1, 16) < 0.8
    expected = _attend(q, k, v, mask)
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda self: True))
    torch.testing.assert_close(_attend(q, k, v, mask), expected)


def test_every_parameter_gets_a_gradient():
    model = PointTransformer(SMALL).train()
    voxels = cloud(clouds=2)
    features = model.features(torch.randn(len(voxels.code), 4), build_geometry(voxels, model.geometry_spec))
    features.logits.square().sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []
    assert [len(f) for f in features.decoder] == [len(f) for f in features.encoder[:-1]]


@pytest.mark.parametrize(("name", "share"), [("litept-s", 0.5), ("ptv3-half", 0.25)])
def test_recomputed_gradients_are_the_same_and_keep_less(name, share):
    """Dropped paths included: they are drawn again as they were."""
    config = preset(name)
    torch.manual_seed(0)
    model = PointTransformer(config).train()
    assert config.drop_path > 0
    voxels = voxels_from_grid(torch.randint(0, 60, (400, 3), generator=torch.Generator().manual_seed(0)))
    geometry = build_geometry(voxels, model.geometry_spec)
    x = torch.randn(len(voxels.code), config.in_channels)
    kept, results = [], []
    for recompute in (False, True):
        model.recompute = recompute
        model.zero_grad()
        torch.manual_seed(1)
        kept.append(0)

        def keep(tensor):
            kept[-1] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = model(x, geometry)
        out.square().mean().backward()
        results.append([out.detach(), *(p.grad.clone() for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    weights = sum(p.numel() for p in model.parameters())
    assert kept[1] - weights < share * (kept[0] - weights)  # weights are kept either way


def test_one_voxel():
    model = PointTransformer(SMALL).eval()
    voxels = voxels_from_grid(torch.zeros(1, 3, dtype=torch.long))
    with torch.no_grad():
        assert model(torch.zeros(1, 4), build_geometry(voxels, model.geometry_spec)).shape == (1, 5)
