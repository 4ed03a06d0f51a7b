"""LeViT, and its block and its shrinking attention alone."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from torch import Tensor

from tests.golden.builders.deit import HEADS, HF_HEADS
from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks import LeViT
from vitblocks.grid import to_map
from vitblocks.zoo.levit import LeViTStage, Shrink


def levit(config: Config, **sizes: Any) -> LeViT:
    return LeViT(
        image_size=config["img_size"],
        num_classes=config["num_classes"],
        channels=config.get("in_chans", 3),
        dim=config["embed_dim"],
        depth=config["depth"],
        stages=len(config["embed_dim"]),
        **sizes,
    )


def timm(config: Config, *, distilled: bool) -> LeViT:
    """timm shrinks with the same attention and the same feed-forward whatever the blocks have."""
    config.only("use_conv", False)
    config.only("stem_type", "s16")
    config.only("down_op", "subsample")
    config.only("global_pool", "avg")
    activation = config.activation("act_layer", "hard_swish")
    config.only("attn_act_layer", None, config.get("act_layer", "hard_swish"))
    count, key_dim = len(config["embed_dim"]), config["key_dim"]
    return levit(
        config,
        heads=config.each("num_heads", count),
        key_dim=key_dim,
        attn_ratio=config.each("attn_ratio", count, 2.0),
        mlp_mult=config.each("mlp_ratio", count, 2.0),
        shrinks=[Shrink(key_dim)] * (count - 1),
        distilled=distilled,
        activation=activation,
    )


def official(config: Config) -> LeViT:
    """A list for what is between the stages, too: kind, keys, heads, values over keys, feed-forward and stride."""
    config.only("patch_size", 16, why="the authors' stem has no such option")
    config.only("hybrid_backbone", None)
    count = len(config["embed_dim"])
    for name in ("mlp_ratio", "down_ops"):
        mults = [op[4] for op in config[name]] if name == "down_ops" else config[name]
        if not all(mult > 0 for mult in mults):
            raise config.refuse(name, "our model has a feed-forward after every attention")
    if any(op[0] != "Subsample" for op in config["down_ops"]) or len(config["down_ops"]) != count - 1:
        raise config.refuse("down_ops", f"there must be one 'Subsample' between each two of {count} stages")
    return levit(
        config,
        heads=config.each("num_heads", count),
        key_dim=config.each("key_dim", count),
        attn_ratio=config.each("attn_ratio", count),
        mlp_mult=config.each("mlp_ratio", count),
        shrinks=[Shrink(*op[1:]) for op in config["down_ops"]],
        distilled=config.get("distillation", True),
    )


def hf(config: Config, *, distilled: bool) -> LeViT:
    """As the authors' in other words. The list for what is between the stages is made of the rest, with an empty one after the last."""
    for name, value in (("kernel_size", 3), ("stride", 2), ("padding", 1), ("patch_size", 16)):
        config.only(name, value, why="our stem has no such option")
    if isinstance(config["image_size"], list) or config["image_size"] % 16:
        raise config.refuse("image_size", "theirs must be a square of whole patches")
    config.same_size("image_size")
    dims, count = config["hidden_sizes"], len(config["hidden_sizes"])
    ops = [op for op in config["down_ops"] if op != [""]]
    keys = config.each("key_dim", count)[0]
    if ops != [["Subsample", keys, dim // keys, 4, 2, 2] for dim in dims[:-1]] or config["down_ops"][-1] != [""]:
        raise config.refuse("down_ops", "they are made of key_dim and hidden_sizes, and there are no others")
    if not all(mult > 0 for mult in config.each("mlp_ratio", count)):
        raise config.refuse("mlp_ratio", "our model has a feed-forward after every attention")
    return LeViT(
        image_size=config["image_size"],
        num_classes=config["num_labels"],
        channels=config.get("num_channels", 3),
        dim=dims,
        depth=config.each("depths", count),
        stages=count,
        heads=config.each("num_attention_heads", count),
        key_dim=config.each("key_dim", count),
        attn_ratio=config.each("attention_ratio", count),
        mlp_mult=config.each("mlp_ratio", count),
        shrinks=[Shrink(*op[1:]) for op in ops],
        distilled=distilled,
    )


def hf_stage(model: Any, case: Case, stage: int) -> Tensor:
    """A stage there ends with the attention that shrinks the map, and its feed-forward, which begin the next one here."""
    outputs = model.forward_stages(case.input)
    x, grid = outputs[stage]
    if stage + 1 < len(outputs):
        following = model.stages[stage + 1]
        x = following.layers[0](*following.transition(x, grid))
    _, count, channels = case.outputs[f"stage{stage}"].shape
    return x[:, :count, :channels]


def block(config: Config) -> LeViTStage:
    config.only("use_conv", False)
    return LeViTStage(
        config["dim"],
        1,
        config["num_heads"],
        pair(config["resolution"]),
        key_dim=config["key_dim"],
        attn_ratio=config["attn_ratio"],
        mlp_mult=config["mlp_ratio"],
        activation=config.activation("act_layer", "hard_swish"),
    )


def downsample(config: Config) -> LeViTStage:
    config.only("use_conv", False)
    config.only("use_pool", False)
    return LeViTStage(
        config["out_dim"],
        0,
        1,
        pair(config["resolution"]),
        before=config["in_dim"],
        shrink=Shrink(config["key_dim"], config["num_heads"], config["attn_ratio"], config["mlp_ratio"]),
        activation=config.activation("act_layer", "hard_swish"),
    )


def stage_output(model: Any, case: Case) -> Tensor:
    return model(case.input, pair(case.config["resolution"]))[0]


def features_train(model: Any, case: Case) -> Tensor:
    """With the statistics of the batch, and on a copy, which they change."""
    return copy.deepcopy(model).train().forward_features(case.input)


def stem(model: Any, case: Case) -> Tensor:
    return to_map(*model.embed(case.input))[:, :8, :3, :3]


def centred(model: Any, case: Case, stage: int) -> Tensor:
    tokens = model.forward_stages(case.input)[stage][0]
    return (tokens - tokens.mean(1, keepdim=True))[:, :6, :8]


TRAIN = {"pre_logits_train": features_train}

BUILDERS: dict[tuple[str, ...], Builder] = {
    ("LeViT", "timm", r"\bLevit\b"): Builder(partial(timm, distilled=False), TRAIN),
    ("LeViT", "timm", r"\bLevitDistilled\b"): Builder(partial(timm, distilled=True), {**TRAIN, **HEADS}),
    ("LeViT", "timm", r"\bLevitBlock\b"): Builder(block, {"out": stage_output}),
    ("LeViT", "timm", r"\bLevitDownsample\b"): Builder(downsample, {"out": stage_output}),
    ("LeViT", "hf", r"\bLevitForImageClassification\b"): Builder(partial(hf, distilled=False), {"stage{}": hf_stage}),
    ("LeViT", "hf", r"\bLevitForImageClassificationWithTeacher\b"): Builder(
        partial(hf, distilled=True), {**HF_HEADS, "stage{}": hf_stage}
    ),
    ("LeViT", "official"): Builder(official, {**HEADS, "stem": stem, "stage{}_tokens_centered": centred}),
}
