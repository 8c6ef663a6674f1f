# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""TensorRT takes the graphs of all presets: TensorRT-RTX builds without a GPU (`pip install .[tensorrt-rtx]`)."""

import logging
import os
import sys

import onnx
import pytest
import torch
from networks import save_student, shallow, trained
from onnx import TensorProto, helper

from srkd_ros.errors import ConfigError, ModelError
from srkd_ros.network import PRESETS
from srkd_ros.runtimes import open_runtime, tensorrt_cache
from srkd_ros.runtimes import tensorrt_engine as engines
from srkd_train.export import export_onnx, run_export

if not engines.is_installed():
    pytest.skip("no TensorRT here: pip install '.[tensorrt-rtx]'", allow_module_level=True)
try:
    trt, device = engines.require_builder()
except ConfigError as error:
    pytest.skip(str(error), allow_module_level=True)


STUDENTS = ("nano", "litept-s")  # at full depth; the others too with SRKD_FULL_DEPTH=1, which takes four minutes


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds(name, tmp_path):
    config = PRESETS[name] if name in STUDENTS or os.environ.get("SRKD_FULL_DEPTH") else shallow(name)
    graph = export_onnx(save_student(tmp_path / "s.safetensors", trained(config)), tmp_path / "s.onnx", "fp16")
    assert len(engines.build(trt, graph, 131_072)) > graph.stat().st_size // 2


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return save_student(tmp_path_factory.mktemp("build") / "student.safetensors", trained(shallow("nano")))


@pytest.fixture(scope="module")
def exported(student):
    """Graph, and the engine file that was built with it."""
    engine = run_export(student, "tensorrt", student.parent / "student.engine", points=28_800)
    return student.with_suffix(".onnx"), engine


def test_export_stores_what_the_runtime_looks_for(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path))
    graph, engine = exported
    wanted = engines.engine_key(trt, graph, 28_800, device)
    assert wanted.precision == "fp16"
    found = tensorrt_cache.find(graph, wanted)
    assert found is not None
    assert found[1:] == (wanted, engine)
    retrained = onnx.load(graph)  # other weights under the same name
    retrained.graph.initializer[0].raw_data = bytes(len(retrained.graph.initializer[0].raw_data))
    other = tmp_path / graph.name
    onnx.save(retrained, other)
    tensorrt_cache.write(other, found[1], found[0])
    assert tensorrt_cache.find(other, engines.engine_key(trt, other, 0, device)) is None


def test_a_robot_builds_from_the_graph_alone(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path))
    graph = tmp_path / "student.onnx"
    graph.write_bytes(exported[0].read_bytes())
    for package in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, None)
    engine = run_export(graph, "tensorrt", points=20_000)
    wanted = engines.engine_key(trt, graph, 20_000, device)
    assert (engine.parent, tensorrt_cache.read(engine)[0]) == (tmp_path, wanted)
    for given in ({"format": "onnx"}, {"precision": "fp32"}, {"output": tmp_path / "x.onnx"}):
        with pytest.raises(ConfigError):
            run_export(graph, **({"format": "tensorrt"} | given))
    with pytest.raises(ConfigError, match=r"ends in \.onnx"):
        run_export(exported[0].with_suffix(".safetensors"), "tensorrt", tmp_path / "x.plan")
    graph.write_bytes(b"no graph")
    with pytest.raises(ModelError, match="not a whole"):
        run_export(graph, "tensorrt")


def test_a_build_says_how_far_it_is(exported, tmp_path, caplog):
    caplog.set_level(logging.INFO, "srkd_ros.tensorrt")
    monitor = engines._make_monitor(trt, every=0.0)
    monitor.phase_start("Building engine", None, 4)
    assert monitor.step_complete("Building engine", 0)
    assert "Building engine 1 of 4" in caplog.text
    engine = engines.build_engine_file(exported[0], 1000, tmp_path / "small.engine")
    assert "building the engine of student.onnx" in caplog.text
    assert f"built {engine}" in caplog.text


def test_a_graph_that_tensorrt_cannot_read_is_one_line(exported, tmp_path):
    graph = onnx.load(exported[0])
    graph.graph.node.append(helper.make_node("Unique", ["logits"], ["unique"], axis=0))
    graph.graph.output.append(helper.make_tensor_value_info("unique", TensorProto.FLOAT, None))
    onnx.save(graph, tmp_path / "unique.onnx")
    with pytest.raises(ModelError) as error:
        engines.build(trt, tmp_path / "unique.onnx", 1000)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_gpu_a_plan_is_refused_and_nothing_crashes(exported):
    runtime = trt.Runtime(trt.Logger(trt.Logger.INTERNAL_ERROR))
    assert runtime.deserialize_cuda_engine(tensorrt_cache.read(exported[1])[1]) is None
    assert runtime.deserialize_cuda_engine(b"not a plan") is None


def test_the_cpu_is_no_device(exported):
    with pytest.raises(ConfigError, match="CUDA devices alone"):
        open_runtime(exported[0], "tensorrt", "cpu")
