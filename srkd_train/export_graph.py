# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The exported graph: a folded network over named tables, traced to ONNX operators that every engine has."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from srkd_ros.geometry.tables import geometry_of, split_name, table_dimensions
from srkd_ros.network import PointTransformer
from srkd_ros.network.blocks import Block
from srkd_ros.network.folding import fold
from srkd_ros.runtimes.graph import FEATURES, LOGITS, table_names
from srkd_train.export_attention import GraphAttention

OPSET = 20
"""Gelu came with 20, and TensorRT 10 (JetPack 6) reads up to it."""


class GraphNetwork(nn.Module):
    """The network as a function of features and tables."""

    def __init__(self, model: PointTransformer, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, features: Tensor, *tables: Tensor) -> Tensor:
        named = dict(zip(self.names, tables, strict=True))
        return self.model(features, geometry_of(named, self.model.geometry_spec, self.model.config.rope_base))


class Cast(nn.Module):
    """To another floating type."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


def to_half(model: PointTransformer) -> PointTransformer:
    """Let all but the stem of a folded model run in float16, in place; float32 goes in and comes out.

    The stem reads coordinates of up to 100 m, where float16 has steps of 6 cm; it is a small part of the work.
    """
    for part in (model.encoder, model.decoder, model.head):
        part.half()
    model.stem_activation = nn.Sequential(model.stem_activation, Cast(torch.float16))  # type: ignore[assignment]
    model.head = nn.Sequential(model.head, Cast(torch.float32))  # type: ignore[assignment]
    return model


def trace(model: PointTransformer, precision: str = "fp32") -> onnx.ModelProto:
    """ONNX graph of a network in eval mode, with weights float32 ("fp32") or float16 ("fp16"); checked by onnx.

    Inputs: features float32 [voxels0, C] and the tables of `table_names`; output: logits float32 [voxels0, classes].
    """
    names = table_names(model)
    folded = fold(model)
    for module in list(folded.modules()):
        if isinstance(module, Block) and module.has_attention:
            module.attention = GraphAttention(module.attention, precision == "fp16")  # type: ignore[assignment]
    network = GraphNetwork(to_half(folded) if precision == "fp16" else folded, names).eval()
    examples = _Examples(model)
    inputs = [examples.features(), *(examples.table(name) for name in names)]
    shapes = ({0: examples.dimension("voxels0")}, tuple(examples.dynamic(name) for name in names))
    with _quiet():
        program = torch.onnx.export(
            network,
            tuple(inputs),
            dynamo=True,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            input_names=[FEATURES, *names],
            output_names=[LOGITS],
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    _check_dynamic(graph.graph, names)
    _gather_by_int32(graph.graph)
    _fold_constants(graph.graph)
    for node in graph.graph.node:  # where in our source an operator came from: paths, and half of a small file's bytes
        del node.metadata_props[:]
        node.ClearField("doc_string")
    del graph.graph.metadata_props[:]
    for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output, *graph.graph.initializer):
        del value.metadata_props[:]
    onnx.checker.check_model(graph, full_check=True)
    return graph


class _Examples:
    """Inputs to trace with. Only their shapes are seen, so sizes are primes that no operation takes for one another."""

    _PRIMES = (211, 199, 193, 181, 179, 173, 167, 163, 157, 151, 149, 139, 137, 131, 127, 113, 109, 107, 103, 101)

    def __init__(self, model: PointTransformer) -> None:
        self.channels = model.config.in_channels
        self._sizes: dict[str, int] = {}
        self._dimensions: dict[str, Any] = {}

    def size(self, dimension: str) -> int:
        return self._sizes.setdefault(dimension, self._PRIMES[len(self._sizes)])

    def dimension(self, name: str) -> Any:
        if name not in self._dimensions:
            self._dimensions[name] = torch.export.Dim(name)
        return self._dimensions[name]

    def dynamic(self, table: str) -> dict[int, Any]:
        return {axis: self.dimension(name) for axis, name in table_dimensions(table).items()}

    def features(self) -> Tensor:
        return torch.zeros(self.size("voxels0"), self.channels)

    def table(self, name: str) -> Tensor:
        kind, _, suffix = split_name(name)
        sizes = [self.size(dimension) for dimension in table_dimensions(name).values()]
        if kind == "rotary":
            return torch.zeros(2, *sizes, int(suffix) // 2)
        if kind in ("neighbors", "children"):
            sizes.append(8 if kind == "children" else int(suffix) ** 3)
        return torch.zeros(sizes, dtype=torch.int32)


def _check_dynamic(graph: onnx.GraphProto, names: list[str]) -> None:
    """The exporter falls back silently to fixed sizes where our code compares one with a number."""
    found = {value.name: [d.dim_param for d in value.type.tensor_type.shape.dim] for value in graph.input}
    for name in names:
        for axis, dimension in table_dimensions(name).items():
            if found[name][axis] != dimension:
                raise RuntimeError(f"tracing has fixed the size {dimension} of {name}: {found[name]}")


def _gather_by_int32(graph: onnx.GraphProto) -> None:
    """Let Gather read its int32 indices as they come: the exporter casts them to int64 first."""
    casts = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "Cast" and any(a.name == "to" and a.i == onnx.TensorProto.INT64 for a in node.attribute)
    }
    others = {name for node in graph.node for place, name in enumerate(node.input) if not _is_index(node, place)}
    removed = [node for name, node in casts.items() if name not in others]
    source = {node.output[0]: node.input[0] for node in removed}
    for node in graph.node:
        if node.op_type == "Gather" and node.input[1] in source:
            node.input[1] = source[node.input[1]]
    for node in removed:
        graph.node.remove(node)
    known = [value for value in graph.value_info if value.name not in source]
    del graph.value_info[:]
    graph.value_info.extend(known)


def _fold_constants(graph: onnx.GraphProto) -> None:
    """Put the rows that stand for missing neighbours among the weights, instead of an operator that makes them.

    onnxruntime before 1.25 has no CUDA kernel for this opset's ConstantOfShape and would copy them from the host.
    """
    known = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "ConstantOfShape" and node.input[0] in known]:
        value = onnx.numpy_helper.to_array(node.attribute[0].t) if node.attribute else np.zeros(1, np.float32)
        full = np.full(onnx.numpy_helper.to_array(known[node.input[0]]), value[0], value.dtype)
        graph.initializer.append(onnx.numpy_helper.from_array(full, node.output[0]))
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    made = {tensor.name for tensor in graph.initializer}
    others = [value for value in graph.value_info if value.name not in made]
    del graph.value_info[:]
    graph.value_info.extend(others)


def _is_index(node: onnx.NodeProto, place: int) -> bool:
    return node.op_type == "Gather" and place == 1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of what does not concern us: packages that are not installed, its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
