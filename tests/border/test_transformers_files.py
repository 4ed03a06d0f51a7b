"""Files of transformers are read and written, and its folders built by their config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vitblocks import load_model
from vitblocks.border import adopt, origin_of
from vitblocks.border.configs import reader_of
from vitblocks.checkpoint import compare, export, load
from vitblocks.recipe import build, describe

from .cases import randomised
from .hf_models import CVT, HIERA, LEVIT, MAE, MOBILE, PATCHES, SAM, SWIN, VIT, Options, made, towers

pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")

FILES: dict[str, Options] = {
    "ViTForImageClassification": VIT,
    "ViTModel": VIT,
    "DeiTForImageClassification": VIT,
    "DeiTForImageClassificationWithTeacher": VIT,
    "DeiTModel": VIT,
    "SwinForImageClassification": SWIN,
    "SwinModel": SWIN,
    "LevitForImageClassification": LEVIT,
    "LevitForImageClassificationWithTeacher": LEVIT,
    "LevitModel": LEVIT,
    "MobileViTForImageClassification": MOBILE,
    "MobileViTModel": MOBILE,
    "CvtForImageClassification": CVT,
    "CvtModel": CVT,
    "ViTMAEModel": VIT,
    "ViTMAEForPreTraining": MAE,
    "Dinov2Model": VIT,
    "Dinov2ForImageClassification": {**VIT, "use_swiglu_ffn": True},
    "Dinov2WithRegistersModel": VIT,
    "Dinov2WithRegistersForImageClassification": VIT,
    "DINOv3ViTModel": {**VIT, "num_register_tokens": 3, "use_gated_mlp": True, "hidden_act": "silu"},
    "CLIPVisionModel": VIT,
    "CLIPVisionModelWithProjection": {**VIT, "projection_dim": 20},
    "CLIPForImageClassification": towers(VIT),
    "SiglipVisionModel": {**VIT, "image_size": 36},
    "SiglipForImageClassification": towers(VIT),
    "Siglip2VisionModel": PATCHES,
    "Siglip2ForImageClassification": towers(PATCHES),
    "BeitModel": {**VIT, "use_shared_relative_position_bias": True},
    "BeitForImageClassification": {**VIT, "use_relative_position_bias": True, "use_mask_token": True},
    "SamVisionModel": SAM,
    "HieraModel": HIERA,
    "HieraForImageClassification": HIERA,
    "Swinv2Model": SWIN,
    "Swinv2ForImageClassification": SWIN,
}
IDLE = {
    "CLIPForImageClassification": "vision_model.post_layernorm.",
    "SiglipForImageClassification": "vision_model.head.",
    "Siglip2ForImageClassification": "vision_model.head.",
}
"""What theirs hold and nothing reads: where names start so."""
BUFFERS = ("relative_position_index", "relative_coords_table")


def read_by_outputs(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not (name in IDLE and key.startswith(IDLE[name]))}


@pytest.mark.parametrize("name", FILES)
def test_files_have_other_names_than_modules_and_both_are_read(name: str, tmp_path: Path) -> None:
    theirs = randomised(made(name, **FILES[name]))
    model, _ = adopt(theirs)
    theirs.save_pretrained(tmp_path)
    file = safetensors.load_file(tmp_path / "model.safetensors")
    written, wanted = export(model, "hf"), read_by_outputs(name, file)
    assert written.keys() == set(wanted) | {key for key in theirs.state_dict() if key.endswith("_tracked")}
    assert all(torch.equal(value, written[key]) for key, value in wanted.items())
    for state in (theirs.state_dict(), file):
        fresh = build(describe(model))
        assert load(fresh, state, layout="hf").ok
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in fresh.state_dict().items())
    safetensors.save_file(written, tmp_path / "model.safetensors", metadata={"format": "pt"})
    kind: Any = type(theirs)
    again = kind.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in read_by_outputs(name, theirs.state_dict()).items())


@pytest.mark.parametrize("name", FILES)
def test_folders_are_built_by_their_config(name: str, tmp_path: Path) -> None:
    theirs: Any = randomised(made(name, **FILES[name], num_labels=3))
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")  # several files and their index
    assert (tmp_path / "model.safetensors.index.json").exists()
    model: Any = load_model(tmp_path)
    expected = adopt(theirs).model.eval()
    image = torch.rand(2, 3, *(expected.image_size or (64, 64)))
    own = origin_of(theirs)[1].own
    assert model.state_dict().keys() == expected.state_dict().keys()
    assert type(model) is type(expected)
    torch.testing.assert_close(own(model, image), own(expected, image), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "tower", "options", "count"),
    [
        ("CLIPModel", "CLIPVisionModelWithProjection", towers(VIT, projection_dim=20), 20),
        ("SiglipModel", "SiglipVisionModel", towers(VIT), 32),
    ],
)
def test_the_tower_of_images_of_a_model_of_both(
    name: str, tower: str, options: Options, count: int, tmp_path: Path
) -> None:
    theirs: Any = randomised(made(name, **options))
    theirs.save_pretrained(tmp_path)
    model: Any = load_model(tmp_path)
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs.get_image_features(image)
        torch.testing.assert_close(model(image), getattr(expected, "pooler_output", expected), rtol=1e-4, atol=1e-5)
    assert model(image).shape == (2, count)
    assert export(model, "hf").keys() == made(tower, **options["vision_config"]).state_dict().keys()


@pytest.mark.slow  # in the sizes of published models
@pytest.mark.parametrize("name", FILES)
def test_what_a_config_leaves_out_is_what_transformers_takes(name: str) -> None:
    """A config of nothing gives a model of the size that theirs has."""
    import transformers

    cls = getattr(transformers, name)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in cls(cls.config_class()).state_dict().items()}
        ours = reader_of({"architectures": [name]})({"architectures": [name]})
    theirs = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    report = compare(ours, theirs, layout="hf")
    classes = [entry for entry in report.misshaped if entry.ours[0].startswith("head")]  # a config has their names
    assert not report.missing
    assert not report.unexpected
    assert list(report.misshaped) == classes


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("CLIPVisionModelWithProjection", ["vision_model.embeddings.position_ids"]),
        ("SiglipVisionModel", ["embeddings.position_ids", "vision_model.embeddings.position_ids"]),
        ("SwinModel", ["encoder.layers.1.blocks.0.attention.self.relative_position_index"]),
        ("Swinv2Model", [f"encoder.layers.1.blocks.0.attention.self.{key}" for key in BUFFERS]),
    ],
)
def test_files_of_transformers_4_hold_what_it_computes_now(name: str, keys: list[str]) -> None:
    model, _ = adopt(randomised(made(name, **FILES[name])))
    state = {**export(model, "hf"), **{key: torch.arange(4)[None] for key in keys}}
    assert sorted(load(model, state, layout="hf").ignored) == sorted(keys)


@pytest.mark.parametrize("name", ["CLIPVisionModel", "SiglipVisionModel"])
def test_towers_were_written_with_a_prefix_before(name: str, tmp_path: Path) -> None:
    """By transformers 4."""
    theirs = randomised(made(name, **FILES[name]))
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    state = {f"vision_model.{key}": value for key, value in safetensors.load_file(path).items()}
    safetensors.save_file(state, path, metadata={"format": "pt"})
    expected = adopt(theirs).model.state_dict()
    found = load_model(tmp_path).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("SwinModel", {"use_absolute_embeddings": True}, "use_absolute_embeddings must be False, got True"),
        ("LevitModel", {"mlp_ratio": [2, 0, 2]}, r"mlp_ratio must be above 0, got \[2, 0, 2\]"),
        ("LevitModel", {"stride": 1}, "stride must be 2, got 1"),
        ("MobileViTModel", {"hidden_act": "relu"}, "hidden_act must be silu, got 'relu'"),
        ("CvtModel", {"cls_token": [True, False, True]}, r"cls_token must be False .*, got \[True, False, True\]"),
        ("CvtModel", {"depth": [1, 2]}, r"depth must be a list of one for each of 3 stages, got \[1, 2\]"),
        ("CvtModel", {"stride_q": [1, 2, 1]}, r"stride_q must be \[1, 1, 1\], got \[1, 2, 1\]"),
        ("DINOv3ViTModel", {"key_bias": True}, "key_bias must be False, got True"),
        ("DINOv3ViTModel", {"query_bias": False}, "value_bias must be False, got True"),
        ("Siglip2VisionModel", {"num_patches": 12}, "num_patches must be a square, got 12"),
        ("BeitModel", {"use_relative_position_bias": True}, "use_shared_relative_position_bias must be False beside"),
        ("Swinv2Model", {"use_absolute_embeddings": True}, "use_absolute_embeddings must be False, got True"),
    ],
)
def test_configs_that_no_part_has_are_refused(name: str, change: Options, message: str, tmp_path: Path) -> None:
    made(name, **FILES[name]).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)
