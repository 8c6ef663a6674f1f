# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Which runtime opens a file and why, what is said when none can, and files that are damaged or foreign."""

import importlib.util
import sys

import numpy as np
import onnx
import pytest
import torch
from networks import save_student, scene, shallow, trained

from srkd_ros import Segmenter, runtimes
from srkd_ros.errors import CloudError, ConfigError, MissingPackageError, ModelError
from srkd_ros.network.packing import available
from srkd_ros.runtimes import onnx_runtime, open_runtime, tensorrt_engine, torch_runtime
from srkd_ros.runtimes.onnx_file import read_manifest, read_metadata
from srkd_train.export import run_export


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A student and its graph."""
    torch.set_num_threads(1)
    path = save_student(tmp_path_factory.mktemp("runtimes") / "student.safetensors", trained(shallow("nano")))
    return path, run_export(path)


def without(monkeypatch, *packages):
    """As if the packages were not installed."""
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in packages else find_spec(name))


def refusal(error_type, *arguments) -> str:
    with pytest.raises(error_type) as error:
        open_runtime(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_auto_on_a_cpu(files):
    student, graph = files
    assert open_runtime(student, "auto", "cpu").name == "torch"
    runtime = open_runtime(graph, "auto", "cpu")
    assert runtime.name == "onnx"
    assert "CPU" in runtime.reason
    assert runtime.device == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_auto_says_why_without_a_gpu(files):
    assert "no CUDA device" in open_runtime(files[1]).reason


def test_auto_on_a_gpu_without_the_packages_for_it(files, monkeypatch):
    """Asked on this machine, as if torch had seen a GPU."""
    without(monkeypatch, "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
    monkeypatch.setattr(onnx_runtime, "has_cuda", lambda: False)
    monkeypatch.setattr(runtimes, "choose_device", lambda device: torch.device("cuda"))
    runtime = open_runtime(files[1])
    assert runtime.device == torch.device("cpu")
    assert "TensorRT is not installed, onnxruntime has no CUDA" in runtime.reason
    assert open_runtime(files[1], "onnx").device == torch.device("cpu")
    assert "pip install onnxruntime-gpu" in refusal(MissingPackageError, files[1], "auto", "cuda")
    assert "pip install onnxruntime-gpu" in refusal(MissingPackageError, files[1], "onnx", "cuda")


def test_auto_goes_on_where_an_engine_fails(files, monkeypatch):
    """As on a GPU that TensorRT has no kernels for, or with a cuDNN that does not load."""

    def refuse(*_):
        raise ModelError("TensorRT refuses the engine")

    monkeypatch.setattr(tensorrt_engine, "require_tensorrt", lambda: None)
    monkeypatch.setattr(runtimes, "_open_tensorrt", refuse)
    monkeypatch.setattr(runtimes, "choose_device", lambda device: torch.device("cuda"))
    monkeypatch.setattr(onnx_runtime, "has_cuda", lambda: False)
    runtime = open_runtime(files[1])
    assert runtime.device == torch.device("cpu")
    assert "TensorRT refuses the engine, onnxruntime has no CUDA" in runtime.reason
    assert "refuses" in refusal(ModelError, files[1], "tensorrt")


def test_warming_up_never_fails_for_an_engine_that_is_small(student_file):
    """An engine holds so many points a scan; the made-up cloud has no more, and may still be too much for it."""

    class Small:
        def __init__(self, runtime, points, voxels):
            self.runtime, self.points, self.voxels, self.seen = runtime, points, voxels, []

        def __getattr__(self, name):
            return getattr(self.runtime, name)

        def logits(self, features, geometry):
            self.seen.append(len(features))
            if len(features) > self.voxels:
                raise CloudError("more voxels than the engine was built for")
            return self.runtime.logits(features, geometry)

    segmenter = Segmenter.load(student_file, device="cpu")
    for points, voxels in ((2_000, 2_000), (2_000, 10)):
        segmenter._runtime = Small(segmenter._runtime, points, voxels)
        segmenter.warm_up()
        assert 10 < segmenter._runtime.seen[0] <= 2_000
    with pytest.raises(CloudError, match="more voxels"):  # a real cloud says so
        segmenter(*scene(5_000))


def test_a_runtime_that_does_not_read_the_file(files, tmp_path):
    student, graph = files
    assert "srkd-train export" in refusal(ConfigError, student, "onnx")
    assert "srkd-train export" in refusal(ConfigError, student, "tensorrt")
    assert ".safetensors" in refusal(ConfigError, graph, "torch")
    assert "auto, torch, onnx, tensorrt" in refusal(ConfigError, graph, "ncnn")
    assert "no such" in refusal(ModelError, tmp_path / "missing.onnx")


def test_precision(files, monkeypatch):
    student, graph = files
    assert open_runtime(student, "auto", "cpu").precision == "fp32"
    assert "auto, fp32, bf16, fp16" in refusal(ConfigError, student, "auto", "cpu", "int8")
    assert "for GPUs" in refusal(ConfigError, student, "auto", "cpu", "fp16")
    assert open_runtime(graph, "onnx", "cpu", "fp32").precision == "fp32"
    assert "--precision fp16" in refusal(ConfigError, graph, "onnx", "cpu", "fp16")
    assert ".safetensors" in refusal(ConfigError, graph, "onnx", "cpu", "bf16")
    monkeypatch.setattr(torch_runtime, "available", lambda dtype: False)
    assert "take fp32" in refusal(ConfigError, student, "auto", "cpu", "bf16")


@pytest.mark.skipif(not available(torch.bfloat16), reason="this CPU has no bfloat16 products")
def test_bf16_changes_no_clear_label(student_file):
    xyz, intensity = scene(20_000)
    exact = Segmenter.load(student_file, device="cpu", intensity_scale=1.0)
    fast = Segmenter.load(student_file, device="cpu", intensity_scale=1.0, precision="bf16")
    assert "on cpu, bf16" in fast.runtime_reason
    second, best = np.sort(exact.probabilities(xyz, intensity), 1)[:, -2:].T
    wanted, got = exact(xyz, intensity), fast(xyz, intensity)
    same = wanted.labels == got.labels
    assert same.mean() > 0.98  # random weights: many near ties
    assert same[best - second > 0.03].all()
    assert 0 < np.abs(wanted.confidence - got.confidence).max() < 0.05


def test_missing_packages_name_the_command(files, monkeypatch):
    without(monkeypatch, "onnxruntime", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
    assert "pip install onnxruntime" in refusal(MissingPackageError, files[1], "onnx", "cpu")
    assert "pip install onnxruntime" in refusal(MissingPackageError, files[1], "auto", "cpu")
    assert "pip install tensorrt" in refusal(MissingPackageError, files[1], "tensorrt", "cpu")
    with pytest.raises(MissingPackageError, match="pip install tensorrt"):
        run_export(files[0], "tensorrt")


def test_a_robot_needs_neither_onnx_nor_the_exporter(files, monkeypatch):
    without(monkeypatch, "onnx", "onnxscript", "lightning")
    assert len(Segmenter.load(files[1])(*scene(500)).labels) == 500


def test_metadata_without_the_package_onnx(files):
    _, graph = files
    metadata = read_metadata(graph)
    assert metadata == {entry.key: entry.value for entry in onnx.load(graph).metadata_props}
    assert read_manifest(graph, metadata) == open_runtime(graph, "onnx", "cpu").manifest


@pytest.mark.parametrize("damage", ["empty", "half", "noise", "text"])
def test_damaged_graphs(files, tmp_path, damage):
    whole = files[1].read_bytes()
    content = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "noise": np.random.default_rng(0).bytes(4000),
        "text": b"version https://git-lfs.github.com/spec/v1\n",
    }[damage]
    path = tmp_path / "student.onnx"
    path.write_bytes(content)
    assert str(path) in refusal(ModelError, path, "onnx", "cpu")
    with pytest.raises(ModelError) as error:
        read_manifest(path, read_metadata(path))
    assert str(path) in str(error.value)


def test_graphs_of_others(files, tmp_path):
    graph = onnx.load(files[1])
    kept = [entry for entry in graph.metadata_props if entry.key != "srkd"]
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "bare.onnx")
    assert "srkd-train export" in refusal(ModelError, tmp_path / "bare.onnx", "onnx", "cpu")
    assert len(kept) == 1


def test_threads_follow_torch(files, monkeypatch):
    seen = {}
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession

    def recording(path, options, **other):
        seen["threads"] = options.intra_op_num_threads
        return session(path, options, **other)

    monkeypatch.setattr(onnxruntime, "InferenceSession", recording)
    onnx_runtime.OnnxRuntime(files[1], torch.device("cpu"))
    assert seen["threads"] == torch.get_num_threads()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("runtime", ["torch", "onnx", "tensorrt"])
def test_a_gpu_labels_as_the_cpu_does(files, runtime):
    student, graph = files
    try:
        on_gpu = Segmenter.load(student if runtime == "torch" else graph, runtime, "cuda")
    except MissingPackageError as error:
        pytest.skip(str(error))
    on_cpu = Segmenter.load(student, "torch", "cpu")
    same = [on_gpu(*cloud).labels == on_cpu(*cloud).labels for cloud in (scene(5000), scene(3), scene(20000, 1))]
    assert np.concatenate(same).mean() > 0.995
