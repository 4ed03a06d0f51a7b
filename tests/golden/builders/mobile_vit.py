"""MobileViT, and its block alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tests.golden.case import Case
from tests.golden.check import Builder
from vitblocks import Block, GlobalAttention, Mlp, MobileViT, PerToken, layer_norm
from vitblocks.attention import SoftmaxAttend
from vitblocks.embed.inverted_residual import make_divisible
from vitblocks.grid import to_map, to_tokens
from vitblocks.zoo.mobile_vit import ConvFusion, Interleaved, ResizeToMultiple


def timm(config: dict[str, Any]) -> MobileViT:
    """timm rounds a stage's channels to a multiple of 8."""
    stages = config["stages"]
    outs = [make_divisible(stage["out"]) for stage in stages]
    return MobileViT(
        image_size=64,
        dims=[stage["transformer_dim"] for stage in stages[2:]],
        channels=[config["stem_chs"], outs[0], *(out for out in outs[1:] for _ in range(2)), config["num_features"]],
        num_classes=config["num_classes"],
        expansion=stages[0]["expand"],
        patch_size=stages[2]["patch_size"],
        depths=[stage["transformer_depth"] for stage in stages[2:]],
        repeats=[stage["depth"] for stage in stages[:2]],
    )


class Float32SoftmaxAttend(SoftmaxAttend):
    """The authors' code takes every softmax in float32, which in float64 costs seven digits: the check must lose them too."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.logits(q, k, bias).float().softmax(dim=-1).to(v.dtype) @ v


def official(config: dict[str, Any]) -> MobileViT:
    layers = [config["mobilevit_config"][f"layer{i}"] for i in range(1, 6)]
    outs = [layer["out_channels"] for layer in layers]
    last = config["mobilevit_config"]["last_layer_exp_factor"] * outs[-1]
    model = MobileViT(
        image_size=96,
        dims=[layer["transformer_channels"] for layer in layers[2:]],
        channels=[16, outs[0], *(out for out in outs[1:] for _ in range(2)), last],
        num_classes=config["num_classes"],
        expansion=layers[0]["expand_ratio"],
        patch_size=layers[2]["patch_h"],
        depths=[layer["transformer_blocks"] for layer in layers[2:]],
        repeats=[layer["num_blocks"] for layer in layers[:2]],
        mlp_dims=[layer["ffn_dim"] for layer in layers[2:]],
    )
    for module in model.modules():
        if isinstance(module, GlobalAttention):
            module.attend = Float32SoftmaxAttend()
    return model


def block(config: dict[str, Any]) -> ConvFusion:
    dim, norm = config["transformer_dim"], layer_norm(1e-5)
    layers = [
        Block(
            dim,
            GlobalAttention(dim, config["num_heads"]),
            Mlp(dim, int(dim * config["mlp_ratio"]), activation=nn.SiLU),
            norm=norm,
        )
        for _ in range(config["transformer_depth"])
    ]
    patch = config["patch_size"]
    return ConvFusion(
        config["in_chs"], dim, ResizeToMultiple(Interleaved([*layers, PerToken(norm(dim))], patch), patch)
    )


def block_output(model: Any, case: Case) -> Tensor:
    x, grid = to_tokens(case.input)
    return to_map(model(x, grid), grid)


def logits_train(model: Any, case: Case) -> Tensor:
    """With the statistics of the batch."""
    model.train()
    logits = model(case.input)
    model.eval()
    return logits


def last_map(model: Any, case: Case) -> Tensor:
    return model.feature_maps(case.input)[-1].map[:, :8, :3, :3]


def centred(stage: int) -> Callable[[Any, Case], Tensor]:
    def output(model: Any, case: Case) -> Tensor:
        image = model.feature_maps(case.input)[stage].map
        return (image - image.mean((2, 3), keepdim=True))[:, :4, :3, :3]

    return output


BUILDERS: dict[str | tuple[str, str], Builder] = {
    ("MobileViT", "timm"): Builder(timm, {"logits_train": logits_train}),
    ("MobileViT", "official"): Builder(
        official, {"map": last_map, **{f"layer_{i + 1}_centered": centred(i) for i in range(5)}}
    ),
    "mobilevit_block": Builder(block, {"out": block_output}),
    "mobilevit_block_resize": Builder(block, {"out": block_output}),
}
