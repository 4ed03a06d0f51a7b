"""timm's models with several stages come in as they are, whatever they were made with."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks.border import adopt, release

from .cases import changed, check, randomised

timm = pytest.importorskip("timm")
models = timm.models
EPS = partial(nn.LayerNorm, eps=1e-3)

SWIN: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head, no bias of qkv": {"num_classes": 0, "qkv_bias": False},
    "rectangle, other sizes": {"img_size": (32, 48), "num_heads": (1, 4), "depths": (1, 3), "mlp_ratio": 2.7},
    "other norms, drop rates": {"norm_layer": EPS, "attn_drop_rate": 0.2, "proj_drop_rate": 0.1},
    "maps that windows do not divide": {"img_size": 40},
    "windows of each stage": {"img_size": 64, "window_size": [(4, 4), (2, 4)]},
    "any size": {"dynamic_img_size": True},
    "any size, in full windows": {"dynamic_img_size": True, "always_partition": True},
}


def swin(**options: Any) -> nn.Module:
    sizes = {"img_size": 32, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 2), "window_size": 4}
    return models.swin_transformer.SwinTransformer(**sizes | options)


@pytest.mark.parametrize("options", SWIN.values(), ids=SWIN)
def test_swin(options: dict[str, Any]) -> None:
    any_size = "dynamic_img_size" in options
    check(lambda: swin(**options), sizes=2 if any_size else 1)
    if any_size:
        adopt(randomised(swin(**options)), sizes=[(36, 52), (16, 60), (12, 12)])


PIT: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head": {"num_classes": 0},
    "rectangle, other sizes": {"img_size": (32, 44), "heads": (1, 4), "depth": (2, 1), "stride": 3, "mlp_ratio": 2},
    "drop rates": {"drop_path_rate": 0.3, "proj_drop_rate": 0.1, "pos_drop_rate": 0.2},
    "distilled": {"distilled": True},
    "distilled without heads": {"distilled": True, "num_classes": 0},
}


def pit(**options: Any) -> nn.Module:
    sizes = {"img_size": 32, "patch_size": 8, "stride": 4, "base_dims": (16, 16), "depth": (1, 2), "heads": (2, 4)}
    return models.pit.PoolingVisionTransformer(**sizes | options)


@pytest.mark.parametrize("options", PIT.values(), ids=PIT)
def test_pit(options: dict[str, Any]) -> None:
    model, _ = check(lambda: pit(**options))
    assert type(model).__name__ == ("DistillablePiT" if "distilled" in options else "PiT")
    assert not any(isinstance(layer, nn.LayerNorm) and layer.eps != 1e-6 for layer in model.modules())


LEVIT: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head": {"num_classes": 0},
    "rectangle, other sizes": {"img_size": (64, 96), "num_heads": (1, 4), "depth": (2, 1), "attn_ratio": (2, 1.5)},
    "other activation, drop rate": {"act_layer": "gelu", "drop_path_rate": 0.3, "mlp_ratio": (1, 2.3)},
}


def levit(kind: str = "Levit", **options: Any) -> nn.Module:
    sizes = {"img_size": 64, "embed_dim": (16, 32), "key_dim": 8, "depth": (1, 2), "num_heads": (2, 2)}
    return getattr(models.levit, kind)(**sizes | options)


@pytest.mark.parametrize("kind", ["Levit", "LevitDistilled"])
@pytest.mark.parametrize("options", LEVIT.values(), ids=LEVIT)
def test_levit(options: dict[str, Any], kind: str) -> None:
    check(lambda: levit(kind, **options))


def test_weights_that_are_put_back_are_those_that_it_computes_with() -> None:
    theirs = randomised(levit())
    model, _ = adopt(theirs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    release(model, like=theirs)
    assert not theirs.training
    torch.testing.assert_close(theirs(images := torch.rand(2, 3, 64, 64)), model(images), rtol=1e-4, atol=1e-4)


TWINS: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head": {"num_classes": 0},
    "rectangle, other sizes": {"img_size": (64, 96), "num_heads": (1, 4, 2, 1), "mlp_ratios": (1, 2, 2.3, 1)},
    "other norms, drop rates": {"norm_layer": EPS, "proj_drop_rate": 0.1, "attn_drop_rate": 0.2, "drop_path_rate": 0.3},
}


def twins(wss: Any = (2, 2, 2, 2), **options: Any) -> nn.Module:
    widths = {"embed_dims": (8, 16, 16, 24), "num_heads": (1, 2, 2, 1), "mlp_ratios": (2, 2, 2, 2)}
    sizes = {"img_size": 64, "depths": (2, 1, 3, 1), "sr_ratios": (4, 2, 2, 1), "wss": wss}
    return models.twins.Twins(**widths | sizes | options)


@pytest.mark.parametrize("wss", [(2, 3, 2, 2), None], ids=["SVT", "PCPVT"])
@pytest.mark.parametrize("options", TWINS.values(), ids=TWINS)
def test_twins(options: dict[str, Any], wss: Any) -> None:
    model, _ = check(lambda: twins(wss, **options), sizes=2)
    assert type(model).__name__ == ("TwinsPCPVT" if wss is None else "TwinsSVT")
    adopt(randomised(twins(wss, **options)), sizes=[(70, 93)])


def test_pcpvt_of_two_stages() -> None:
    sizes = {"embed_dims": (8, 16), "num_heads": (1, 2), "mlp_ratios": (2, 2), "depths": (1, 2), "sr_ratios": (4, 2)}
    check(lambda: models.twins.Twins(img_size=32, **sizes), sizes=2)


NEST: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head, no bias of qkv": {"num_classes": 0, "qkv_bias": False},
    "padded as TensorFlow": {"pad_type": "same"},
    "other sizes": {"img_size": 48, "embed_dims": (16, 24), "depths": (2, 1), "mlp_ratio": 2.3},
    "other norms and activation": {"norm_layer": EPS, "act_layer": nn.SiLU},
    "drop rates": {"proj_drop_rate": 0.1, "drop_path_rate": 0.3},
}


def nest(**options: Any) -> nn.Module:
    widths = {"embed_dims": (8, 16), "num_heads": (2, 4), "depths": (1, 2)}
    return models.nest.Nest(**widths | {"img_size": 32, "num_levels": 2} | options)


@pytest.mark.parametrize("options", NEST.values(), ids=NEST)
def test_nest(options: dict[str, Any]) -> None:
    check(lambda: nest(**options))


CROSSVIT: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head, no bias of qkv": {"num_classes": 0, "qkv_bias": False},
    "mean of the patches": {"global_pool": "avg"},
    "mean of the patches, no head": {"global_pool": "avg", "num_classes": 0},
    "a branch sees a smaller image": {"img_size": 40, "img_scale": (1.0, 32 / 40)},
    "rectangle, other sizes": {"img_size": (32, 48), "num_heads": (1, 4), "mlp_ratio": (1, 2.3, 4)},
    "three convolutions, other norms": {"multi_conv": True, "img_size": 48, "patch_size": (12, 16), "norm_layer": EPS},
    "drop rates": {"proj_drop_rate": 0.1, "attn_drop_rate": 0.2, "drop_path_rate": 0.3, "pos_drop_rate": 0.1},
}


def crossvit(**options: Any) -> nn.Module:
    sizes = {"img_size": 32, "patch_size": (4, 8), "embed_dim": (16, 24), "num_heads": (2, 2)}
    return models.crossvit.CrossVit(**sizes | {"depth": ((1, 2, 0), (1, 1, 0)), "mlp_ratio": (2, 2, 1)} | options)


@pytest.mark.parametrize("options", CROSSVIT.values(), ids=CROSSVIT)
def test_crossvit(options: dict[str, Any]) -> None:
    check(lambda: crossvit(**options), sizes=2)


MOBILEVIT: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head": {"num_classes": 0},
    "dropout of the head": {"drop_rate": 0.1},
    "other sizes": {"stem_chs": 8, "num_features": 40},
}


def mobilevit(
    block: Any = models.mobilevit._mobilevit_block, attn_layer: Any = None, num_features: int = 24, **options: Any
) -> nn.Module:
    plain, kwargs = models.mobilevit._inverted_residual_block, {"patch_size": 2} | options.pop("transformer", {})
    transformers = [{"transformer_dim": dim, "transformer_depth": 1 + (dim > 16), **kwargs} for dim in (16, 16, 24)]
    if block is not models.mobilevit._mobilevit_block:
        transformers = [{"transformer_depth": 1}] * 3
    cfg = models.byobnet.ByoModelCfg(
        blocks=(
            plain(d=1, c=8, s=1, br=2.0),
            plain(d=2, c=16, s=2, br=2.5),
            *(
                block(d=1 + (i > 1), c=16 + 8 * i, s=2, br=2.0, **transformer)
                for i, transformer in enumerate(transformers)
            ),
        ),
        stem_chs=options.pop("stem_chs", 16),
        stem_type="3x3",
        stem_pool="",
        downsample="",
        act_layer=options.pop("act_layer", "silu"),
        attn_layer=attn_layer,
        num_features=num_features,
    )
    module: Any = models.byobnet.ByobNet(cfg, **options)
    module.pretrained_cfg = {"input_size": (3, 64, 64)}
    return module


@pytest.mark.parametrize("options", MOBILEVIT.values(), ids=MOBILEVIT)
def test_mobilevit(options: dict[str, Any]) -> None:
    model, _ = check(lambda: mobilevit(**options), sizes=2)
    adopt(randomised(mobilevit(**options)), sizes=[(70, 93)])
    assert model.head[0].p == options.get("drop_rate", 0)


def cut(module: Any) -> nn.Module:
    """Without its last stage, as far as reading goes."""
    module.blocks = module.blocks[:-1]
    module.norm = nn.LayerNorm(16, eps=1e-6)
    return module


REFUSED = {
    "Swin: windows of a block": (
        lambda: changed(swin(), "layers.0.blocks.1.window_size", (2, 2)),
        "window_size of layers.0.blocks.1 = (2, 2)",
    ),
    "Swin: channels of a head": (lambda: swin(head_dim=4), "channels of all heads in stage 0 = 8"),
    "Swin: dropout of the head": (lambda: changed(swin(), "head.drop", nn.Dropout(0.1)), "drop_rate = 0.1"),
    "Swin: pooled otherwise": (lambda: swin(global_pool="max"), "global_pool = 'max'"),
    "PiT: a norm": (lambda: changed(pit(), "transformers.1.norm", nn.LayerNorm(64)), "transformers.1.norm"),
    "PiT: an epsilon": (
        lambda: changed(pit(), "transformers.1.blocks.0.norm2.eps", 1e-5),
        "transformers.1.blocks.0.norm2",
    ),
    "LeViT: convolutions": (lambda: levit(use_conv=True), "use_conv = True"),
    "LeViT: another stem": (lambda: levit(stem_type="s8"), "stem = 'Stem8'"),
    "LeViT: two activations": (lambda: levit(attn_act_layer="gelu"), "activation of stages.0.blocks.0.attn"),
    "LeViT: a norm's epsilon": (lambda: changed(levit(), "stem.conv1.bn.eps", 1e-3), "stem.conv1.bn = BatchNorm2d"),
    "Twins: dropout of positions": (lambda: twins(pos_drop_rate=0.1), "pos_drop_rate"),
    "Twins: three stages": (lambda: cut(twins()), "number of its stages = 3"),
    "Twins: a norm's epsilon": (lambda: changed(twins(), "patch_embeds.1.norm.eps", 1e-6), "patch_embeds.1.norm"),
    "NesT: pooled otherwise": (lambda: nest(global_pool="max"), "global_pool = 'max'"),
    "NesT: dropout of the head": (lambda: nest(drop_rate=0.1), "drop_rate = 0.1"),
    "CrossViT: cropped": (lambda: crossvit(crop_scale=True), "crop_scale = True"),
    "CrossViT: asks twice": (lambda: crossvit(depth=((1, 2, 2), (1, 1, 2))), "blocks.0.fusion.0 = 'Sequential'"),
    "CrossViT: dropout of the head": (lambda: crossvit(drop_rate=0.1), "drop_rate = 0.1"),
    "MobileViT: second version": (lambda: mobilevit(models.mobilevit._mobilevitv2_block), "= 'MobileVitV2Block'"),
    "MobileViT: squeeze and excite": (lambda: mobilevit(attn_layer="se"), "stages.0.0.attn"),
    "MobileViT: activation": (lambda: mobilevit(act_layer="relu"), "stem.bn.act"),
    "MobileViT: drop path": (lambda: mobilevit(drop_path_rate=0.2), "drop_path"),
    "MobileViT: dilation": (lambda: mobilevit(output_stride=16), "conv2_kxk.conv = Conv2d"),
    "no MobileViT": (lambda: models.byobnet.gernet_s(), "stages.0.0 = 'BasicBlock'"),
}


@pytest.mark.parametrize(("case", "message"), REFUSED.values(), ids=REFUSED)
def test_what_no_part_does_is_refused_by_name(case: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){re.escape(message)}.*for which there is no part here"):
        adopt(case())
