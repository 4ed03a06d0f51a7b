"""transformers' models come in as they are: those that came after the document, and towers of images."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks.border import adopt

from .cases import check, randomised
from .hf_models import MAE, PATCHES, SEVEN, SWIN, VIT, Options, made, towers

pytest.importorskip("transformers")

DINOS: dict[str, Options] = {
    "plain": {},
    "7 classes, 1 channel": SEVEN,
    "SwiGLU, another epsilon": {"use_swiglu_ffn": True, "layer_norm_eps": 1e-4, "qkv_bias": False},
    "pixels beyond whole patches": {"image_size": 36, "drop_path_rate": 0.2},
}


@pytest.mark.parametrize("options", DINOS.values(), ids=DINOS)
@pytest.mark.parametrize("kind", ["Dinov2", "Dinov2WithRegisters"])
@pytest.mark.parametrize("suffix", ["Model", "ForImageClassification"])
def test_dinov2(kind: str, suffix: str, options: Options) -> None:
    _, report = check(partial(made, kind + suffix, **VIT | options), sizes=2)
    assert max(report.errors.values()) < 1e-6


@pytest.mark.parametrize("options", [{"use_mask_token": False}, {"num_labels": 0}, {"num_register_tokens": 0}])
def test_dinov2_without(options: Options) -> None:
    kind = "Dinov2WithRegistersModel" if "num_register_tokens" in options else "Dinov2ForImageClassification"
    check(partial(made, kind, **VIT | options), sizes=2)


def test_every_block_drops_paths_as_theirs() -> None:
    model, _ = adopt(randomised(made("Dinov2Model", **VIT, drop_path_rate=0.2)))
    assert [block.shortcut2.drop_path.rate for _, block in model.blocks()] == [0.2, 0.2]


@pytest.mark.parametrize(
    "options",
    [
        {"num_channels": 1},
        {"num_register_tokens": 3, "use_gated_mlp": True, "hidden_act": "silu"},
        {"query_bias": False, "value_bias": False, "rope_theta": 30.0, "image_size": (32, 48)},
    ],
)
def test_dinov3(options: Options) -> None:
    check(partial(made, "DINOv3ViTModel", **VIT | options), sizes=2)


@pytest.mark.parametrize(
    "options", [{"key_bias": True}, {"query_bias": False}, {"proj_bias": False}, {"mlp_bias": False}]
)
def test_what_dinov3_has_no_part_for(options: Options) -> None:
    with pytest.raises(ValueError, match=r"DINOv3ViTModel has .*bias"):
        adopt(made("DINOv3ViTModel", **VIT, **options))


TOWERS: dict[str, Options] = {
    "plain": {},
    "1 channel, pixels beyond whole patches": {"num_channels": 1, "image_size": 36},
    "another epsilon and activation": {"layer_norm_eps": 1e-3, "hidden_act": "gelu", "attention_dropout": 0.1},
}


@pytest.mark.parametrize("options", TOWERS.values(), ids=TOWERS)
@pytest.mark.parametrize("name", ["CLIPVisionModel", "CLIPVisionModelWithProjection", "SiglipVisionModel"])
def test_towers(name: str, options: Options) -> None:
    check(partial(made, name, **VIT | options), sizes=2)


@pytest.mark.parametrize("options", TOWERS.values(), ids=TOWERS)
@pytest.mark.parametrize(
    ("name", "idle"),
    [
        ("CLIPForImageClassification", "vision_model.post_layernorm."),
        ("SiglipForImageClassification", "vision_model.head."),
    ],
)
def test_classifiers_of_towers(name: str, idle: str, options: Options) -> None:
    check(partial(made, name, **towers(VIT | options, num_labels=7)), sizes=2, idle=idle)


def test_siglip_without_a_head() -> None:
    check(partial(made, "SiglipVisionModel", **VIT, vision_use_head=False), sizes=2)
    check(partial(made, "SiglipForImageClassification", **towers({**VIT, "vision_use_head": False})), sizes=2)
    check(partial(made, "Siglip2VisionModel", **PATCHES, vision_use_head=False), sizes=2)


@pytest.mark.parametrize("options", [{}, {"num_channels": 1, "num_patches": 9}])
def test_siglip2_of_every_size(options: Options) -> None:
    check(partial(made, "Siglip2VisionModel", **PATCHES | options), sizes=2)
    idle = "vision_model.head."
    check(partial(made, "Siglip2ForImageClassification", **towers(PATCHES | options, num_labels=7)), sizes=2, idle=idle)


def test_what_towers_have_no_part_for() -> None:
    theirs: Any = made("SiglipVisionModel", **VIT)
    theirs.head.mlp.fc1, theirs.head.mlp.fc2 = nn.Linear(32, 20), nn.Linear(20, 32)
    with pytest.raises(ValueError, match=r"SiglipVisionModel has mlp_dim of head\.mlp = 20"):
        adopt(theirs)
    theirs = made("CLIPVisionModel", **VIT)
    theirs.post_layernorm.eps = 1e-2
    with pytest.raises(ValueError, match="CLIPVisionModel has post_layernorm"):
        adopt(theirs)


BEITS: dict[str, Options] = {
    "plain": {},
    "7 classes, 1 channel, relative positions": {**SEVEN, "use_relative_position_bias": True, "use_mask_token": True},
    "shared relative positions, class token": {
        "use_shared_relative_position_bias": True,
        "use_absolute_position_embeddings": True,
        "use_mean_pooling": False,
        "layer_scale_init_value": 0.0,
    },
    "one block, shared relative positions": {"num_hidden_layers": 1, "use_shared_relative_position_bias": True},
    "rectangle": {"image_size": (32, 48), "use_relative_position_bias": True},
    "pixels beyond whole patches": {"image_size": 36, "hidden_act": "relu", "layer_norm_eps": 1e-4},
}


@pytest.mark.parametrize("options", BEITS.values(), ids=BEITS)
@pytest.mark.parametrize("name", ["BeitModel", "BeitForImageClassification"])
def test_beit(name: str, options: Options) -> None:
    check(partial(made, name, **VIT | options), sizes=2)


@pytest.mark.parametrize("use_mean_pooling", [True, False])
def test_beit_without_its_pooler(use_mean_pooling: bool) -> None:
    check(partial(made, "BeitModel", **VIT, add_pooling_layer=False, use_mean_pooling=use_mean_pooling), sizes=2)


def test_what_beit_has_no_part_for() -> None:
    both = {"use_relative_position_bias": True, "use_shared_relative_position_bias": True}
    with pytest.raises(ValueError, match="BeitModel has relative_position_bias beside shared_position_bias"):
        adopt(made("BeitModel", **VIT, **both))


SWINS: dict[str, Options] = {
    "plain": {},
    "7 classes, 1 channel": SEVEN,
    "no head": {"num_labels": 0},
    "rectangle": {"image_size": (48, 32)},
    "maps that are padded": {"image_size": 44, "window_size": 3},
    "other options": {"qkv_bias": False, "hidden_act": "silu", "mlp_ratio": 2.5, "pretrained_window_sizes": [3, 0]},
}


@pytest.mark.parametrize("options", SWINS.values(), ids=SWINS)
def test_swin_v2(options: Options) -> None:
    check(partial(made, "Swinv2ForImageClassification", **SWIN | options), sizes=2)


@pytest.mark.parametrize("options", [{}, {"add_pooling_layer": False}])
def test_base_swin_v2(options: Options) -> None:
    check(partial(made, "Swinv2Model", **SWIN, **options), sizes=2)


def test_dropout_of_swin_v2() -> None:
    """After its attention it is as that of the weights."""
    theirs = made("Swinv2Model", **SWIN, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2)
    model, _ = adopt(randomised(theirs))
    _, block = next(iter(model.blocks()))
    rates = [part.p for part in (block.mlp.dropout1, block.mlp.dropout2, block.attn.dropout)]
    assert [*rates, block.attn.attend.dropout] == [0.0, 0.3, 0.2, 0.2]


@pytest.mark.parametrize("options", [{}, {"num_channels": 1, "qkv_bias": False, "hidden_act": "relu"}])
def test_encoder_of_mae(options: Options) -> None:
    check(partial(made, "ViTMAEModel", **VIT | options), sizes=2)


def test_the_encoder_of_mae_is_left_to_hide_patches() -> None:
    theirs: Any = randomised(made("ViTMAEModel", **VIT))
    adopt(theirs)
    assert theirs.config.mask_ratio == 0.75
    assert theirs(torch.rand(1, 3, 32, 32)).last_hidden_state.shape == (1, 5, 32)


@pytest.mark.parametrize("options", [{}, {"norm_pix_loss": True, "mask_ratio": 0.5, "num_channels": 1}])
def test_mae(options: Options) -> None:
    """All pixels that it predicts, and the loss, for the same noise."""
    model, report = check(partial(made, "ViTMAEForPreTraining", **MAE | options))
    assert type(model).__name__ == "MAE"
    assert report.errors.keys() == {(32, 32)}
    image = torch.rand(2, options.get("num_channels", 3), 32, 32)
    model.train()(image).backward()
    assert model.decoder.layers[0].table.grad is None


def test_what_mae_has_no_part_for() -> None:
    with pytest.raises(ValueError, match="ViTMAEForPreTraining has dropout of its decoder"):
        adopt(made("ViTMAEForPreTraining", **MAE, hidden_dropout_prob=0.1))
