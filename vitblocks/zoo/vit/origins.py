"""How other libraries' ViTs are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ...attention import GlobalAttention, SoftmaxAttend
from ...block import Block
from ...border import Origin, activation_of, rate_of, refuse_unless, timm, transformers
from ...checkpoint.rules import other_names
from ...embed import LinearEmbed
from ...pool import ClassPool, MeanPool
from ...position import resize_table_as_timm, resize_table_as_vit_pytorch
from ...position.resize import grids_of_places
from .layouts import hf_vit

if TYPE_CHECKING:
    from ...model import Model


def timm_settings(module: Any) -> dict[str, Any]:
    """The settings of timm's VisionTransformer as keywords of :class:`ViT`, but for its pooling and heads."""
    timm.refuse_identity(module, "norm_pre", module.norm_pre)
    alone = module.num_reg_tokens if module.cls_token is None else 0
    refuse_unless(alone == 0, module, "reg_tokens without class_token", alone)
    refuse_unless(module.global_pool in ("token", "avg"), module, "global_pool", module.global_pool)
    return {**timm_tower(module), "prefix_positions": not module.no_embed_class}


def timm_tower(module: Any, *, patch_bias: bool = True) -> dict[str, Any]:
    """The settings of timm's VisionTransformer that do not depend on its prefix tokens and its pooling."""
    refuse_unless(module.pos_embed is not None, module, "pos_embed", None)
    timm.refuse_identity(module, "patch_drop", module.patch_drop)
    refuse_unless(not module.pool_include_prefix, module, "pool_include_prefix", True)
    blocks = timm.named("blocks", module.blocks)
    settings = timm.alike(module, blocks, _timm_block)
    gamma = getattr(module.blocks[0].ls1, "gamma", None)
    timm.same_norm(module, {"blocks.0.norm1": module.blocks[0].norm1, **last_norms(module)})
    return {
        **timm.patches(module, module.patch_embed, bias=patch_bias),
        **settings,
        "depth": len(blocks),
        "layer_scale": None if gamma is None else 1.0,  # any: weights come with the rest
        "drop_path": timm.drop_path(module, blocks),
        "emb_dropout": rate_of(module.pos_drop),
        "resize": resize_table_as_timm,
    }


def _timm_block(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    settings = timm.block(module, name, theirs, read=("q_norm", "k_norm"))
    return {**settings, "qk_norm": timm.qk_norm(module, f"{name}.attn", theirs.attn)}


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's VisionTransformer: a plain one, pooled by the class token or the mean, CLIP's with ``pre_norm``, or SigLIP's."""
    if not isinstance(module.norm_pre, nn.Identity):
        return read_clip(module)
    if module.global_pool == "map":
        return read_siglip(module)
    options, last = timm_settings(module), last_norms(module)
    by_class = module.global_pool == "token"
    refuse_unless(len(last) < 2 and not (by_class and "fc_norm" in last), module, "fc_norm", module.fc_norm)
    options |= {"pool": "cls" if by_class else "mean", "prefix_tokens": module.num_prefix_tokens}
    model = build(**options, num_classes=timm.head(module))
    norm = partial(options["norm"], options["dim"])
    if "norm" in last and not by_class:
        model.norm, model.pool = norm(), MeanPool()
    elif not last:
        model.norm, model.pool = nn.Identity(), ClassPool() if by_class else MeanPool()
    return model


def read_clip(module: Any) -> Model:
    """timm's VisionTransformer with a norm before its blocks: class token and patches with positions, and no bias of the patches."""
    from ..clip import CLIP  # made of this model's blocks

    plain = module.cls_token is not None and module.num_prefix_tokens == 1 and not module.no_embed_class
    refuse_unless(plain, module, "prefix tokens with norm_pre", module.num_prefix_tokens)
    refuse_unless(module.global_pool == "token", module, "global_pool", module.global_pool)
    last = last_norms(module)
    refuse_unless([*last] == ["norm"], module, "fc_norm", module.fc_norm)
    norms = {"blocks.0.norm1": module.blocks[0].norm1, "norm_pre": module.norm_pre}
    timm.same_norm(module, norms)
    return CLIP(**timm_tower(module, patch_bias=False), num_classes=timm.head(module), head_bias=True)


def read_siglip(module: Any) -> Model:
    """timm's VisionTransformer without class token, pooled by attention of one query whose feed-forward is as those of the blocks."""
    from ..siglip import SigLIP  # made of this model's blocks

    refuse_unless(
        module.num_prefix_tokens == 0, module, "prefix tokens with global_pool = 'map'", module.num_prefix_tokens
    )
    refuse_unless([*last_norms(module)] == ["norm"], module, "fc_norm", module.fc_norm)
    options, pool = timm_tower(module), module.attn_pool
    refuse_unless(
        pool.latent_len == 1 and pool.pos_embed is None, module, "attn_pool", (pool.latent_len, pool.pos_embed)
    )
    for name in ("q_norm", "k_norm"):
        timm.refuse_identity(module, f"attn_pool.{name}", getattr(pool, name))
    refuse_unless(pool.num_heads == options["heads"], module, "attn_pool.num_heads", pool.num_heads)
    timm.same_norm(module, {"blocks.0.norm1": module.blocks[0].norm1, "attn_pool.norm": pool.norm})
    inner = timm.mlp(module, "attn_pool.mlp", pool.mlp)
    for key in ("mlp_dim", "activation"):
        refuse_unless(repr(inner[key]) == repr(options[key]), module, f"{key} of attn_pool.mlp", inner[key])
    return SigLIP(**options, num_classes=timm.head(module))


def last_norms(module: Any) -> dict[str, nn.Module]:
    """The norm before the pooling, and that after it, as far as they are there."""
    found = {name: getattr(module, name) for name in ("norm", "fc_norm")}
    return {name: norm for name, norm in found.items() if not isinstance(norm, nn.Identity)}


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' ViTForImageClassification."""
    classes = transformers.classes(module, "classifier")
    return transformers.without_inner_dropout(build(**transformers.vit_settings(module), num_classes=classes))


def read_hf_base(build: Callable[..., Model], module: Any) -> Model:
    """transformers' ViTModel: the class token, and where there is a pooler what that makes of it."""
    model = transformers.without_inner_dropout(build(**transformers.vit_settings(module), num_classes=0))
    if module.pooler is not None:
        model.head = transformers.pooler(module.pooler)
    return model


def read_hf_encoder(build: Callable[..., Model], module: Any) -> Model:
    """transformers' ViTMAEModel, the encoder of an MAE; its fixed positions are learned ones here, as those who fine-tune it have it."""
    return transformers.without_inner_dropout(build(**transformers.vit_settings(module), num_classes=0))


def _class_token_of_all_patches(module: Any, images: Tensor) -> Tensor:
    """The class token of an encoder that is to hide no patch and keep the patches in order."""
    height, width = module.embeddings.patch_embeddings.projection.kernel_size
    places = (images.shape[2] // height) * (images.shape[3] // width)
    order = torch.arange(places, dtype=torch.float32, device=images.device).expand(len(images), -1)
    ratio, module.config.mask_ratio = module.config.mask_ratio, 0.0
    try:
        output = module(images, noise=order, **transformers.interpolated(module, images))
    finally:
        module.config.mask_ratio = ratio
    found: Tensor = output.last_hidden_state[:, 0]
    return found


_HF = "transformers.models.vit.modeling_vit"
_MAE = "transformers.models.vit_mae.modeling_vit_mae"


def read_vit_pytorch(build: Callable[..., Model], module: Any) -> Model:
    """vit-pytorch's ViT of 1.26, whose mean is that of normed tokens, without a class token."""
    blocks = {f"transformer.layers.{i}": block for i, block in enumerate(module.transformer.layers)}
    settings = timm.alike(module, blocks, _block_of_vit_pytorch)
    projected = settings.pop("projected")
    timm.refuse_identity(module, "to_latent", module.to_latent)
    _, before, linear, after = module.to_patch_embedding
    first = module.transformer.layers[0][0].norm
    norm = timm.same_norm(
        module,
        {
            "transformer.layers.0.0.norm": first,
            "transformer.norm": module.transformer.norm,
            "to_patch_embedding.1": before,
            "to_patch_embedding.3": after,
        },
    )
    dim, pixels, (rows, columns) = settings["dim"], linear.in_features, module.patch_size
    # Positions are read row by row whatever the grid is, so that any grid of as many places computes the same.
    height, width = grids_of_places(len(module.pos_embedding) - len(module.cls_token))[0]
    model = build(
        **settings,
        image_size=(rows * height, columns * width),
        patch_size=(rows, columns),
        depth=len(blocks),
        num_classes=0 if module.mlp_head is None else module.mlp_head.out_features,
        pool=module.pool,
        emb_dropout=rate_of(module.dropout),
        embed=LinearEmbed(
            (rows, columns),
            dim,
            channels=pixels // (rows * columns),
            proj=nn.Sequential(norm(pixels), nn.Linear(pixels, dim), norm(dim)),
        ),
        resize=resize_table_as_vit_pytorch,
    )
    if module.pool == "mean":
        model.norm, model.pool = norm(dim), MeanPool()
    for _, block in () if projected else model.blocks():
        attend = SoftmaxAttend(dropout=settings["attn_dropout"])
        cast(Block, block).attn = GlobalAttention(
            dim, 1, qkv_bias=settings["qkv_bias"], attend=attend, proj=nn.Identity()
        )
    return model


def _block_of_vit_pytorch(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    attn, (norm2, fc1, activation, drop1, _, drop2) = theirs[0], theirs[1].net
    projected = not isinstance(attn.to_out, nn.Identity)  # one head as wide as the tokens is not
    rates = {rate_of(part) for part in (drop1, drop2, *([attn.to_out[1]] if projected else []))}
    refuse_unless(len(rates) == 1, module, f"drop rates of {name}", rates)
    head_dim = attn.to_qkv.out_features // (3 * attn.heads)
    refuse_unless(abs(attn.scale * head_dim**0.5 - 1) < 1e-6, module, f"{name}.0.scale", attn.scale)
    return {
        "dim": attn.to_qkv.in_features,
        "projected": projected,
        "heads": attn.heads,
        "head_dim": head_dim,
        "mlp_dim": fc1.out_features,
        "qkv_bias": attn.to_qkv.bias is not None,
        "norm": timm.same_norm(module, {f"{name}.0.norm": attn.norm, f"{name}.1.net.0": norm2}),
        "activation": activation_of(activation),
        "dropout": rates.pop(),
        "attn_dropout": rate_of(attn.dropout),
    }


def _call_vit_pytorch(module: Any, images: Tensor) -> Tensor:
    """Without a head it gives all tokens, which ours pools."""
    output: Tensor = module(images)
    if module.mlp_head is not None:
        return output
    return output[:, 0] if module.pool == "cls" else output.mean(dim=1)


ORIGINS = {
    "timm.models.vision_transformer.VisionTransformer": Origin("timm", read_timm),
    f"{_HF}.ViTModel": Origin(other_names(hf_vit("")), read_hf_base, transformers.features_of_any_size),
    f"{_HF}.ViTForImageClassification": Origin(other_names(hf_vit("vit.")), read_hf, transformers.logits_of_any_size),
    f"{_MAE}.ViTMAEModel": Origin(other_names(hf_vit("")), read_hf_encoder, _class_token_of_all_patches),
    "vit_pytorch.vit.ViT": Origin("vit_pytorch", read_vit_pytorch, _call_vit_pytorch),
}
