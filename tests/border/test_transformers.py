"""transformers' models come in as they are, whatever they were made with: those of the document."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks.border import adopt
from vitblocks.recipe import build, describe

from .cases import check, randomised
from .hf_models import CVT, LEVIT, MOBILE, SEVEN, SWIN, VIT, Options, made

pytest.importorskip("transformers")

VITS: dict[str, Options] = {
    "plain": {},
    "7 classes, 1 channel": SEVEN,
    "no head": {"num_labels": 0},
    "no bias of qkv, another epsilon and activation": {
        "qkv_bias": False,
        "layer_norm_eps": 1e-4,
        "hidden_act": "quick_gelu",
    },
    "pixels beyond whole patches": {"image_size": 36},
}


@pytest.mark.parametrize("options", VITS.values(), ids=VITS)
@pytest.mark.parametrize(
    "name",
    ["ViTForImageClassification", "DeiTForImageClassification", "DeiTForImageClassificationWithTeacher"],
)
def test_vit_and_deit(name: str, options: Options) -> None:
    check(partial(made, name, **VIT | options), sizes=2)


@pytest.mark.parametrize("name", ["ViTForImageClassification", "DeiTForImageClassificationWithTeacher"])
def test_a_rectangle_of_its_own(name: str) -> None:
    """They interpolate positions of a square alone."""
    check(partial(made, name, **VIT | {"image_size": (32, 48)}))


@pytest.mark.parametrize(
    "options", [{}, {"pooler_output_size": 20, "pooler_act": "relu"}, {"add_pooling_layer": False}]
)
@pytest.mark.parametrize("name", ["ViTModel", "DeiTModel"])
def test_base_vit_and_deit(name: str, options: Options) -> None:
    model, _ = check(partial(made, name, **VIT, **options), sizes=2)
    image = torch.rand(1, 3, 32, 32)
    again = build(describe(model)).eval()
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(image), model(image))


SWINS: dict[str, Options] = {
    "plain": {},
    "7 classes, 1 channel": SEVEN,
    "no head": {"num_labels": 0},
    "rectangle": {"image_size": (48, 32)},
    "maps that are padded": {"image_size": 44, "window_size": 3},
    "other options": {"qkv_bias": False, "hidden_act": "silu", "mlp_ratio": 2.5, "drop_path_rate": 0.3},
}


@pytest.mark.parametrize("options", SWINS.values(), ids=SWINS)
def test_swin(options: Options) -> None:
    model, _ = check(partial(made, "SwinForImageClassification", **SWIN | options), sizes=2)
    rate = [module for _, module in model.blocks()][-1].shortcut1.drop_path.rate
    assert rate == pytest.approx(options.get("drop_path_rate", 0.1))


@pytest.mark.parametrize("options", [{}, {"add_pooling_layer": False}])
def test_base_swin(options: Options) -> None:
    check(partial(made, "SwinModel", **SWIN, **options), sizes=2)


def test_swin_is_adopted_as_it_was_made() -> None:
    """Blocks there forget their shift once a map was as small as a window; the last stage's have at the image size."""
    theirs: Any = randomised(made("SwinForImageClassification", **SWIN))
    block = theirs.swin.encoder.layers[1].blocks[1]
    larger = torch.rand(1, 3, 64, 64)
    before = theirs(larger).logits
    assert block.shift_size == 2
    theirs(torch.rand(1, 3, 32, 32))
    assert block.shift_size == 0
    model, report = adopt(theirs, sizes=[32, (64, 32), (40, 72)])
    assert len(report.errors) == 3
    assert block.shift_size == 0
    torch.testing.assert_close(model(larger), before, rtol=1e-4, atol=1e-5)


LEVITS: dict[str, Options] = {
    "plain": {},
    "7 classes, 1 channel": SEVEN,
    "no head": {"num_labels": 0},
    "other sizes": {
        "image_size": 128,
        "depths": [2, 1, 2],
        "key_dim": [8, 6, 4],
        "mlp_ratio": [2, 3, 4],
        "attention_ratio": [1, 2, 3],
    },
}


@pytest.mark.parametrize("options", LEVITS.values(), ids=LEVITS)
@pytest.mark.parametrize(
    "name", ["LevitModel", "LevitForImageClassification", "LevitForImageClassificationWithTeacher"]
)
def test_levit(name: str, options: Options) -> None:
    """It takes images of its own size alone."""
    check(partial(made, name, **LEVIT | options))


MOBILES: dict[str, Options] = {
    "plain": {},
    "7 classes, 1 channel": SEVEN,
    "rectangle": {"image_size": (32, 64)},
    "maps that are resized": {"image_size": 72},
    "other sizes": {"expand_ratio": 3.0, "mlp_ratio": 1.5, "num_attention_heads": 4, "conv_kernel_size": 5},
}


@pytest.mark.parametrize("options", MOBILES.values(), ids=MOBILES)
def test_mobile_vit(options: Options) -> None:
    model, _ = check(partial(made, "MobileViTForImageClassification", **MOBILE | options), sizes=2)
    assert model.head[0].p == 0.1


@pytest.mark.parametrize("options", [{}, {"expand_output": False}])
def test_base_mobile_vit(options: Options) -> None:
    check(partial(made, "MobileViTModel", **MOBILE, **options), sizes=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_act": "relu"}, "activation of mobilevit.conv_stem"),
        ({"output_stride": 16}, r"mobilevit\.encoder\.layer\.4\.downsampling_layer\.conv_3x3\.convolution"),
        ({"qkv_bias": False}, "settings of its transformers"),
        ({"layer_norm_eps": 1e-6}, "settings of its transformers"),
    ],
)
def test_what_mobile_vit_has_no_part_for(options: Options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adopt(made("MobileViTForImageClassification", **MOBILE, **options))


CVTS: dict[str, Options] = {
    "plain": {},
    "7 classes, 1 channel": SEVEN,
    "no head": {"num_labels": 0},
    "other sizes": {
        "patch_sizes": [5, 3, 2],
        "patch_padding": [1, 1, 0],
        "kernel_qkv": [3, 5, 3],
        "padding_q": [1, 2, 1],
        "padding_kv": [1, 1, 0],
        "stride_kv": [2, 1, 2],
        "qkv_bias": [True, False, True],
        "mlp_ratio": [2.0, 4.0, 3.0],
    },
}


@pytest.mark.parametrize("options", CVTS.values(), ids=CVTS)
def test_cvt(options: Options) -> None:
    sizes = {**CVT, **options, "drop_path_rate": [0.0, 0.0, 0.3]}
    _, report = check(partial(made, "CvtForImageClassification", **sizes), sizes=2)
    assert report.errors.keys() == {(224, 224), (448, 224)}


@pytest.mark.parametrize("options", [{}, {"cls_token": [False] * 3}])
def test_base_cvt(options: Options) -> None:
    model, _ = check(partial(made, "CvtModel", **CVT, **options, drop_path_rate=[0.0, 0.0, 0.3]), sizes=2)
    rates = [module.shortcut2.drop_path.rate for _, module in model.blocks()]
    assert rates == pytest.approx([0, 0, 0, 0.3, 0.3, 0.3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cls_token": [False, True, True]}, "cls_token"),
        ({"drop_rate": [0.0, 0.0, 0.1]}, "dropout of stages.2"),
        ({"stride_q": [1, 2, 1]}, r"stages\.1\.layers\.0\.convolution_projection_query"),
    ],
)
def test_what_cvt_has_no_part_for(options: Options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adopt(made("CvtForImageClassification", **CVT, **options))


def test_dropout_is_where_theirs_has_it() -> None:
    theirs = randomised(made("ViTModel", **VIT, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2))
    model, _ = adopt(theirs)
    block = next(module for _, module in model.blocks())
    assert [part.p for part in (block.mlp.dropout1, block.mlp.dropout2, block.attn.dropout)] == [0.0, 0.3, 0.3]
    assert block.attn.attend.dropout == 0.2
    assert build(describe(model)).stages[0].layers[-1].mlp.dropout1.p == 0


def test_names_of_classes_come_along() -> None:
    theirs = randomised(made("ViTForImageClassification", **VIT, id2label={0: "cat", 1: "dog", 2: "eel"}))
    assert adopt(theirs).model.labels == ["cat", "dog", "eel"]


def test_what_no_part_does_is_refused_by_name() -> None:
    theirs: Any = made("ViTModel", **VIT)
    theirs.embeddings.mask_token = nn.Parameter(torch.zeros(1, 1, 32))
    with pytest.raises(ValueError, match="ViTModel has mask_token"):
        adopt(theirs)
    with pytest.raises(ValueError, match="SwinForImageClassification has position_embeddings"):
        adopt(made("SwinForImageClassification", **SWIN, use_absolute_embeddings=True))
    with pytest.raises(ValueError, match=r"SwinModel has embeddings\.norm"):
        adopt(made("SwinModel", **SWIN, layer_norm_eps=1e-6))
    theirs = made("ViTForImageClassification", **VIT)
    theirs.vit.layers[1].layernorm_after.eps = theirs.vit.layers[1].layernorm_before.eps = 1e-3
    with pytest.raises(ValueError, match=r"norm of layers\.1"):
        adopt(theirs)
    theirs = made("ViTForImageClassification", **VIT)
    theirs.vit.layers[0].attention.v_proj.bias = None
    with pytest.raises(ValueError, match=r"biases of layers\.0\.attention"):
        adopt(theirs)


def test_pruned_models_come_in() -> None:
    """Fewer heads, and fewer hidden channels, than the config says."""
    theirs: Any = made("ViTForImageClassification", **VIT)
    for layer in theirs.vit.layers:
        for name in ("q_proj", "k_proj", "v_proj"):
            setattr(layer.attention, name, nn.Linear(32, 16))
        layer.attention.o_proj = nn.Linear(16, 32)
        layer.mlp.fc1, layer.mlp.fc2 = nn.Linear(32, 20), nn.Linear(20, 32)
    model, _ = adopt(randomised(theirs))
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in theirs.parameters())
