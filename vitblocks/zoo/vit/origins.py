"""How other libraries' ViTs are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

from ...border import Origin, rate_of, refuse_unless, timm, transformers
from ...checkpoint.rules import other_names
from ...position import resize_table_as_timm
from .layouts import hf_vit

if TYPE_CHECKING:
    from ...model import Model


def timm_settings(module: Any) -> dict[str, Any]:
    """The settings of timm's VisionTransformer as keywords of :class:`ViT`, but for its pooling and heads."""
    refuse_unless(
        module.pos_embed is not None and not module.no_embed_class, module, "no_embed_class", module.no_embed_class
    )
    timm.refuse_identity(module, "norm_pre", module.norm_pre)
    timm.refuse_identity(module, "patch_drop", module.patch_drop)
    refuse_unless(module.num_reg_tokens == 0, module, "reg_tokens", module.num_reg_tokens)
    refuse_unless(module.global_pool in ("token", "avg"), module, "global_pool", module.global_pool)
    refuse_unless(not module.pool_include_prefix, module, "pool_include_prefix", True)
    blocks = timm.named("blocks", module.blocks)
    gamma = getattr(module.blocks[0].ls1, "gamma", None)
    final = module.fc_norm if isinstance(module.norm, nn.Identity) else module.norm
    settings = timm.alike(module, blocks, timm.block)
    timm.same_norm(module, {"blocks.0.norm1": module.blocks[0].norm1, "norm": final})
    return {
        **timm.patches(module, module.patch_embed),
        **settings,
        "depth": len(blocks),
        "layer_scale": None if gamma is None else 1.0,  # any: weights come with the rest
        "drop_path": timm.drop_path(module, blocks),
        "emb_dropout": rate_of(module.pos_drop),
        "resize": resize_table_as_timm,
    }


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's VisionTransformer, where it is a plain one: learned positions of all tokens, pooled by the class token or the mean."""
    options = timm_settings(module)
    normed_mean = isinstance(module.norm, nn.Identity)
    refuse_unless(
        normed_mean == (module.global_pool == "avg"), module, "norm with global_pool", (module.norm, module.global_pool)
    )
    if module.global_pool == "avg":
        options |= {"pool": "mean", "prefix_tokens": module.num_prefix_tokens}
    return build(**options, num_classes=timm.head(module))


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


_HF = "transformers.models.vit.modeling_vit"

ORIGINS = {
    "timm.models.vision_transformer.VisionTransformer": Origin("timm", read_timm),
    f"{_HF}.ViTModel": Origin(other_names(hf_vit("")), read_hf_base, transformers.features_of_any_size),
    f"{_HF}.ViTForImageClassification": Origin(other_names(hf_vit("vit.")), read_hf, transformers.logits_of_any_size),
}
