"""SAM's image encoder."""

from __future__ import annotations

from typing import Any

from einops import rearrange
from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks import DecomposedBias, SAMViT, layer_norm

from .vit import ANTIALIASED


def shared(config: Config, depth: int) -> dict[str, Any]:
    """Blocks that are named as global, but are not there, are ignored by theirs; a window of 0 makes all global."""
    window, named = config["window_size"], config["global_attn_indexes"]
    return {
        "global_blocks": [i for i in range(depth) if i in named or not window],
        "window": window or 14,
        "bias_factory": DecomposedBias if config.get("use_rel_pos", False) else None,
        "positions": config.get("use_abs_pos", True),
        "qkv_bias": config.get("qkv_bias", True),
    }


def timm(config: Config) -> SAMViT:
    """timm's blocks have an epsilon of 1e-5, its necks one of 1e-6, by the defaults of classes."""
    for name in ("qk_norm", "pre_norm", "use_rope"):
        config.only(name, False)
    config.only("global_pool", "avg")
    config.only("head_hidden_size", None)
    config.only("ref_feat_shape", None, why="it is of rotary positions, and there are none")
    dim, depth = config["embed_dim"], config["depth"]
    patch = pair(config["patch_size"])
    if any(side % size for side, size in zip(config.image[-2:], patch, strict=True)):
        raise config.refuse("patch_size", f"it does not divide the image of {config.image[-2:]}")
    return SAMViT(
        image_size=config["img_size"],
        patch_size=patch,
        num_classes=config["num_classes"],
        channels=config.get("in_chans", 3),
        dim=dim,
        depth=depth,
        heads=config["num_heads"],
        mlp_dim=int(dim * config.get("mlp_ratio", 4.0)),
        neck_dim=config.get("neck_chans", 256) or None,
        layer_scale=config.get("init_values") or None,
        activation=config.activation("act_layer"),
        norm=layer_norm(1e-5),
        resize=ANTIALIASED,
        **shared(config, depth),
    )


def hf(config: Config) -> SAMViT:
    """Hugging Face's takes images of one size; its neck's norms are the authors', whatever the epsilon of the others is."""
    config.same_size("image_size")
    config.unaffected_by("num_labels", "num_pos_feats", "scale")  # of other parts of SAM
    dim, depth = config["hidden_size"], config["num_hidden_layers"]
    hidden = config.get("mlp_dim")
    ratio = config.get("mlp_ratio", 4.0)
    return SAMViT(
        image_size=config["image_size"],
        patch_size=config["patch_size"],
        num_classes=0,
        channels=config.get("num_channels", 3),
        dim=dim,
        depth=depth,
        heads=config["num_attention_heads"],
        mlp_dim=int(dim * ratio) if hidden is None else hidden,
        neck_dim=config["output_channels"],
        activation=config.activation("hidden_act"),
        norm=layer_norm(config.get("layer_norm_eps", 1e-6)),
        **shared(config, depth),
    )


def token_map(model: Any, case: Case) -> Tensor:
    x, grid = model.encode(case.input)
    _, channels, rows, columns = case.outputs["tokens"].shape
    return rearrange(x, "b (h w) c -> b c h w", h=grid[0])[:, :channels, :rows, :columns]


MAPS = {"tokens": token_map}

BUILDERS = {
    ("SAM ViT", "timm"): Builder(timm, MAPS),
    ("SAM ViT", "hf"): Builder(hf, MAPS),
}
