"""BEiT and BEiT v2."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import BEiT, ClassRelativeBias, ConvEmbed, layer_norm
from vitblocks.position import resize_offsets_as_beit, resize_offsets_as_transformers
from vitblocks.position.resize import Resize

from .vit import ANTIALIASED, timm_norm


def biases(config: Config, own: Any, shared: Any, names: tuple[str, str], resize: Resize) -> dict[str, Any]:
    """The relative positions of blocks of their own, or shared by all."""
    if own and shared:
        raise config.refuse(names[1], f"our blocks have one bias each, and {names[0]} gives them their own")
    factory = partial(ClassRelativeBias, resize=resize) if own or shared else None
    return {"bias_factory": factory, "shared_bias": bool(shared)}


def timm(config: Config) -> BEiT:
    config.only("swiglu_mlp", False)
    config.only("scale_mlp", False)
    config.only("qkv_bias", True)
    config.unaffected_by("head_init_scale")  # the weights are made from their names
    config.unaffected_by("qkv_bias_separate")  # one sum or two
    own, shared = config.get("use_rel_pos_bias", False), config.get("use_shared_rel_pos_bias", False)
    dim, patch, channels = config["embed_dim"], config["patch_size"], config.get("in_chans", 3)
    if not config.get("dynamic_img_size", False):
        config.same_size("img_size")
    padded = config.get("dynamic_img_pad", False)
    return BEiT(
        image_size=config["img_size"],
        patch_size=patch,
        embed=ConvEmbed(patch, dim, channels=channels, remainder="pad") if padded else None,
        num_classes=config["num_classes"],
        channels=channels,
        dim=dim,
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_dim=int(dim * config.get("mlp_ratio", 4.0)),
        pool={"avg": "mean", "token": "cls"}[config.only("global_pool", "avg", "token")],
        **biases(config, own, shared, ("use_rel_pos_bias", "use_shared_rel_pos_bias"), resize_offsets_as_beit),
        absolute_positions=config.get("use_abs_pos_emb", True),
        norm=timm_norm(config),
        layer_scale=config.get("init_values"),
        resize=ANTIALIASED,
    )


def hf(config: Config) -> BEiT:
    """What is asked of the backbone class, of segmentation or of training alone does not matter."""
    config.unaffected_by(
        "vocab_size", "pool_scales", "use_auxiliary_head", "auxiliary_loss_weight", "auxiliary_channels"
    )
    config.unaffected_by("auxiliary_num_convs", "auxiliary_concat_input", "semantic_loss_ignore_index", "add_fpn")
    config.unaffected_by("reshape_hidden_states", "stage_names", "out_features", "out_indices")
    own = config.get("use_relative_position_bias", False)
    shared = config.get("use_shared_relative_position_bias", False)
    names = ("use_relative_position_bias", "use_shared_relative_position_bias")
    dim, patch, channels = config["hidden_size"], config["patch_size"], config.get("num_channels", 3)
    scale = config.get("layer_scale_init_value", 0.1)
    return BEiT(
        image_size=config["image_size"],
        patch_size=patch,
        embed=ConvEmbed(patch, dim, channels=channels, remainder="drop"),
        num_classes=config["num_labels"],
        channels=channels,
        dim=dim,
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_dim=config["intermediate_size"],
        pool="mean" if config.get("use_mean_pooling", True) else "cls",
        **biases(config, own, shared, names, resize_offsets_as_transformers),
        absolute_positions=config.get("use_absolute_position_embeddings", False),
        mask_token=config.get("use_mask_token", False),
        norm=layer_norm(config.get("layer_norm_eps", 1e-12)),
        layer_scale=scale if scale > 0 else None,
        activation=config.activation("hidden_act"),
    )


BUILDERS = {
    ("BEiT", "timm"): Builder(timm),
    ("BEiT v2", "timm"): Builder(timm),
    ("BEiT", "hf", r"BeitForImageClassification$"): Builder(hf),
}
