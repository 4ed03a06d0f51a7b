"""T2T-ViT."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import T2TViT
from vitblocks.zoo.t2t import TokenTransformer, token_performer


def t2t(config: Config) -> T2TViT:
    dim, layers = config["embed_dim"], {"performer": token_performer, "transformer": TokenTransformer}
    return T2TViT(
        image_size=config["img_size"],
        num_classes=config["num_classes"],
        channels=config.get("in_chans", 3),
        dim=dim,
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_dim=int(dim * config["mlp_ratio"]),
        token_dim=config.get("token_dim", 64),
        token_layer=layers[config.only("tokens_type", *layers)],
        qkv_bias=config.get("qkv_bias", False),
        attn_scale=config.get("qk_scale"),
    )


def split_tokens(model: Any, case: Case) -> Tensor:
    """The tokens after the last soft split and its projection, before the class token."""
    x, grid = model.embed(case.input)
    for stage in model.stages[:-1]:
        x, grid = stage(x, grid)
    backbone = model.stages[-1]
    x, grid = backbone.transition(x, grid)
    return backbone.layers[0](x, grid)[:, :4, :8]


BUILDERS = {("T2T-ViT", "official"): Builder(t2t, {"t2t_tokens": split_tokens})}
