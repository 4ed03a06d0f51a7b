"""ViT."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from torch import nn

from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks import ConvEmbed, GatedMlp, GlobalAttention, LinearEmbed, MeanPool, ViT, layer_norm
from vitblocks.checkpoint import Computed, KeyMap
from vitblocks.checkpoint.rules import Table
from vitblocks.norm import NormFactory
from vitblocks.pool import TokenMeanPool
from vitblocks.position import resize_table, resize_table_as_timm
from vitblocks.zoo.vit.layouts import vit_pytorch as vit_pytorch_layout


def timm_sizes(config: Config) -> dict[str, Any]:
    """What timm's VisionTransformer and its distilled one have in common. What our ViT is without must be as it is by default there."""
    for absent in ("no_embed_class", "pre_norm"):
        config.only(absent, False)
    config.only("reg_tokens", 0)
    config.only("fc_norm", None)
    return {**timm_tower(config), "resize": resize_table_as_timm}


def timm_tower(config: Config) -> dict[str, Any]:
    """The sizes and blocks of timm's VisionTransformer, whatever its tokens, positions and pool are."""
    for absent in ("scale_attn_norm", "scale_mlp_norm"):
        config.only(absent, False)
    for present in ("proj_bias", "final_norm"):
        config.only(present, True)
    config.only("pos_embed", "learn")
    if not config.get("dynamic_img_size", False):
        config.same_size("img_size")
    dim, patch = config["embed_dim"], config["patch_size"]
    padded = config.get("dynamic_img_pad", False)
    channels = config.get("in_chans", 3)
    return {
        "image_size": config["img_size"],
        "patch_size": patch,
        "embed": ConvEmbed(patch, dim, channels=channels, remainder="pad") if padded else None,
        "num_classes": config["num_classes"],
        "channels": channels,
        "dim": dim,
        "depth": config["depth"],
        "heads": config["num_heads"],
        "qkv_bias": config.get("qkv_bias", True),
        "resize": ANTIALIASED,
        "norm": timm_norm(config),
        "qk_norm": timm_norm(config) if config.get("qk_norm", False) else None,
        "activation": config.activation("act_layer"),
        "layer_scale": config.get("init_values"),
        **timm_feedforward(config),
    }


ANTIALIASED = partial(resize_table, antialias=True)
"""As timm resizes positions, without its cast to float32."""


def timm_norm(config: Config, key: str = "norm_layer", eps: float = 1e-6) -> NormFactory:
    """The factory of a norm that is written ``LayerNorm(eps=1e-05)``; ``eps`` without the key."""
    if config.get(key) is None:
        return layer_norm(eps)
    if match := re.fullmatch(r"LayerNorm\(eps=([0-9.e-]+)\)", str(config[key])):
        return layer_norm(float(match[1]))
    raise config.refuse(key, "it is no LayerNorm(eps=...)")


def timm_feedforward(config: Config) -> dict[str, Any]:
    """timm's Mlp, or its GluMlp with the gate first, of which ``mlp_ratio`` counts gate and values. Its activation is the block's."""
    hidden = int(config["embed_dim"] * config.get("mlp_ratio", 4.0))
    kind = config.get("mlp_layer")
    if kind in (None, "Mlp"):
        return {"mlp_dim": hidden}
    if not re.fullmatch(r"GluMlp\(.*gate_last=False\)", kind) or hidden % 2:
        raise config.refuse("mlp_layer", "we have no such feed-forward")
    return {"mlp_dim": hidden // 2, "feedforward": GatedMlp}


def timm(config: Config) -> ViT:
    """The class token may stand there unread, beside the mean of the patches."""
    config.only("mlp_layer", None, "Mlp")
    pool = {"token": "cls", "avg": "mean"}[config.only("global_pool", "token", "avg")]
    has_class = config.get("class_token", True)
    if pool == "cls" and not has_class:
        raise config.refuse("class_token", "it is read")
    return ViT(pool=pool, prefix_tokens=int(has_class), **timm_sizes(config))


def hf_sizes(config: Config) -> dict[str, Any]:
    """What Hugging Face's ViT and DeiT have in common, but for heads.

    It takes another image if its ``forward`` is told so; then pixels beyond whole patches are left out.
    """
    config.unaffected_by("encoder_stride")  # of their masked image modelling
    image = pair(config["image_size"])
    if not config.get("interpolate_pos_encoding", False):
        config.same_size("image_size")
    elif image[0] != image[1]:
        raise config.refuse("image_size", "their interpolation takes positions for those of a square")
    dim, patch, channels = config["hidden_size"], pair(config["patch_size"]), config.get("num_channels", 3)
    return {
        "image_size": tuple(side // size * size for side, size in zip(image, patch, strict=True)),
        "patch_size": patch,
        "channels": channels,
        "dim": dim,
        "depth": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "head_dim": config.get("head_dim"),
        "mlp_dim": config["intermediate_size"],
        "qkv_bias": config.get("qkv_bias", True),
        "norm": layer_norm(config.get("layer_norm_eps", 1e-12)),
        "activation": config.activation("hidden_act"),
        "embed": ConvEmbed(patch, dim, channels=channels, remainder="drop"),
    }


def hf(config: Config) -> ViT:
    config.unaffected_by("pooler_output_size", "pooler_act")  # it has no pooler
    return ViT(num_classes=config["num_labels"], **hf_sizes(config))


def hf_base(config: Config) -> ViT:
    """With a pooler of the class token in the place of a head."""
    config.unaffected_by("num_labels")
    model = ViT(num_classes=0, **hf_sizes(config))
    width = config.get("pooler_output_size") or config["hidden_size"]
    model.head = nn.Sequential(nn.Linear(config["hidden_size"], width), config.activation("pooler_act", "tanh")())
    return model


def vit_pytorch(config: Config, *, dual_norm: bool) -> ViT:
    """The Linear patch embedding, with a norm before and after it since 1.0. qkv has no bias, and the norms PyTorch's epsilon.

    A single head as wide as the model has no output projection there. With ``pool="mean"`` it has no class token since 1.0, and norms
    the tokens before their mean; earlier versions average the class token along with them, and norm the mean.
    """
    pool = config.only("pool", "cls", "mean")
    if config["num_classes"] < 1:
        raise config.refuse("num_classes", "without classes it gives all tokens, ours the features")
    dim, heads, head_dim = config["dim"], config["heads"], config.get("dim_head", 64)
    rows, columns = pair(config["patch_size"])
    channels = config.get("channels", 3)
    pixels = channels * rows * columns
    norm = layer_norm(1e-5)
    proj = nn.Sequential(norm(pixels), nn.Linear(pixels, dim), norm(dim)) if dual_norm else None
    model = ViT(
        image_size=config["image_size"],
        patch_size=(rows, columns),
        num_classes=config["num_classes"],
        channels=channels,
        dim=dim,
        depth=config["depth"],
        heads=heads,
        head_dim=head_dim,
        mlp_dim=config["mlp_dim"],
        pool=pool,
        prefix_tokens=None if dual_norm else 1,
        qkv_bias=False,
        norm=norm,
        embed=LinearEmbed((rows, columns), dim, channels=channels, proj=proj),
    )
    if pool == "mean":
        model.norm, model.pool = (norm(dim), MeanPool()) if dual_norm else (nn.Identity(), TokenMeanPool(norm(dim)))
    if heads == 1 and head_dim == dim:
        for attn in (part for part in model.modules() if isinstance(part, GlobalAttention)):
            attn.proj = nn.Identity()
    return model


def key_map(config: Config) -> KeyMap:
    """The layout; with ``pool="mean"`` there is a class token that is empty."""

    def table(model: ViT) -> Table:
        empty = (Computed("cls_token"),) if config.get("pool") == "mean" else ()
        return (*vit_pytorch_layout(model), *empty)

    return table


BUILDERS = {
    ("ViT", "timm"): Builder(timm),
    ("ViT (AugReg)", "timm"): Builder(timm),
    ("ViT", "hf", r"\bViTForImageClassification\b"): Builder(hf),
    ("ViT", "hf", r"\bViTModel\b"): Builder(hf_base, {"pooled": lambda model, case: model(case.input)}),
    ("ViT", "vit_pytorch", r"\b0\.\d+"): Builder(lambda config: vit_pytorch(config, dual_norm=False)),
    ("ViT", "vit_pytorch", r"\b1\.\d+"): Builder(lambda config: vit_pytorch(config, dual_norm=True), key_map=key_map),
}
