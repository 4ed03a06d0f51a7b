"""Key maps of CrossViT."""

from __future__ import annotations

from ...checkpoint.rules import KeyMap, Rule, within
from ...checkpoint.transforms import Concat

# A model whose class tokens ask more than once in a block has no counterpart: the authors' code would drop the patches after the first.
_FUSION = (
    Rule("projs.{i}.{j}.{p}", "fusions.{i}.project.{j}.{p}"),
    Rule("fusion.{i}.norm1.{p}", "fusions.{i}.rounds.0.norm.{p}"),
    Rule("fusion.{i}.attn.wq.{p}", "fusions.{i}.rounds.0.layer.q.{p}"),
    Rule(("fusion.{i}.attn.wk.{p}", "fusion.{i}.attn.wv.{p}"), "fusions.{i}.rounds.0.layer.kv.{p}", Concat(2)),
    Rule("fusion.{i}.attn.proj.{p}", "fusions.{i}.rounds.0.layer.proj.{p}"),
    Rule("revert_projs.{i}.{j}.{p}", "fusions.{i}.revert.{j}.{p}"),
)

# In a branch that resizes the image the embedder is the second of a Sequential; the dagger models' embedder has several convolutions.
_COMMON = (
    Rule("patch_embed.{i}.proj.{2*j}.{p}", "embeds.{i}.1.conv.{j}.conv.{p}"),
    Rule("patch_embed.{i}.proj.{p}", "embeds.{i}.1.conv.{p}"),
    Rule("patch_embed.{i}.proj.{2*j}.{p}", "embeds.{i}.conv.{j}.conv.{p}"),
    Rule("patch_embed.{i}.proj.{p}", "embeds.{i}.conv.{p}"),
    Rule("blocks.{k}.blocks.{i}.{b}.{p}", "stages.{k}.towers.{i}.blocks.{b}.{p}"),
    *within("blocks.{k}", "stages.{k}", _FUSION),
    Rule("norm.{i}.{p}", "norms.{i}.{p}"),
    Rule("head.{i}.{p}", "head.heads.{i}.{p}"),
)

OFFICIAL = (
    Rule("cls_token.{i}", "starts.{i}.class_token.token"),
    Rule("pos_embed.{i}", "starts.{i}.learned_position.table"),
    *_COMMON,
)

TIMM = (
    Rule("cls_token_{i}", "starts.{i}.class_token.token"),
    Rule("pos_embed_{i}", "starts.{i}.learned_position.table"),
    *_COMMON,
)

LAYOUTS: dict[str, KeyMap] = {"official": OFFICIAL, "timm": TIMM}
