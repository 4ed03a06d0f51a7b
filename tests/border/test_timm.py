"""timm's models come in as they are, whatever they were made with."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vitblocks import preprocess
from vitblocks.border import adopt

from .cases import check, randomised

timm = pytest.importorskip("timm")

models = timm.models
EPS = partial(nn.LayerNorm, eps=1e-3)

VIT: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head": {"num_classes": 0},
    "mean of the patches": {"global_pool": "avg"},
    "mean without class token": {"global_pool": "avg", "class_token": False},
    "rectangle, queries and keys normed": {"img_size": (32, 48), "qk_norm": True},
    "layer scale, no bias of qkv": {"init_values": 1e-2, "qkv_bias": False},
    "tanh GELU, another epsilon": {"act_layer": "gelu_tanh", "norm_layer": "layernorm"},
    "mean of normed tokens": {"global_pool": "avg", "fc_norm": False, "reg_tokens": 1},
    "no last norm": {"final_norm": False},
    "no last norm, mean": {"final_norm": False, "global_pool": "avg"},
    "registers": {"reg_tokens": 3, "dynamic_img_size": True},
    "DeiT III": {"no_embed_class": True, "init_values": 1e-2, "reg_tokens": 2, "dynamic_img_size": True},
    "any size": {"dynamic_img_size": True},
    "any size, padded": {"dynamic_img_size": True, "dynamic_img_pad": True},
    "other norms, drop rates": {"norm_layer": EPS, "proj_drop_rate": 0.1, "attn_drop_rate": 0.2, "drop_path_rate": 0.3},
    "CLIP": {"pre_norm": True, "act_layer": "quick_gelu", "norm_layer": EPS},
    "CLIP, any size": {"pre_norm": True, "dynamic_img_size": True, "num_classes": 0},
    "SigLIP": {"class_token": False, "global_pool": "map", "act_layer": "gelu_tanh"},
    "SigLIP, any size": {"class_token": False, "global_pool": "map", "dynamic_img_size": True, "num_classes": 0},
}


@pytest.mark.parametrize("options", VIT.values(), ids=VIT)
def test_vit(options: dict[str, Any]) -> None:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, **options}
    model, _ = check(
        lambda: models.vision_transformer.VisionTransformer(**sizes), sizes=2 if "dynamic_img_size" in options else 1
    )
    if "dynamic_img_pad" in options:
        adopt(randomised(models.vision_transformer.VisionTransformer(**sizes)), sizes=[(37, 45)])
    assert model.stages[0].layers[-1].shortcut2.drop_path.rate == pytest.approx(options.get("drop_path_rate", 0))


DEIT: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head": {"num_classes": 0},
    "rectangle, another norm": {"img_size": (32, 48), "norm_layer": EPS},
    "any size": {"dynamic_img_size": True},
}


@pytest.mark.parametrize("options", DEIT.values(), ids=DEIT)
def test_deit(options: dict[str, Any]) -> None:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, **options}
    check(lambda: models.deit.VisionTransformerDistilled(**sizes), sizes=2 if "dynamic_img_size" in options else 1)


CAIT: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head, no bias of qkv": {"num_classes": 0, "qkv_bias": False},
    "rectangle, other sizes": {"img_size": (32, 48), "depth": 1, "depth_token_only": 3, "num_heads": 4},
    "other norms and activation": {"norm_layer": EPS, "act_layer": nn.SiLU, "mlp_ratio_token_only": 1.5},
    "mean of the patches": {"global_pool": "avg"},
    "drop rates": {"drop_path_rate": 0.3, "pos_drop_rate": 0.2},
}


@pytest.mark.parametrize("options", CAIT.values(), ids=CAIT)
def test_cait(options: dict[str, Any]) -> None:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, **options}
    check(lambda: models.cait.Cait(**sizes))


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "pooled by attention": (
        "vision_transformer.VisionTransformer",
        {"global_pool": "map"},
        "prefix tokens with global_pool = 'map' = 1",
    ),
    "attention normed": ("vision_transformer.VisionTransformer", {"scale_attn_norm": True}, "blocks.0.attn.norm"),
    "normed before": (
        "vision_transformer.VisionTransformer",
        {"pre_norm": True, "global_pool": "avg"},
        "global_pool = 'avg'",
    ),
    "registers alone": (
        "vision_transformer.VisionTransformer",
        {"reg_tokens": 2, "class_token": False, "global_pool": "avg"},
        "reg_tokens without class_token = 2",
    ),
    "norm after the class token": ("vision_transformer.VisionTransformer", {"fc_norm": True}, "fc_norm"),
    "blocks of another kind": (
        "vision_transformer.VisionTransformer",
        {"block_fn": models.vision_transformer.ResPostBlock},
        "blocks.0 = 'ResPostBlock'",
    ),
    "dropout of the head": ("vision_transformer.VisionTransformer", {"drop_rate": 0.1}, "drop_rate"),
    "distilled with registers": ("deit.VisionTransformerDistilled", {"reg_tokens": 1}, "reg_tokens = 1"),
    "distilled without last norm": ("deit.VisionTransformerDistilled", {"final_norm": False}, "last norms = []"),
    "no pool": ("cait.Cait", {"global_pool": ""}, "global_pool = ''"),
    "dropout of patch blocks alone": ("cait.Cait", {"proj_drop_rate": 0.1}, "dropout of blocks_token_only.0 = 0.0"),
}


@pytest.mark.parametrize(("name", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_no_part_does_is_refused_by_name(name: str, options: dict[str, Any], message: str) -> None:
    module, cls = name.split(".")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2, **options}
    theirs = getattr(getattr(models, module), cls)(**sizes)
    with pytest.raises(ValueError, match=f"{re.escape(message)}.*for which there is no part here"):
        adopt(theirs)


def test_blocks_that_differ_are_refused_by_name() -> None:
    theirs = models.cait.Cait(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
    theirs.blocks[1].norm2.eps = theirs.blocks[1].norm1.eps = 1e-4
    with pytest.raises(ValueError, match=r"norm of blocks\.1 = .*eps=0\.0001"):
        adopt(theirs)


def test_preprocessing_comes_along() -> None:
    theirs = timm.create_model("vit_tiny_patch16_224", depth=1, img_size=(32, 48))
    model, _ = adopt(theirs)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({"input_size": (3, 32, 48)}, model=theirs))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    assert torch.equal(preprocess(model)(image), transform(image))
