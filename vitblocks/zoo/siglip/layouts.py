"""Key maps of SigLIP's towers of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...checkpoint.block import HF_SELF_ATTENTION_BLOCK
from ...checkpoint.rules import KeyMap, Rule, Table, within
from ...checkpoint.transforms import Concat, Inverted, Unsqueeze
from ...pool import AttentionPool
from ..vit import layouts as vit

if TYPE_CHECKING:
    from .model import SigLIP


def timm(model: SigLIP) -> Table:
    """timm's VisionTransformer with ``global_pool="map"``, or ``"avg"`` and no norm after it."""
    return (Rule("attn_pool.latent", "pool.probe"), Rule("attn_pool.{p}", "pool.{p}"), *vit.timm(model))


def hf(model: SigLIP) -> Table:
    """Hugging Face's SiglipVisionModel, which has no classes; its pool is an nn.MultiheadAttention."""
    pool: Table = ()
    if isinstance(model.pool, AttentionPool):
        qkv = Inverted(Concat((model.pool.dim, 2 * model.pool.dim)))
        pool = (
            Rule("head.probe", "pool.probe"),
            Rule("head.attention.in_proj_weight", ("pool.q.weight", "pool.kv.weight"), qkv),
            Rule("head.attention.in_proj_bias", ("pool.q.bias", "pool.kv.bias"), qkv),
            Rule("head.attention.out_proj.{p}", "pool.proj.{p}"),
            Rule("head.layernorm.{p}", "pool.norm.{p}"),
            Rule("head.mlp.{p}", "pool.mlp.{p}"),
        )
    return (
        Rule("embeddings.position_embedding.weight", "stages.0.learned_position.table", Unsqueeze(0)),
        Rule("embeddings.patch_embedding.{p}", "embed.conv.{p}"),
        *within("encoder.layers.{b}", "stages.0.blocks.{b}", HF_SELF_ATTENTION_BLOCK),
        Rule("post_layernorm.{p}", "norm.{p}"),
        *pool,
        Rule("classifier.{p}", "head.{p}"),
    )


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "hf": hf}
