"""MobileViT, and its block alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks import Block, GlobalAttention, Mlp, MobileViT, PerToken, layer_norm
from vitblocks.attention import SoftmaxAttend
from vitblocks.embed.inverted_residual import make_divisible
from vitblocks.grid import to_map, to_tokens
from vitblocks.zoo.mobile_vit import ConvFusion, Interleaved, ResizeToMultiple

STRIDES = [1, 2, 2, 2, 2]


def timm(config: Config) -> MobileViT:
    """timm rounds a stage's channels to a multiple of 8. Its blocks have 4 heads and a feed-forward twice as wide by default."""
    stages = config["stages"]
    if len(stages) != 5 or [stage["stride"] for stage in stages] != STRIDES:
        raise config.refuse("stages", f"our model has five with the strides {STRIDES}")
    if any(("transformer_dim" in stage) != (i > 1) for i, stage in enumerate(stages)):
        raise config.refuse("stages", "the last three have transformers, the others have none")
    last = stages[2:]
    outs = [make_divisible(stage["out"]) for stage in stages]
    dims = [stage["transformer_dim"] for stage in last]
    return MobileViT(
        image_size=(config.image[-2], config.image[-1]),
        dims=dims,
        channels=[config["stem_chs"], outs[0], *(out for out in outs[1:] for _ in range(2)), config["num_features"]],
        num_classes=config["num_classes"],
        image_channels=config.get("in_chans", 3),
        expansion=[stage["expand"] for stage in stages],
        kernel_size=one(config, "stages", [stage.get("kernel_size", 3) for stage in last]),
        patch_sizes=[pair(stage["patch_size"]) for stage in last],
        depths=[stage["transformer_depth"] for stage in last],
        repeats=[stage["depth"] for stage in stages],
        heads=[stage.get("num_heads", 4) for stage in last],
        mlp_dims=[int(dim * stage.get("mlp_ratio", 2.0)) for dim, stage in zip(dims, last, strict=True)],
    )


def one(config: Config, key: str, values: list[int]) -> int:
    """What all stages have alike, because our model has one for all."""
    if len(set(values)) > 1:
        raise config.refuse(key, f"our model has one kernel for all stages, not {values}")
    return values[0]


class Float32SoftmaxAttend(SoftmaxAttend):
    """The authors' code takes every softmax in float32, which in float64 costs seven digits: the check must lose them too."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.logits(q, k, bias).float().softmax(dim=-1).to(v.dtype) @ v


def official(config: Config) -> MobileViT:
    """The last convolution has at most 960 channels there. A stage says how many heads it has, or how wide they are."""
    layers = [config["mobilevit_config"][f"layer{i}"] for i in range(1, 6)]
    for i, layer in enumerate(layers):
        layer.only("block_type", "mobilevit" if i > 1 else "mv2")
        layer.only("stride", STRIDES[i])
    first, last = layers[:2], layers[2:]
    outs = [layer["out_channels"] for layer in layers]
    dims = [layer["transformer_channels"] for layer in last]
    model = MobileViT(
        image_size=(config.image[-2], config.image[-1]),
        dims=dims,
        channels=[
            16,
            outs[0],
            *(out for out in outs[1:] for _ in range(2)),
            min(config["mobilevit_config"]["last_layer_exp_factor"] * outs[-1], 960),
        ],
        num_classes=config["num_classes"],
        expansion=[
            *(layer.get("expand_ratio", 4) for layer in first),
            *(layer.get("mv_expand_ratio", 4) for layer in last),
        ],
        patch_sizes=[(layer.get("patch_h", 2), layer.get("patch_w", 2)) for layer in last],
        depths=[layer.get("transformer_blocks", 1) for layer in last],
        repeats=[layer.get("num_blocks", 2) for layer in first],
        heads=[heads_of(layer, dim) for layer, dim in zip(last, dims, strict=True)],
        mlp_dims=[layer["ffn_dim"] for layer in last],
    )
    for module in model.modules():
        if isinstance(module, GlobalAttention):
            module.attend = Float32SoftmaxAttend()
    return model


def hf(config: Config) -> MobileViT:
    """The same in every stage, where the others have it in each. How many blocks and residuals there are is fixed."""
    config.unaffected_by(
        *("aspp_out_channels", "atrous_rates", "aspp_dropout_prob", "semantic_loss_ignore_index"),  # of segmentation
        "classifier_dropout_prob",
    )
    config.unaffected_by("image_size")  # it takes every image
    config.only("output_stride", 32, why="our model has no dilated convolutions")
    config.only("hidden_act", "silu", "swish", why="our model has no other activation")
    config.only("layer_norm_eps", 1e-5)
    config.only("qkv_bias", True)
    neck = config["neck_hidden_sizes"]
    if len(neck) != 7:
        raise config.refuse("neck_hidden_sizes", "there are seven")
    dims = config.each("hidden_sizes", 3)
    return MobileViT(
        image_size=pair(config["image_size"]),
        dims=dims,
        channels=[*neck[:2], *(width for width in neck[2:6] for _ in range(2)), neck[6]],
        num_classes=config["num_labels"],
        image_channels=config.get("num_channels", 3),
        expansion=config["expand_ratio"],
        kernel_size=config["conv_kernel_size"],
        patch_size=config["patch_size"],
        heads=config["num_attention_heads"],
        mlp_dims=[int(dim * config["mlp_ratio"]) for dim in dims],
    )


def hf_map(model: Any, case: Case, stage: int) -> Tensor:
    found = case.outputs[f"stage{stage}"]
    _, channels, height, width = found.shape
    return model.feature_maps(case.input)[stage].map[:, :channels, :height, :width]


def heads_of(layer: Config, dim: int) -> int:
    """The number of heads counts only where no width is given."""
    heads, width = layer.get("num_heads", 4) or 4, layer.get("head_dim", 32)
    return heads if width is None else dim // width


def block(config: Config) -> ConvFusion:
    dim, channels, norm = config["transformer_dim"], config["in_chs"], layer_norm(1e-5)
    config.only("out_chs", None, channels)
    config.only("no_fusion", False)
    config.only("stride", 1)
    layers = [
        Block(
            dim,
            GlobalAttention(dim, config["num_heads"]),
            Mlp(dim, int(dim * config["mlp_ratio"]), activation=nn.SiLU),
            norm=norm,
        )
        for _ in range(config["transformer_depth"])
    ]
    patch = pair(config["patch_size"])
    inner = ResizeToMultiple(Interleaved([*layers, PerToken(norm(dim))], patch), patch)
    return ConvFusion(channels, dim, inner, kernel_size=config.get("kernel_size", 3))


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


def centred(model: Any, case: Case, layer: int) -> Tensor:
    """Layers are counted from 1 there."""
    image = model.feature_maps(case.input)[layer - 1].map
    return (image - image.mean((2, 3), keepdim=True))[:, :4, :3, :3]


BUILDERS: dict[tuple[str, ...], Builder] = {
    ("MobileViT", "timm", r"\bByobNet\b"): Builder(timm, {"logits_train": logits_train}),
    ("MobileViT", "timm", r"\bMobileVitBlock\b"): Builder(block, {"out": block_output}),
    ("MobileViT", "hf", r"\bMobileViTForImageClassification\b"): Builder(hf, {"stage{}": hf_map}),
    ("MobileViT", "official"): Builder(official, {"map": last_map, "layer_{}_centered": centred}),
}
