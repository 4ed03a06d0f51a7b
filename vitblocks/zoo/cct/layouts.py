"""Key maps of CCT, CVT and ViT-Lite."""

from __future__ import annotations

from ...checkpoint.rules import KeyMap, Rule, within

BLOCK = (
    Rule("pre_norm.{p}", "norm1.{p}"),
    Rule("self_attn.{p}", "attn.{p}"),
    Rule("norm1.{p}", "norm2.{p}"),
    Rule("linear1.{p}", "mlp.fc1.{p}"),
    Rule("linear2.{p}", "mlp.fc2.{p}"),
)

OFFICIAL = (
    Rule("tokenizer.conv_layers.{i}.0.{p}", "embed.conv.{i}.conv.{p}"),
    Rule("tokenizer.conv_layers.0.0.{p}", "embed.conv.{p}"),
    Rule("classifier.class_emb", "stages.0.class_token.token"),
    Rule("classifier.positional_emb", "stages.0.learned_position.table"),
    Rule("classifier.positional_emb", "stages.0.sine_position1d.table"),
    *within("classifier.blocks.{b}", "stages.0.blocks.{b}", BLOCK),
    Rule("classifier.norm.{p}", "norm.{p}"),
    Rule("classifier.attention_pool.{p}", "pool.logit.{p}"),
    Rule("classifier.fc.{p}", "head.{p}"),
)

LAYOUTS: dict[str, KeyMap] = {"official": OFFICIAL}
