"""DINOv2, with and without registers."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import ConvEmbed, GatedMlp, layer_norm
from vitblocks.position import resize_table
from vitblocks.zoo import DINOv2

from .vit import ANTIALIASED, timm_tower


def timm(config: Config) -> DINOv2:
    """With ``no_embed_class`` the class token has no position; without it registers have one, which ours never have."""
    config.only("pre_norm", False)
    config.only("class_token", True)
    config.only("fc_norm", None)
    registers, class_position = config.get("reg_tokens", 0), not config.get("no_embed_class", False)
    if registers and class_position:
        raise config.refuse("no_embed_class", "registers have no position here")
    pool = {"token": "cls", "avg": "mean"}[config.only("global_pool", "token", "avg")]
    return DINOv2(pool=pool, registers=registers, class_position=class_position, **timm_tower(config))


def hf(config: Config, *, registers: bool, classifier: bool) -> DINOv2:
    """Any size is taken, and pixels beyond whole patches are left out. What is asked of the backbone class alone does not matter."""
    config.unaffected_by("apply_layernorm", "reshape_hidden_states", "stage_names", "out_features", "out_indices")
    if not classifier:
        config.unaffected_by("num_labels")
    dim, patch, channels = config["hidden_size"], config["patch_size"], config.get("num_channels", 3)
    return DINOv2(
        image_size=config["image_size"],
        patch_size=patch,
        num_classes=config.get("num_labels", 2) if classifier else 0,
        pool="cls+mean" if classifier else "cls",
        channels=channels,
        dim=dim,
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        registers=config.get("num_register_tokens", 4) if registers else 0,
        mask_token=True if registers else config.get("use_mask_token", True),
        qkv_bias=config.get("qkv_bias", True),
        norm=layer_norm(config.get("layer_norm_eps", 1e-6)),
        layer_scale=config.get("layerscale_value", 1.0),
        embed=ConvEmbed(patch, dim, channels=channels, remainder="drop"),
        resize=ANTIALIASED if registers else resize_table,
        **hf_feedforward(config, dim),
    )


def hf_feedforward(config: Config, dim: int) -> dict[str, Any]:
    """SwiGLU gates by SiLU, whatever ``hidden_act`` is."""
    hidden = int(dim * config.get("mlp_ratio", 4))
    if config.get("use_swiglu_ffn", False):
        config.unaffected_by("hidden_act")
        return {"mlp_dim": (int(hidden * 2 / 3) + 7) // 8 * 8, "feedforward": GatedMlp, "activation": nn.SiLU}
    return {"mlp_dim": hidden, "activation": config.activation("hidden_act")}


def builder(*, registers: bool, classifier: bool) -> Builder:
    return Builder(lambda config: hf(config, registers=registers, classifier=classifier))


BUILDERS = {
    ("DINOv2", "timm"): Builder(timm),
    ("DINOv2", "hf", r"Dinov2Model$"): builder(registers=False, classifier=False),
    ("DINOv2", "hf", r"Dinov2ForImageClassification$"): builder(registers=False, classifier=True),
    ("DINOv2 with registers", "timm"): Builder(timm),
    ("DINOv2 with registers", "hf", r"Dinov2WithRegistersModel$"): builder(registers=True, classifier=False),
    ("DINOv2 with registers", "hf", r"Dinov2WithRegistersForImageClassification$"): builder(
        registers=True, classifier=True
    ),
}
