"""Folders that transformers wrote are built by their config and loaded: the same model as its own class makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from vitblocks import load_model, preprocess

from .cases import randomised

transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("ViTForImageClassification", {"num_labels": 7}),
    "ViT of its own": (
        "ViTForImageClassification",
        {"num_channels": 1, "qkv_bias": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
    ),
    "ViT, base": ("ViTModel", {}),
    "DeiT": ("DeiTForImageClassification", {"num_labels": 3, "image_size": (32, 48)}),
    "DeiT, base": ("DeiTModel", {}),
}


def written(folder: Path, kind: str, options: dict[str, Any]) -> Any:
    cls = getattr(transformers, kind)
    theirs = randomised(cls(cls.config_class(**{**SIZES, **options})))
    theirs.save_pretrained(folder)
    return theirs


@pytest.mark.parametrize(("kind", "options"), CASES.values(), ids=CASES)
def test_the_same_outputs(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    theirs = written(tmp_path, kind, options)
    model: Any = load_model(tmp_path)
    size = options.get("image_size", (32, 32))
    images = torch.rand(2, options.get("num_channels", 3), *size)
    with torch.no_grad():
        output = theirs(images)
        expected = output.logits if hasattr(output, "logits") else output.pooler_output
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    assert not model.training


def test_labels_and_preprocessing_come_along(tmp_path: Path) -> None:
    names = {0: "cat", 1: "dog"}
    written(tmp_path, "ViTForImageClassification", {"id2label": names, "label2id": {v: k for k, v in names.items()}})
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    model: Any = load_model(tmp_path)
    assert model.labels == ["cat", "dog"]
    want = preprocess(model)
    assert (want.size, want.crop, want.mean) == ((32, 32), None, (0.5, 0.5, 0.5))
    fine_tuned: Any = load_model(tmp_path, num_classes=5)
    assert fine_tuned.labels is None
    assert fine_tuned(torch.rand(1, 3, 32, 32)).shape == (1, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_num_patches": 256}, r"preprocessor_config.json: .* at most 256 patches"),
        ({"size": {"longest_edge": 1024}}, "a longer side of"),
        ({"rescale_factor": 1.0}, "rescale_factor must be 1/255, got 1.0"),
    ],
)
def test_other_preprocessing_does_not_keep_a_model_away(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    written(tmp_path, "ViTModel", {})
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.warns(UserWarning, match=message):
        model: Any = load_model(tmp_path)
    assert getattr(model, "preprocessing", None) is None


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    written(tmp_path, "ViTForImageClassification", {})
    config = json.loads((tmp_path / "config.json").read_text())
    weights = tmp_path / "model.safetensors"
    state = load_file(weights)
    for change, message in (
        ({"architectures": ["BertModel"]}, r"config.json: architectures must name one of .*ViTModel"),
        ({"hidden_act": "mish"}, r"config.json: hidden_act must be one of gelu"),
        ({"hidden_size": 64}, "misshaped"),
        ({"num_hidden_layers": 3}, "missing"),
        ({"image_size": "large"}, r"config.json: image_size"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ValueError, match=message):
            load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({**state, "vit.pooler.dense.bias": torch.ones(32)}, weights)
    with pytest.warns(UserWarning, match=r"the model has no place for vit.pooler.dense.bias"):
        load_model(tmp_path)
