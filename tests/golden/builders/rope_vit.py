"""RoPE-ViT, which is timm's Eva."""

from __future__ import annotations

from functools import partial

from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import ConvEmbed, RoPEViT, Rotary2d

from .vit import ANTIALIASED, timm_norm


def rotary(config: Config) -> partial[Rotary2d]:
    config.only("use_rot_pos_emb", True)
    config.only("rope_grid_offset", 0.0)
    kind, grid = config.only("rope_type", "cat", "mixed"), config.get("ref_feat_shape")
    if kind == "mixed":
        config.unaffected_by("ref_feat_shape", "rope_rotate_half", "rope_temperature")  # it reads none of them
    return partial(
        Rotary2d,
        base=float(config.get("rope_temperature", 10000.0)),
        grid=None if grid is None or kind == "mixed" else tuple(grid),
        first={"xy": "column", "ij": "row"}[config.only("rope_grid_indexing", "ij", "xy")],
        pairs="halves" if kind == "cat" and config.get("rope_rotate_half", False) else "neighbours",
        mixed_heads=config["num_heads"] if kind == "mixed" else None,
    )


def timm(config: Config) -> RoPEViT:
    for absent in ("swiglu_mlp", "scale_mlp", "scale_attn_inner", "use_post_norm", "use_pre_transformer_norm"):
        config.only(absent, False)
    for absent in ("qkv_bias_separate", "scale_attn_inner_post"):
        config.only(absent, False)
    for present in ("use_post_transformer_norm", "final_norm"):
        config.only(present, None, True)
    config.only("qkv_fused", True)
    config.unaffected_by("swiglu_align_to", "head_init_scale")
    by_class = config.only("global_pool", "avg", "token") == "token"
    has_class = config.get("class_token", True)
    if by_class != has_class:
        raise config.refuse("class_token", "our model has one where it is read")
    config.only("use_fc_norm", None, not by_class)
    absolute = config.get("use_abs_pos_emb", True)
    if absolute and has_class:
        config.only("no_embed_class", True)
    config.unaffected_by("no_embed_class")
    if not config.get("dynamic_img_size", False):
        config.same_size("img_size")
    dim, patch, channels = config["embed_dim"], config["patch_size"], config.get("in_chans", 3)
    padded = config.get("dynamic_img_pad", False)
    return RoPEViT(
        image_size=config["img_size"],
        patch_size=patch,
        embed=ConvEmbed(patch, dim, channels=channels, remainder="pad") if padded else None,
        num_classes=config["num_classes"],
        channels=channels,
        dim=dim,
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_dim=int(dim * config.get("mlp_ratio", 4.0)),
        pool="cls" if by_class else "mean",
        positions_rotary=rotary(config),
        absolute_positions=absolute,
        registers=config.get("num_reg_tokens", 0),
        qkv_bias=config.get("qkv_bias", True),
        key_bias=config.only("attn_type", "eva", "rope") == "rope",
        norm=timm_norm(config),
        layer_scale=config.get("init_values"),
        resize=ANTIALIASED,
    )


BUILDERS = {(name, "timm"): Builder(timm) for name in ("RoPE-ViT", "RoPE-ViT (timm SBB)")}
