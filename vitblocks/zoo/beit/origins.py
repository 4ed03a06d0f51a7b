"""How BEiT of timm and of transformers is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ...border import Origin, rate_of, refuse_unless, timm, transformers
from ...checkpoint.rules import KeyMap, other_names
from ...embed import ConvEmbed
from ...grid import to_pair
from ...pool import MeanPool
from ...position import (
    ClassRelativeBias,
    resize_offsets_as_beit,
    resize_offsets_as_transformers,
    resize_table_as_timm,
)
from .layouts import hf_beit

if TYPE_CHECKING:
    from ...model import Model


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's Beit, with relative positions of each block, of all blocks or of none."""
    blocks = timm.named("blocks", module.blocks)
    settings = timm.alike(module, blocks, _timm_block)
    own, shared = settings.pop("own_bias"), module.rel_pos_bias is not None
    refuse_unless(not (own and shared), module, "rel_pos_bias beside those of blocks", True)
    last, by_class = timm.last_norm(module)
    model = build(
        **settings,
        **timm.patches(module, module.patch_embed),
        num_classes=timm.head(module),
        depth=len(blocks),
        pool="mean" if last == "fc_norm" else "cls",
        bias_factory=partial(ClassRelativeBias, resize=resize_offsets_as_beit) if own or shared else None,
        shared_bias=shared,
        absolute_positions=module.pos_embed is not None,
        drop_path=timm.drop_path(module, blocks),
        emb_dropout=rate_of(module.pos_drop),
        resize=resize_table_as_timm,
    )
    if last == "norm" and not by_class:
        model.pool = MeanPool()
    return model


def _timm_block(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    settings = timm.block(module, name, theirs)
    del settings["qkv_bias"]  # that of the matrix; queries and values have theirs beside it
    refuse_unless(theirs.attn.q_bias is not None, module, f"{name}.attn.q_bias", None)
    scaled = [gamma is not None for gamma in (theirs.gamma_1, theirs.gamma_2)]
    refuse_unless(len({*scaled}) == 1, module, f"layer scales of {name}", scaled)
    return {
        **settings,
        "layer_scale": 1.0 if scaled[0] else None,  # any: weights come with the rest
        "own_bias": theirs.attn.relative_position_bias_table is not None,
    }


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' BeitForImageClassification, or its BeitModel: what its pooler gives, or what that would read. It takes every size."""
    base = module.base_model
    settings = timm.alike(module, timm.named("layers", base.layers), _layer)
    own, shared = settings.pop("own_bias"), base.shared_position_bias is not None
    refuse_unless(not (own and shared), module, "relative_position_bias beside shared_position_bias", True)
    embeddings = base.embeddings
    conv = embeddings.patch_embeddings.projection
    size = to_pair(embeddings.patch_embeddings.image_size, "image_size")
    mean = isinstance(base.layernorm, nn.Identity)
    last = getattr(base.pooler, "layernorm", None) if mean else base.layernorm
    if last is not None:
        timm.same_norm(module, {"layers.0.layernorm_before": base.layers[0].layernorm_before, "last norm": last})
    layers = timm.named("layers", base.layers)
    model = build(
        **settings,
        image_size=tuple(side // patch * patch for side, patch in zip(size, conv.kernel_size, strict=True)),
        **transformers.patches(module, conv),
        embed=ConvEmbed(conv.kernel_size, conv.out_channels, channels=conv.in_channels, remainder="drop"),
        num_classes=0 if base is module else transformers.classes(module, "classifier"),
        depth=len(layers),
        pool="mean" if mean else "cls",
        bias_factory=partial(ClassRelativeBias, resize=resize_offsets_as_transformers) if own or shared else None,
        shared_bias=shared,
        absolute_positions=embeddings.position_embeddings is not None,
        mask_token=embeddings.mask_token is not None,
        drop_path=timm.drop_path(module, layers),
        emb_dropout=rate_of(embeddings.dropout),
    )
    if last is None:
        model.pool = MeanPool()
    return transformers.without_inner_dropout(model)


def _layer(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    attn = theirs.attention
    settings = transformers.attention(module, f"{name}.attention", attn, transformers.PROJECTIONS, key_bias=False)
    inner = settings.pop("inner")
    refuse_unless(settings.pop("qkv_bias"), module, f"{name}.attention.q_proj.bias", None)
    scaled = [isinstance(scale, nn.Parameter) for scale in (theirs.lambda_1, theirs.lambda_2)]
    refuse_unless(len({*scaled}) == 1, module, f"layer scales of {name}", scaled)
    norms = {f"{name}.{place}": getattr(theirs, place) for place in ("layernorm_before", "layernorm_after")}
    return {
        **settings,
        **transformers.heads(module, f"{name}.attention", inner, attn.head_dim, attn.scaling),
        **transformers.mlp(module, f"{name}.mlp", theirs.mlp),
        "dropout": rate_of(theirs.dropout),
        "attn_dropout": float(attn.attention_dropout),
        "norm": timm.same_norm(module, norms),
        "layer_scale": 1.0 if scaled[0] else None,  # any: weights come with the rest
        "own_bias": theirs.relative_position_bias is not None,
    }


def _call(module: Any, images: Tensor) -> Tensor:
    """Its logits, or of a base model what is pooled."""
    output = module(images)
    found: Tensor
    if module.base_model is not module:
        found = output.logits
    elif output.pooler_output is not None:
        found = output.pooler_output
    else:
        tokens = output.last_hidden_state
        found = tokens[:, 1:].mean(dim=1) if isinstance(module.layernorm, nn.Identity) else tokens[:, 0]
    return found


def _under(prefix: str) -> KeyMap:
    return other_names(lambda model: hf_beit(model, prefix))


_HF = "transformers.models.beit.modeling_beit"

ORIGINS = {
    "timm.models.beit.Beit": Origin("timm", read_timm),
    f"{_HF}.BeitModel": Origin(_under(""), read_hf, _call),
    f"{_HF}.BeitForImageClassification": Origin(_under("beit."), read_hf, _call),
}
