# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Checkpoints in Pointcept's layout, written here, become student files; those that do not fit are explained."""

from pathlib import Path

import numpy as np
import pytest
import torch

from srkd_ros import Segmenter, student
from srkd_ros.errors import ConfigError, ModelError, SrkdError
from srkd_ros.labels import LabelSet
from srkd_ros.network import PointTransformer, parameter_count, preset
from srkd_ros.node.frames import mounting
from srkd_train.checkpoint_names import original_names, original_shape
from srkd_train.checkpoints import ARCHITECTURES, import_checkpoint, read_checkpoint, run_import
from srkd_train.recipes import RECIPES


def original_tensors(arch: str, in_channels: int = 4, random: bool = False) -> dict[str, torch.Tensor]:
    """Tensors under the names and in the layout of the original implementations, without prefixes.

    Unless random, each is one zero, repeated: a checkpoint of a few kilobytes.
    """
    config = preset(arch, num_classes=16, in_channels=in_channels)
    with torch.device("meta"):
        own = PointTransformer(config).state_dict()
    torch.manual_seed(0)
    tensors = {}
    for name, original in original_names(config, own).items():
        shape = original_shape(own[name])
        tensors[original] = torch.rand(shape) * 0.1 if random else torch.zeros(()).expand(shape)
        if original.endswith("running_var"):
            tensors[original.replace("running_var", "num_batches_tracked")] = torch.tensor(7)
    return tensors


def write(path: Path, tensors: dict[str, torch.Tensor], prefix: str = "module.", **other: object) -> Path:
    state = {prefix + ("" if k.startswith("seg_head") else "backbone.") + k: v for k, v in tensors.items()}
    torch.save({"epoch": 50, "state_dict": state, **other}, path)
    return path


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def litept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Pointcept saves it: the optimiser beside the weights, and the best metric as a numpy number."""
    other = {
        "best_metric_value": np.float64(0.822),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.002, "betas": (0.9, 0.95)}]},
    }
    return write(
        tmp_path_factory.mktemp("checkpoint") / "model_best.pth", original_tensors("litept-s", random=True), **other
    )


@pytest.mark.parametrize(
    ("arch", "backbone", "head"),
    [
        ("litept-s", 12_703_932, 1_168),
        ("litept-s-star", 15_979_716, 1_168),
        ("litept-b", 45_099_288, 1_168),
        ("litept-l", 85_862_448, 1_168),
        ("ptv3", 46_158_272, 1_040),
        ("ptv3-half", 11_562_208, 528),
        ("sonata", 124_792_608, 1_040),
    ],
)
def test_parameters_are_counted_as_by_the_originals(arch, backbone, head):
    with torch.device("meta"):
        model = PointTransformer(preset(arch, num_classes=16))
    assert parameter_count(model) == backbone + head
    assert parameter_count(model.head) == head


def test_names_are_those_of_published_checkpoints():
    for arch, some in {
        "ptv3": {
            "embedding.stem.conv.weight": (32, 5, 5, 5, 4),
            "embedding.stem.norm.running_mean": (32,),
            "enc.enc0.block1.cpe.0.weight": (32, 3, 3, 3, 32),
            "enc.enc3.down.proj.weight": (256, 128),
            "enc.enc3.down.norm.0.weight": (256,),
            "enc.enc3.block5.attn.qkv.weight": (768, 256),
            "enc.enc4.block0.norm1.0.bias": (512,),
            "enc.enc4.block0.mlp.0.fc1.weight": (2048, 512),
            "dec.dec3.up.proj.0.weight": (256, 512),
            "dec.dec3.up.proj_skip.1.running_var": (256,),
            "dec.dec0.block1.attn.proj.bias": (64,),
            "seg_head.weight": (16, 64),
        },
        "litept-s": {
            "enc.enc2.block1.conv.2.weight": (144,),
            "enc.enc3.block0.norm0.0.weight": (252,),
            "enc.enc4.block1.mlp.0.fc2.weight": (504, 2016),
            "dec.dec0.up.proj_skip.0.weight": (72, 36),
        },
        "sonata": {
            "embedding.stem.linear.bias": (48,),
            "embedding.stem.norm.weight": (48,),
            "enc.enc1.down.norm.0.bias": (96,),
        },
    }.items():
        tensors = original_tensors(arch)
        assert {k: tuple(tensors[k].shape) for k in some} == some


def test_convolution_weights_keep_their_places(litept):
    """spconv's [out, x, y, z, in] and our [x y z, in, out]: one entry, followed through by hand."""
    model, _ = import_checkpoint(litept, "litept-s", "nuscenes")
    theirs = read_checkpoint(litept)["enc.enc1.block0.conv.0.weight"]
    ours = model.encoder[1].blocks[0].convolution.convolution.weight
    assert ours[0 * 9 + 1 * 3 + 2, 5, 7] == theirs[7, 0, 1, 2, 5]


def test_an_imported_student_labels_a_cloud(tmp_path, litept):
    output = tmp_path / "student.safetensors"
    manifest = run_import(litept, "litept-s", "nuscenes", output)
    assert manifest.preprocessing.features == ("x", "y", "z", "intensity")
    assert (manifest.preprocessing.voxel_size, manifest.preprocessing.voxel_feature) == (0.05, "first")
    assert manifest.intensity_scale == 255.0
    assert manifest.provenance["sha256"] == student.file_hash(litept)

    segmenter = Segmenter.load(output, device="cpu")
    xyz = np.random.default_rng(0).uniform(-9, 9, (300, 3)).astype(np.float32)
    result = segmenter(xyz, np.full(300, 100, np.float32))
    assert result.labels.max() < 16
    assert segmenter.labels.names[0] == "barrier"


def test_prefixes_are_optional(tmp_path, litept):
    tensors = read_checkpoint(litept)
    plain = read_checkpoint(write(tmp_path / "plain.pth", tensors, prefix=""))
    assert plain.keys() == tensors.keys()
    assert "enc.enc0.block0.conv.0.weight" in plain


def test_safetensors_are_read_as_well(tmp_path, litept):
    from safetensors.torch import save_file

    path = tmp_path / "weights.safetensors"
    tensors = read_checkpoint(litept)
    save_file({("" if k.startswith("seg_head") else "backbone.") + k: v for k, v in tensors.items()}, path)
    model, _ = import_checkpoint(path, "litept-s", "nuscenes")
    assert model.config.num_classes == 16


def failure(path: Path, arch: str = "litept-s", labels: str = "nuscenes", **other: str) -> str:
    with pytest.raises(SrkdError) as caught:
        import_checkpoint(path, arch, labels, **other)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_another_architecture_is_recognised(tmp_path, litept):
    text = failure(litept, "ptv3")
    assert "cpe.0.weight" in text
    assert text.endswith("it fits --arch litept-s")
    path = write(tmp_path / "half.pth", original_tensors("ptv3-half"))
    assert failure(path, "ptv3").endswith("it fits --arch ptv3-half")
    assert "litept-l" in failure(path, "litept-xl")


def test_every_tensor_is_accounted_for(tmp_path):
    tensors = original_tensors("litept-s")
    del tensors["enc.enc4.block1.attn.proj.bias"]
    text = failure(write(tmp_path / "missing.pth", tensors))
    assert "1 missing (enc.enc4.block1.attn.proj.bias)" in text
    assert "no other --arch comes closer" in text

    tensors = original_tensors("litept-s")
    tensors |= {f"enc.enc3.block{i}.attn.rpe.rpe_table": torch.zeros(9, 14) for i in range(4)}
    text = failure(write(tmp_path / "extra.pth", tensors))
    assert "4 left over (enc.enc3.block0.attn.rpe.rpe_table, " in text
    assert ", ...)" in text

    tensors = original_tensors("litept-s")
    tensors["enc.enc0.block0.conv.0.weight"] = torch.zeros(3, 3, 3, 36, 36)
    text = failure(write(tmp_path / "old.pth", tensors))
    assert "enc.enc0.block0.conv.0.weight [3, 3, 3, 36, 36] instead of [36, 3, 3, 3, 36]" in text

    del tensors["seg_head.weight"]
    assert "no segmentation head" in failure(write(tmp_path / "headless.pth", tensors))


def test_head_and_labels_must_agree(tmp_path, litept):
    assert "16 classes, label set 'semantickitti' has 19" in failure(litept, labels="semantickitti")
    assert "no label set" in failure(litept, labels="nuscene")


def test_the_recipe_must_fit_the_stem(tmp_path, litept):
    assert "--recipe scannet would fit" in failure(
        write(tmp_path / "color.pth", original_tensors("litept-s", in_channels=6))
    )
    assert "nuscenes, semantickitti" in failure(litept, recipe="kitti")
    own = LabelSet("mine", LabelSet.load("nuscenes").classes)
    with pytest.raises(ConfigError, match="label set 'mine'"):
        import_checkpoint(litept, "litept-s", own)
    _, manifest = import_checkpoint(litept, "litept-s", own, recipe="waymo")
    assert manifest.intensity_scale == 1.0


@pytest.mark.parametrize(("recipe", "lifted"), [("nuscenes", 1.2 - 1.84), ("waymo", 1.2)])
def test_the_node_can_lift_clouds_for_imported_weights(litept, recipe, lifted):
    """Waymo's points lie in the vehicle's frame, on the ground."""
    _, manifest = import_checkpoint(litept, "litept-s", "nuscenes", recipe=recipe)
    pose = mounting(manifest, (0.0, 0.0, 0.0), 1.2)
    assert pose is not None
    assert pose(np.zeros((1, 3), np.float32))[0] == pytest.approx([0, 0, lifted])


def test_recipes_go_with_shipped_label_sets():
    for recipe in RECIPES.values():
        assert len(LabelSet.load(recipe.labels)) > 0


class _Surprise:
    def __reduce__(self):
        return print, ("a checkpoint ran code",)


def test_pickled_objects_are_refused(tmp_path, capsys):
    path = write(tmp_path / "evil.pth", {"seg_head.weight": torch.zeros(16, 72)}, optimizer=_Surprise())
    assert "which could run any code" in failure(path)
    assert capsys.readouterr().out == ""


def test_files_that_are_no_checkpoint(tmp_path, litept):
    assert "no such checkpoint" in failure(tmp_path / "nothing.pth")
    (tmp_path / "cut.pth").write_bytes(litept.read_bytes()[:100_000])
    assert "not a whole" in failure(tmp_path / "cut.pth")
    (tmp_path / "text.pth").write_text("hello")
    assert "not a whole" in failure(tmp_path / "text.pth")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    assert "not a whole" in failure(tmp_path / "empty.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    assert "holds no weights" in failure(tmp_path / "list.pth")
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, tmp_path / "other.pth")
    assert "no stem" in failure(tmp_path / "other.pth")
    with pytest.raises(ModelError, match="can be imported for litept-s, "):
        import_checkpoint(litept, "nano", "nuscenes")


def test_every_architecture_is_a_preset():
    for arch in ARCHITECTURES:
        assert len(preset(arch).encoder_channels) == 5
