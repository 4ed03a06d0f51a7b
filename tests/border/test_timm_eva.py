"""timm's Eva comes in as EVA, EVA-02, DINOv3 or RoPE-ViT, and its Beit as BEiT, whatever they were made with."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks.border import adopt

from .cases import check, randomised

timm = pytest.importorskip("timm")
EPS = partial(nn.LayerNorm, eps=1e-3)
ROTARY = {"use_rot_pos_emb": True, "ref_feat_shape": 4}
GATED = {**ROTARY, "swiglu_mlp": True, "init_values": None}
NORMED = {**GATED, "scale_mlp": True, "qkv_fused": False}
V3 = {
    "use_rot_pos_emb": True,
    "use_abs_pos_emb": False,
    "rope_type": "dinov3",
    "rope_temperature": 100.0,
    "rope_rotate_half": True,
    "use_fc_norm": False,
    "num_reg_tokens": 4,
    "no_embed_class": True,
    "init_values": 1e-2,
    "qkv_bias": False,
    "dynamic_img_size": True,
}

ROPE: dict[str, Any] = {
    "use_rot_pos_emb": True,
    "use_abs_pos_emb": False,
    "attn_type": "rope",
    "rope_grid_indexing": "xy",
    "rope_temperature": 100.0,
    "global_pool": "token",
    "init_values": 1e-2,
}
GAP: dict[str, Any] = {**ROPE, "attn_type": "eva", "global_pool": "avg", "class_token": False}
MIXED: dict[str, Any] = {"rope_type": "mixed", "rope_temperature": 10.0}

ROPE_VIT: dict[str, dict[str, Any]] = {
    "axial": ROPE,
    "axial, positions of patches": {**ROPE, "use_abs_pos_emb": True, "no_embed_class": True, "num_classes": 7},
    "mixed, any size": {**ROPE, **MIXED, "dynamic_img_size": True},
    "mixed, rectangle, rows first": {**ROPE, **MIXED, "img_size": (32, 48), "rope_grid_indexing": "ij"},
    "registers beside the class token, halves": {
        **ROPE,
        "num_reg_tokens": 2,
        "rope_rotate_half": True,
        "qkv_bias": False,
    },
    "registers alone": {**GAP, "num_reg_tokens": 3, "ref_feat_shape": 4, "rope_grid_indexing": "ij", "img_size": 48},
    "nothing but patches, normed before the mean": {**GAP, "use_fc_norm": False, "num_classes": 0},
    "no bias": {**GAP, "num_reg_tokens": 1, "qkv_bias": False, "drop_path_rate": 0.3, "in_chans": 1},
}

EVA: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head": {"num_classes": 0},
    "rectangle, other sizes": {"img_size": (32, 48), "num_heads": 4, "mlp_ratio": 2.3, "depth": 1},
    "class token": {"global_pool": "token"},
    "mean of normed tokens": {"use_fc_norm": False},
    "any size": {"dynamic_img_size": True},
    "layer scale, other norms, drop rates": {
        "init_values": 1e-2,
        "norm_layer": EPS,
        "proj_drop_rate": 0.1,
        "attn_drop_rate": 0.2,
        "drop_path_rate": 0.3,
        "pos_drop_rate": 0.1,
    },
    "queries and keys normed": {"qk_norm": True, "norm_layer": EPS},
    "rotary": ROTARY,
    "rotary, counted in places": {"use_rot_pos_emb": True, "rope_temperature": 50.0, "rope_rotate_half": True},
    "gated, any size": {**GATED, "dynamic_img_size": True},
    "inner norms": NORMED,
    "inner norms, any size": {**NORMED, "scale_attn_inner": True, "global_pool": "token", "dynamic_img_size": True},
    "norms after branches": {"use_post_norm": True, "global_pool": "token"},
    "DINOv3": V3,
    "DINOv3, no registers": {**V3, "num_reg_tokens": 0, "qkv_bias": True, "global_pool": "token", "num_classes": 0},
    "DINOv3, gated": {**V3, "swiglu_mlp": True, "swiglu_align_to": 8, "mlp_ratio": 2.1, "in_chans": 1},
    "DINOv3, one size": {**V3, "dynamic_img_size": False, "img_size": (32, 48)},
}


def eva(**options: Any) -> nn.Module:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    return timm.models.eva.Eva(**sizes | options)


@pytest.mark.parametrize("options", EVA.values(), ids=EVA)
def test_eva(options: dict[str, Any]) -> None:
    any_size = options.get("dynamic_img_size", False)
    model, _ = check(lambda: eva(**options), sizes=2 if any_size else 1)
    assert type(model).__name__ == ("DINOv3" if options.get("rope_type") == "dinov3" else "EVA")
    if any_size:
        adopt(randomised(eva(**options)), sizes=[(40, 24)])


@pytest.mark.parametrize("options", ROPE_VIT.values(), ids=ROPE_VIT)
def test_rope_vit(options: dict[str, Any]) -> None:
    model, _ = check(lambda: eva(**options), sizes=2 if options.get("dynamic_img_size") else 1)
    assert type(model).__name__ == "RoPEViT"


BEIT: dict[str, dict[str, Any]] = {
    "plain": {"use_abs_pos_emb": False, "use_rel_pos_bias": True, "init_values": 0.1},
    "shared, with positions": {"use_shared_rel_pos_bias": True, "num_classes": 7, "in_chans": 1},
    "positions alone, class token": {"global_pool": "token", "num_classes": 0},
    "mean of normed tokens, rectangle": {"use_rel_pos_bias": True, "use_fc_norm": False, "img_size": (32, 48)},
    "other norms, drop rates": {
        "use_rel_pos_bias": True,
        "norm_layer": EPS,
        "proj_drop_rate": 0.1,
        "attn_drop_rate": 0.2,
        "drop_path_rate": 0.3,
        "pos_drop_rate": 0.1,
    },
}


def beit(**options: Any) -> nn.Module:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    return timm.models.beit.Beit(**sizes | options)


@pytest.mark.parametrize("options", BEIT.values(), ids=BEIT)
def test_beit(options: dict[str, Any]) -> None:
    model, _ = check(lambda: beit(**options))
    assert type(model).__name__ == "BEiT"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"swiglu_mlp": True}, "blocks.0.mlp"),
        ({"scale_mlp": True}, "blocks.0.mlp.norm"),
        ({"qkv_bias": False}, "blocks.0.attn.q_bias"),
        ({"use_rel_pos_bias": True, "use_shared_rel_pos_bias": True}, "rel_pos_bias beside those of blocks"),
    ],
)
def test_what_no_part_of_beit_does_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){re.escape(message)}.*for which there is no part here"):
        adopt(beit(**options))


def test_relative_positions_are_resized_as_timm_does_it() -> None:
    options = {"use_abs_pos_emb": False, "use_rel_pos_bias": True}
    theirs = randomised(beit(**options))
    model, _ = adopt(theirs)
    theirs.set_input_size(img_size=(48, 64))
    images = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images), theirs(images), rtol=1e-4, atol=1e-5)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a bias of keys": ({"attn_type": "rope", **ROTARY, "global_pool": "token"}, "pos_embed of the class token"),
    "a bias of keys without rotary positions": ({"attn_type": "rope"}, "blocks.0.attn = 'AttentionRope'"),
    "mixed frequencies beside a class token's position": (
        {"use_rot_pos_emb": True, "rope_type": "mixed", "global_pool": "token"},
        "pos_embed of the class token",
    ),
    "a class token that is not read": ({**ROPE, "global_pool": "avg"}, "class_token = True"),
    "no bias of queries": ({"qkv_bias": False}, "qkv_bias = False"),
    "separate queries alone": ({"qkv_fused": False}, "qkv_fused with such a feed-forward = False"),
    "separate gate alone": ({"swiglu_mlp": True, "swiglu_align_to": 8}, "SwiGLU without an inner norm = True"),
    "registers with a place of the class token": (
        {"num_reg_tokens": 2},
        "reg_tokens with learned positions of the class token",
    ),
    "class token without a place": ({"no_embed_class": True, "rope_type": "cat"}, "no_embed_class"),
    "no class token": ({"class_token": False}, "class_token = False"),
    "normed before": ({"use_pre_transformer_norm": True}, "norm_pre"),
    "both norms": ({"use_post_transformer_norm": True}, "last norms = ['norm', 'fc_norm']"),
    "scale of attention alone": ({"init_values": 0.1, "attn_only_layer_scale": True}, "blocks.0.gamma_2"),
    "gated attention of DINOv3": ({**V3, "scale_attn_inner": True}, "attn_norm with rope_type = 'dinov3'"),
    "DINOv3, packed gate": ({**V3, "swiglu_mlp": True}, "GluMlp with rope_type = 'dinov3'"),
    "DINOv3, coordinates": ({**V3, "rope_grid_offset": 0.5}, "rope = (True, 0.5"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_no_part_does_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){re.escape(message)}.*for which there is no part here"):
        adopt(eva(**options))
