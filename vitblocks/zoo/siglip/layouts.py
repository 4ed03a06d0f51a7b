"""Key maps of SigLIP's towers of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ...checkpoint.block import HF_SELF_ATTENTION_BLOCK
from ...checkpoint.rules import Computed, KeyMap, Keys, Rule, Table, within
from ...checkpoint.transforms import Concat, Inverted, Same, Transform, Unsqueeze
from ...pool import AttentionPool, MeanPool
from ..clip.layouts import TEXTS
from ..vit import layouts as vit

if TYPE_CHECKING:
    from .model import SigLIP


def timm(model: SigLIP) -> Table:
    """timm's VisionTransformer with ``global_pool="map"``, or ``"avg"`` and no norm after it."""
    return (Rule("attn_pool.latent", "pool.probe"), Rule("attn_pool.{p}", "pool.{p}"), *vit.timm(model))


def hf_siglip(model: SigLIP, prefix: str, also: str = "") -> Table:
    """Hugging Face's tower of images under a prefix, SigLIP 2's of any size as well; its pool is an nn.MultiheadAttention.

    A pool that the model does not have is read by nothing there, either. ``also`` is another prefix that is read.
    """

    def rule(theirs: Keys, ours: Keys, transform: Transform | None = None) -> Rule:
        def under(name: str) -> Keys:
            return f"{name}{theirs}" if isinstance(theirs, str) else tuple(f"{name}{key}" for key in theirs)

        return Rule(under(prefix), ours, transform or Same(), also=under(also) if also else ())

    pool: Table = (Computed(f"{prefix}head.{{p}}"),)
    if isinstance(model.pool, AttentionPool):
        qkv = Inverted(Concat((model.pool.dim, 2 * model.pool.dim)))
        pool = (
            rule("head.probe", "pool.probe"),
            rule("head.attention.in_proj_weight", ("pool.q.weight", "pool.kv.weight"), qkv),
            rule("head.attention.in_proj_bias", ("pool.q.bias", "pool.kv.bias"), qkv),
            rule("head.attention.out_proj.{p}", "pool.proj.{p}"),
            rule("head.layernorm.{p}", "pool.norm.{p}"),
            rule("head.mlp.{p}", "pool.mlp.{p}"),
        )
    layers = "encoder.layers.{b}"
    others = f"{also}{layers}" if also else ""
    return (
        rule("embeddings.position_embedding.weight", "stages.0.learned_position.table", Unsqueeze(0)),
        *(Computed(f"{name}embeddings.position_ids") for name in {prefix, also}),  # of transformers 4
        rule("embeddings.patch_embedding.{p}", "embed.conv.{p}"),
        rule("embeddings.patch_embedding.{p}", "embed.proj.{p}"),
        *within(f"{prefix}{layers}", "stages.0.blocks.{b}", HF_SELF_ATTENTION_BLOCK, also=others),
        rule("post_layernorm.{p}", "norm.{p}"),
        *pool,
        Rule("classifier.{p}", "head.{p}"),
    )


def hf(model: SigLIP) -> Table:
    """Hugging Face's SiglipVisionModel, or its SiglipForImageClassification with classes, which reads the mean of the patches.

    Files of a whole SiglipModel are read, too. SigLIP 2's of any size is the same but for its embedder.
    """
    classifies = isinstance(model.head, nn.Linear) and isinstance(model.pool, MeanPool)
    if classifies:
        return hf_siglip(model, "vision_model.")
    return (*hf_siglip(model, "", also="vision_model."), *TEXTS)


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "hf": hf}
