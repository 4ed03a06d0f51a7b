"""timm's Swin V2, MaxViT and XCiT come in as they are, whatever they were made with."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
from torch import nn

from vitblocks.border import adopt

from .cases import changed, check, randomised

timm = pytest.importorskip("timm")
models = timm.models
EPS = partial(nn.LayerNorm, eps=1e-3)

SWIN_V2: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head, no bias of qkv": {"num_classes": 0, "qkv_bias": False},
    "rectangle, other sizes": {"img_size": (32, 48), "num_heads": (1, 4), "depths": (1, 3), "mlp_ratio": 2.7},
    "other norms, drop rates": {"norm_layer": EPS, "attn_drop_rate": 0.2, "proj_drop_rate": 0.1},
    "maps that windows do not divide": {"img_size": 40},
    "trained with other windows": {"pretrained_window_sizes": (3, 2)},
    "any size": {"strict_img_size": False, "img_size": 64},
}


def swin_v2(**options: Any) -> nn.Module:
    sizes = {"img_size": 32, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 2), "window_size": 4}
    return models.swin_transformer_v2.SwinTransformerV2(**sizes | {"pretrained_window_sizes": (0, 0)} | options)


@pytest.mark.parametrize("options", SWIN_V2.values(), ids=SWIN_V2)
def test_swin_v2(options: dict[str, Any]) -> None:
    check(lambda: swin_v2(**options))


MAXVIT: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head": {"num_classes": 0},
    "rectangle": {"img_size": (64, 128), "transformer_partition_ratio": 16},
    "MLP of offsets, layer scale": {"transformer_rel_pos_type": "mlp", "transformer_init_values": 1e-2},
    "widths of the channels in": {"conv_expand_output": False, "conv_attn_ratio": 1 / 16, "conv_output_bias": False},
    "from TensorFlow": {
        "conv_padding": "same",
        "conv_norm_eps": 1e-3,
        "conv_act_layer": "gelu_tanh",
        "transformer_head_first": False,
        "transformer_rel_pos_type": "bias_tf",
        "transformer_act_layer": "gelu_tanh",
        "transformer_norm_eps": 1e-5,
        "head_hidden_size": 24,
        "stem_bias": True,
    },
    "drop rates": {"drop_path_rate": 0.3, "transformer_attn_drop": 0.2, "transformer_proj_drop": 0.1},
    "no bias of qkv": {"transformer_expand_ratio": 2.3, "stem_width": (8, 16), "conv_kernel_size": 5},
}


def maxvit(**options: Any) -> nn.Module:
    cfg = models.maxxvit.MaxxVitCfg(
        embed_dim=(16, 32), depths=(1, 2), block_type=("M", "M"), stem_width=16, weight_init=""
    )
    sizes = {"img_size": 64, "transformer_partition_ratio": 16, "transformer_dim_head": 8}
    return models.maxxvit.MaxxVit(cfg, **sizes | options)


@pytest.mark.parametrize("options", MAXVIT.values(), ids=MAXVIT)
def test_maxvit(options: dict[str, Any]) -> None:
    check(lambda: maxvit(**options), sizes=2)


XCIT: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head, no bias of qkv": {"num_classes": 0, "qkv_bias": False},
    "patches of 8, rectangle": {"patch_size": 8, "img_size": (32, 48), "depth": 1, "cls_attn_layers": 1},
    "mean of the patches": {"global_pool": "avg", "tokens_norm": True},
    "no positions": {"use_pos_embed": False},
    "other norms, drop rates": {
        "norm_layer": EPS,
        "act_layer": nn.SiLU,
        "proj_drop_rate": 0.1,
        "attn_drop_rate": 0.2,
        "drop_path_rate": 0.3,
        "pos_drop_rate": 0.1,
    },
}


def xcit(**options: Any) -> nn.Module:
    sizes = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    return models.xcit.Xcit(**sizes | options)


@pytest.mark.parametrize("options", XCIT.values(), ids=XCIT)
def test_xcit(options: dict[str, Any]) -> None:
    check(lambda: xcit(**options), sizes=2)
    if "drop_path_rate" not in options:
        adopt(randomised(xcit(**options)), sizes=[(40, 52)])


REFUSED = {
    "Swin V2: full windows": (
        lambda: swin_v2(window_size=8, always_partition=True),
        "shift_size of layers.0.blocks.1 = (4, 4)",
    ),
    "Swin V2: pooled otherwise": (lambda: swin_v2(global_pool="max"), "global_pool = 'max'"),
    "MaxViT: CoAtNet": (lambda: maxvit(block_type=("C", "M")), "stages.0.blocks.0 = 'MbConvBlock'"),
    "MaxViT: ConvNeXt": (lambda: maxvit(conv_block_type="convnext"), "stages.0.blocks.0.conv = 'ConvNeXtBlock'"),
    "MaxViT: no windows": (lambda: maxvit(transformer_no_block_attn=True), "stages.0.blocks.0.attn_block = None"),
    "MaxViT: order of heads": (lambda: maxvit(transformer_head_first=False), "head_first with such a padding = False"),
    "MaxViT: excited early": (lambda: maxvit(conv_attn_early=True), "stages.0.blocks.0.conv.se_early"),
    "MaxViT: pooled with the maximum": (lambda: maxvit(conv_pool_type="max2"), "stages.0.blocks.0.conv.shortcut.pool"),
    "MaxViT: dropout of the head": (lambda: maxvit(drop_rate=0.1), "drop_rate = 0.1"),
    "XCiT: no pool": (lambda: xcit(global_pool=""), "global_pool = ''"),
    "XCiT: dropout of the head": (lambda: xcit(drop_rate=0.1), "drop_rate = 0.1"),
    "XCiT: a norm": (lambda: changed(xcit(), "blocks.1.norm3.eps", 1e-3), "blocks.1.norm3"),
}


@pytest.mark.parametrize(("case", "message"), REFUSED.values(), ids=REFUSED)
def test_what_no_part_does_is_refused_by_name(case: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){re.escape(message)}.*for which there is no part here"):
        adopt(case())
