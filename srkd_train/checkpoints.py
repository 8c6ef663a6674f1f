# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Public weights of PTv3 and LitePT, read from Pointcept's checkpoints into our network and a student file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from srkd_ros import student
from srkd_ros.errors import ModelError
from srkd_ros.labels import LabelSet
from srkd_ros.network import PointTransformer, PointTransformerConfig, preset
from srkd_ros.student import Manifest
from srkd_train.checkpoint_names import original_names, original_shape, to_ours
from srkd_train.recipes import Recipe, recipe_for

ARCHITECTURES = ("litept-s", "litept-s-star", "litept-b", "litept-l", "ptv3-half", "ptv3", "sonata")
"""Presets whose originals publish weights or are trained by others, in the order in which they are suggested."""

_STEMS = {"embedding.stem.conv.weight": 5, "embedding.stem.linear.weight": 2}  # name -> dimensions; the last is input
_HEAD = "seg_head.weight"
_NAMED = 3  # tensors that an error names


def run_import(
    checkpoint: str | Path, arch: str, labels: str | Path | LabelSet, output: str | Path, recipe: str = "auto"
) -> Manifest:
    """Turn a checkpoint into a student file; the body of `srkd-train import`. Errors as in import_checkpoint."""
    model, manifest = import_checkpoint(checkpoint, arch, labels, recipe)
    student.save(output, model.state_dict(), manifest)
    return manifest


def import_checkpoint(
    path: str | Path, arch: str, labels: str | Path | LabelSet, recipe: str = "auto"
) -> tuple[PointTransformer, Manifest]:
    """The network of a checkpoint, in eval mode on the CPU, with the manifest of a student.

    `labels` is a shipped label set, a YAML file, or a LabelSet, with its classes in the order of the checkpoint's head.
    `recipe` is a name from srkd_train.recipes.RECIPES; "auto" takes the label set's. ModelError, in one line, if the
    file cannot be read safely or any tensor is missing, left over, or of another shape than `arch` has; ConfigError for
    an unknown label set or recipe.
    """
    if arch not in ARCHITECTURES:
        raise ModelError(f"--arch {arch}: weights can be imported for {', '.join(ARCHITECTURES)}")
    label_set = labels if isinstance(labels, LabelSet) else LabelSet.load(labels)
    tensors = read_checkpoint(path)
    config = _config(arch, tensors, path)
    _check(path, arch, tensors, config)
    if config.num_classes != len(label_set):
        raise ModelError(
            f"{path}: its head has {config.num_classes} classes, label set {label_set.name!r} has {len(label_set)}: "
            f"give --labels the set it was trained on, or a YAML file of {config.num_classes} classes"
        )
    chosen = recipe_for(recipe, label_set, config.in_channels)
    return network_from(tensors, config), _manifest(path, arch, config, label_set, chosen)


def network_from(tensors: Mapping[str, Tensor], config: PointTransformerConfig) -> PointTransformer:
    """The network with weights under their original names and in their original layout, in eval mode."""
    model = PointTransformer(config)
    own = model.state_dict()
    for name, original in original_names(config, own).items():
        own[name] = to_ours(tensors[original].float(), own[name])
    model.load_state_dict(own)
    return model.eval()


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a .pth or .safetensors file under their original names, without `module.` and `backbone.`.

    Counters of batch norm are left out. Nothing is unpickled but tensors, containers and numbers: ModelError otherwise.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such checkpoint")
    try:
        if path.suffix == ".safetensors":
            content: object = load_file(path)
        else:
            with torch.serialization.safe_globals(_NUMPY_SCALARS):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: is damaged, or holds pickled Python objects, which could run any code and are not read; if you "
            "trust it, save its 'state_dict' alone in an environment of its own and import that"
        ) from error
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: not a whole PyTorch or safetensors file") from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not any(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(f"{path}: holds no weights; expected a mapping of names to tensors, or one in 'state_dict'")
    tensors = {str(k).removeprefix("module."): v for k, v in content.items() if isinstance(v, Tensor)}
    return {k.removeprefix("backbone."): v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}


# Pointcept saves its best metric as a numpy number beside the weights. These build numbers and nothing else.
_NUMPY_SCALARS: list[Any] = [
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    np.dtype,
    *{type(np.dtype(t)) for t in (np.float64, np.float32, np.int64)},
]


def _config(arch: str, tensors: Mapping[str, Tensor], path: str | Path) -> PointTransformerConfig:
    """The preset with input channels and classes as the checkpoint has them."""
    stem = next(
        (tensors[name] for name, ndim in _STEMS.items() if name in tensors and tensors[name].ndim == ndim), None
    )
    head = tensors.get(_HEAD)
    if stem is None or head is None or head.ndim != 2:
        part = f"stem ({' or '.join(_STEMS)})" if stem is None else f"segmentation head ({_HEAD})"
        raise ModelError(f"{path}: not a semantic segmentation checkpoint of PTv3 or LitePT: no {part}")
    return preset(arch, in_channels=stem.shape[-1], num_classes=len(head))


def _mismatch(tensors: Mapping[str, Tensor], config: PointTransformerConfig) -> tuple[list[str], list[str], list[str]]:
    """Original names that are missing, left over, and of another shape (told with both shapes)."""
    with torch.device("meta"):
        own = PointTransformer(config).state_dict()
    expected = {original: original_shape(own[name]) for name, original in original_names(config, own).items()}
    missing = [k for k in expected if k not in tensors]
    extra = [k for k in tensors if k not in expected]
    wrong = [
        f"{k} {list(tensors[k].shape)} instead of {list(shape)}"
        for k, shape in expected.items()
        if k in tensors and tuple(tensors[k].shape) != shape
    ]
    return missing, extra, wrong


def _check(path: str | Path, arch: str, tensors: Mapping[str, Tensor], config: PointTransformerConfig) -> None:
    """ModelError naming the first tensors that do not fit, and the architecture that fits or comes closest."""
    missing, extra, wrong = _mismatch(tensors, config)
    if not missing and not extra and not wrong:
        return
    told = [
        f"{len(names)} {what} ({', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''})"
        for what, names in (("missing", missing), ("left over", extra), ("of another shape", wrong))
        if names
    ]
    best, best_count = arch, len(missing) + len(extra) + len(wrong)
    for other in ARCHITECTURES:
        count = sum(map(len, _mismatch(tensors, _config(other, tensors, path))))
        if count < best_count:
            best, best_count = other, count
    if best_count == 0:
        advice = f"; it fits --arch {best}"
    elif best != arch:
        advice = f"; --arch {best} comes closest, with {best_count} tensors that do not fit"
    else:
        advice = "; no other --arch comes closer: it is another network, or not a whole checkpoint"
    raise ModelError(f"{path}: does not fit --arch {arch}: {'; '.join(told)}{advice}")


def _manifest(
    path: str | Path, arch: str, config: PointTransformerConfig, labels: LabelSet, recipe: Recipe
) -> Manifest:
    return Manifest(
        network=config,
        labels=labels,
        preprocessing=recipe.preprocessing,
        intensity_scale=recipe.intensity_scale,
        provenance={
            "imported_from": Path(path).name,
            "sha256": student.file_hash(path),
            "architecture": arch,
            "recipe": recipe.name,
            "notes": recipe.notes,
            **({} if recipe.sensor_height is None else {"sensor_height": recipe.sensor_height}),
        },
    )
