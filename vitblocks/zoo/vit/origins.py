"""How other libraries' ViTs are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from ...border import Origin, activation_of, norm_of, rate_of, refuse_unless
from ...position import LearnedPosition, resize_table_as_timm
from ...position.resize import Resize

if TYPE_CHECKING:
    from ...model import Model, Stage


def timm_blocks(module: Any) -> dict[str, Any]:
    """The settings of timm's ``blocks``, which several of its models have, as keywords of :class:`ViT`."""
    first = module.blocks[0]
    for i, block in enumerate(module.blocks):
        refuse_unless(type(block).__name__ in ("Block", "LayerScaleBlock"), module, f"blocks.{i}", type(block).__name__)
        attn, mlp = block.attn, block.mlp
        for name in ("q_norm", "k_norm", "norm"):
            part = getattr(attn, name, None)
            refuse_unless(part is None or isinstance(part, nn.Identity), module, f"blocks.{i}.attn.{name}", part)
        refuse_unless(isinstance(getattr(mlp, "norm", nn.Identity()), nn.Identity), module, f"blocks.{i}.mlp.norm", mlp)
        refuse_unless(attn.proj.bias is not None and mlp.fc1.bias is not None, module, "proj_bias", False)
        same = (attn.num_heads, attn.qkv.weight.shape, mlp.fc1.weight.shape)
        wanted = (first.attn.num_heads, first.attn.qkv.weight.shape, first.mlp.fc1.weight.shape)
        refuse_unless(same == wanted, module, f"sizes of blocks.{i}", same)
    gamma = getattr(first.ls1, "gamma", None) if hasattr(first, "ls1") else None
    dim, heads = first.norm1.normalized_shape[0], first.attn.num_heads
    return {
        "dim": dim,
        "depth": len(module.blocks),
        "heads": heads,
        "head_dim": first.attn.qkv.out_features // (3 * heads),
        "mlp_dim": first.mlp.fc1.out_features,
        "qkv_bias": first.attn.qkv.bias is not None,
        "norm": norm_of(first.norm1),
        "activation": activation_of(first.mlp.act),
        "layer_scale": None if gamma is None else 1.0,  # any: weights come with the rest
        "dropout": rate_of(first.attn.proj_drop),
        "attn_dropout": rate_of(first.attn.attn_drop),
        "drop_path": rate_of(module.blocks[-1].drop_path1),
        "emb_dropout": rate_of(module.pos_drop),
    }


def timm_patches(module: Any) -> dict[str, Any]:
    """The settings of timm's ``PatchEmbed``."""
    embed = module.patch_embed
    refuse_unless(isinstance(embed.norm, nn.Identity), module, "patch_embed.norm", embed.norm)
    refuse_unless(embed.proj.bias is not None, module, "patch_embed.proj.bias", None)
    return {"image_size": embed.img_size, "patch_size": embed.proj.kernel_size, "channels": embed.proj.in_channels}


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's VisionTransformer, where it is a plain one: learned positions of all tokens, pooled by the class token or the mean."""
    refuse_unless(
        module.pos_embed is not None and not module.no_embed_class, module, "no_embed_class", module.no_embed_class
    )
    refuse_unless(isinstance(module.norm_pre, nn.Identity), module, "norm_pre", module.norm_pre)
    refuse_unless(module.num_reg_tokens == 0, module, "reg_tokens", module.num_reg_tokens)
    refuse_unless(module.global_pool in ("token", "avg"), module, "global_pool", module.global_pool)
    refuse_unless(not module.pool_include_prefix, module, "pool_include_prefix", True)
    normed_mean = isinstance(module.norm, nn.Identity)
    refuse_unless(
        normed_mean == (module.global_pool == "avg"), module, "norm with global_pool", (module.norm, module.global_pool)
    )
    options = {**timm_patches(module), **timm_blocks(module)}
    if module.global_pool == "avg":
        options |= {"pool": "mean", "prefix_tokens": module.num_prefix_tokens}
    return resized_as(build(**options, num_classes=classes_of(module.head)), resize_table_as_timm)


def resized_as(model: Model, resize: Resize) -> Model:
    """The model with a way of its own to resize its learned positions."""
    layers = cast("Stage", model.stages[0]).layers
    for i, layer in enumerate(layers):
        if isinstance(layer, LearnedPosition):
            layers[i] = LearnedPosition(layer.table.shape[2], layer.grid, num_prefix=layer.num_prefix, resize=resize)
    return model


def classes_of(head: nn.Module) -> int:
    """Of a Linear head; 0 of none."""
    return head.out_features if isinstance(head, nn.Linear) else 0


ORIGINS = {"timm.models.vision_transformer.VisionTransformer": Origin("timm", read_timm)}
