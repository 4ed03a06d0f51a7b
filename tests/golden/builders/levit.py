"""LeViT, and its block and its shrinking attention alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor

from tests.golden.builders.deit import HEADS
from tests.golden.case import Case
from tests.golden.check import Builder
from vitblocks import LeViT
from vitblocks.grid import to_map
from vitblocks.zoo.levit import LeViTStage


def levit(config: dict[str, Any], *, distilled: bool, key_dim: int, attn_ratio: float, mlp_ratio: float) -> LeViT:
    return LeViT(
        image_size=config["img_size"],
        num_classes=config["num_classes"],
        dim=config["embed_dim"],
        depth=config["depth"],
        heads=config["num_heads"],
        key_dim=key_dim,
        attn_ratio=attn_ratio,
        mlp_mult=mlp_ratio,
        distilled=distilled,
    )


def timm(config: dict[str, Any], *, distilled: bool) -> LeViT:
    sizes = {name: config[name] for name in ("key_dim", "attn_ratio", "mlp_ratio")}
    return levit(config, distilled=distilled, **sizes)


def official(config: dict[str, Any]) -> LeViT:
    """Its sizes are given stage by stage, and those of the attentions between them apart; published models have them alike."""
    (key_dim,), (attn_ratio,), (mlp_ratio,) = (set(config[name]) for name in ("key_dim", "attn_ratio", "mlp_ratio"))
    for dim, shrink in zip(config["embed_dim"], config["down_ops"], strict=False):
        assert shrink == ["Subsample", key_dim, dim // key_dim, 4, mlp_ratio, 2]
    return levit(config, distilled=config["distillation"], key_dim=key_dim, attn_ratio=attn_ratio, mlp_ratio=mlp_ratio)


def block(config: dict[str, Any]) -> LeViTStage:
    return LeViTStage(
        config["dim"],
        1,
        config["num_heads"],
        tuple(config["resolution"]),
        key_dim=config["key_dim"],
        attn_ratio=config["attn_ratio"],
        mlp_mult=config["mlp_ratio"],
    )


def downsample(config: dict[str, Any]) -> LeViTStage:
    assert config["attn_ratio"] == 4
    assert config["num_heads"] == config["in_dim"] // config["key_dim"]
    return LeViTStage(
        config["out_dim"],
        0,
        1,
        tuple(config["resolution"]),
        before=config["in_dim"],
        key_dim=config["key_dim"],
        mlp_mult=config["mlp_ratio"],
    )


def stage_output(model: Any, case: Case) -> Tensor:
    return model(case.input, tuple(case.config["resolution"]))[0]


def features_train(model: Any, case: Case) -> Tensor:
    """With the statistics of the batch, and on a copy, which they change."""
    return copy.deepcopy(model).train().forward_features(case.input)


def stem(model: Any, case: Case) -> Tensor:
    return to_map(*model.embed(case.input))[:, :8, :3, :3]


def centred(stage: int) -> Callable[[Any, Case], Tensor]:
    def output(model: Any, case: Case) -> Tensor:
        tokens = model.forward_stages(case.input)[stage][0]
        return (tokens - tokens.mean(1, keepdim=True))[:, :6, :8]

    return output


TRAIN = {"pre_logits_train": features_train}

BUILDERS: dict[str | tuple[str, str], Builder] = {
    "levit": Builder(lambda config: timm(config, distilled=False), TRAIN),
    "levit_distilled": Builder(lambda config: timm(config, distilled=True), {**TRAIN, **HEADS}),
    "levit_block": Builder(block, {"out": stage_output}),
    "levit_downsample": Builder(downsample, {"out": stage_output}),
    ("LeViT", "official"): Builder(
        official, {**HEADS, "stem": stem, **{f"stage{i}_tokens_centered": centred(i) for i in range(3)}}
    ),
}
