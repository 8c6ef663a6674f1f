# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Exported graphs: what is in them, and that onnxruntime computes from them what torch computes from the student."""

import numpy as np
import onnx
import pytest
import torch
from networks import PTV3_LIKE, save_student, scene, shallow, trained

from srkd_ros import Segmenter, student
from srkd_ros.errors import ConfigError, ModelError
from srkd_ros.geometry import GeometrySpec, LevelSpec, build_geometry, voxelize
from srkd_ros.network import PRESETS
from srkd_ros.network.attention import PatchAttention
from srkd_train.export import run_export
from srkd_train.export_attention import GraphAttention, fused_width

NO_TENSORRT = {"ScatterElements", "ScatterND", "Unique", "BitShift", "GatherND", "NonZero", "Loop", "If", "Scan"}
NO_OLD_CUDA = {"ReduceMax", "ConstantOfShape"}  # onnxruntime before 1.25 has no CUDA kernels for this opset's
CONFIGS = {"nano": shallow("nano"), "ptv3": PTV3_LIKE}  # with and without rotary embedding; kernels of 3 and 5


@pytest.fixture(scope="module", params=CONFIGS)
def files(request, tmp_path_factory):
    """A student, and its graphs in both precisions."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(request.param)
    path = save_student(folder / "student.safetensors", trained(CONFIGS[request.param]))
    graphs = {
        "fp32": run_export(path),
        "fp16": run_export(path, "onnx", folder / "half.onnx", precision="fp16"),
    }
    return path, graphs


def agreement(path, graph, clouds):
    """Share of points with the same label, over all clouds."""
    torch_student = Segmenter.load(path, "torch", "cpu", precision="fp32")
    exported = Segmenter.load(graph, "onnx", "cpu")
    assert exported.runtime == "onnx"
    assert exported.manifest == torch_student.manifest
    pairs = [(torch_student(*cloud), exported(*cloud)) for cloud in clouds]
    return np.concatenate([a.labels == b.labels for a, b in pairs]).mean()


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.9999), ("fp16", 0.995)])
def test_onnxruntime_labels_as_torch_does(files, precision, least):
    path, graphs = files
    assert agreement(path, graphs[precision], [scene(6000, seed) for seed in range(2)]) >= least


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tiny_clouds(files, precision):
    path, graphs = files
    tiny: list = [(np.array([[3, 0, 0]], np.float32), None)]
    tiny += [scene(points) for points in (2, 3, 9, 70)]
    assert agreement(path, graphs[precision], tiny) >= 0.98  # one in 85 points


def test_graph_is_clean(files):
    path, graphs = files
    for precision, file in graphs.items():
        graph = onnx.load(file)
        onnx.checker.check_model(graph, full_check=True)
        assert not {node.op_type for node in graph.graph.node} & (NO_TENSORRT | NO_OLD_CUDA)
        metadata = {entry.key: entry.value for entry in graph.metadata_props}
        assert student.Manifest.from_json(metadata[student.METADATA_KEY], "") == student.load(path)[1]
        assert metadata["srkd_precision"] == precision
        for value in graph.graph.input:  # no input but the features and rotary tables is wider than int32
            kind = value.type.tensor_type.elem_type
            floating = value.name.startswith(("features", "rotary"))
            assert kind == (onnx.TensorProto.FLOAT if floating else onnx.TensorProto.INT32)
        text = file.read_bytes()
        assert b"site-packages" not in text, "paths of the exporting machine"
        assert str(file.parent).encode() not in text
    assert graphs["fp16"].stat().st_size < 0.7 * graphs["fp32"].stat().st_size


def test_real_scans(shared_data, files):
    """A 64-beam and a 32-beam scan."""
    path, graphs = files
    ouster = np.fromfile(shared_data / "rellis3d/sequences/00/velodyne/000104.bin", np.float32).reshape(-1, 4)[::4]
    velodyne = np.fromfile(shared_data / "nuscenes/lidar_top.pcd.bin", np.float32).reshape(-1, 5)[::2]
    clouds = [(ouster[:, :3], ouster[:, 3]), (velodyne[:, :3], velodyne[:, 3])]
    assert agreement(path, graphs["fp32"], clouds) >= 0.9999
    assert agreement(path, graphs["fp16"], clouds) >= 0.995


def test_wrong_use_is_one_line(tmp_path, files):
    path, _ = files
    for call in (
        lambda: run_export(path, "tflite"),
        lambda: run_export(path, "onnx", precision="int8"),
        lambda: run_export(path, "tensorrt", points=0),
        lambda: run_export(path, "onnx", tmp_path / "student.engine"),
        lambda: run_export(tmp_path / "missing.safetensors"),
    ):
        with pytest.raises((ConfigError, ModelError)) as error:
            call()
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("channels", "heads", "rope_base"), [(72, 4, 100.0), (24, 3, None), (36, 2, None), (24, 1, 100.0)]
)
def test_filled_up_heads_attend_as_before(channels, heads, rope_base):
    """Heads of 18 with angles, of 8, of 18, and of 24, which is a width that engines fuse."""
    torch.manual_seed(0)
    attention = PatchAttention(channels, heads, "hilbert", rope_base)
    cells = torch.from_numpy(scene(500)[0])
    level = build_geometry(voxelize(cells, 0.5), GeometrySpec((LevelSpec((), ("hilbert",)),), 64)).levels[0]
    x = torch.randn(len(level), channels)
    with torch.no_grad():
        expected = attention(x, level)
        for fused in (False, True):
            made = GraphAttention(attention, fused)
            assert made.width == (fused_width(channels // heads) if fused else channels // heads)
            torch.testing.assert_close(made(x, level), expected, rtol=1e-4, atol=1e-5)


def test_heads_of_half_precision_graphs_are_filled_up(files):
    """TensorRT's attention kernels take heads of 16 to 256 channels, a multiple of 8, in half precision alone."""
    path, graphs = files
    config = student.load(path)[1].network
    for precision, file in graphs.items():
        shapes = {tuple(weight.dims) for weight in onnx.load(file).graph.initializer}
        for channels, heads in zip(config.encoder_channels, config.encoder_heads, strict=True):
            dim = channels // heads
            wide = 3 * heads * (fused_width(dim) if precision == "fp16" else dim)
            attends = config.encoder_attention[config.encoder_channels.index(channels)]
            assert ((wide, channels) in shapes or (channels, wide) in shapes) == attends, (precision, channels)


def test_no_preset_has_heads_that_are_too_wide_for_engines():
    for name, config in PRESETS.items():
        pairs = zip(config.encoder_channels, config.encoder_heads, strict=True)
        assert all(fused_width(channels // heads) <= 256 for channels, heads in pairs), name
