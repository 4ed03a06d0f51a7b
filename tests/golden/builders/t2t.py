"""T2T-ViT."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder
from vitblocks import T2TViT
from vitblocks.zoo.t2t import TokenTransformer, token_performer


def t2t(config: dict[str, Any]) -> T2TViT:
    dim = config["embed_dim"]
    return T2TViT(
        image_size=config["img_size"],
        num_classes=config["num_classes"],
        dim=dim,
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_dim=int(dim * config["mlp_ratio"]),
        token_dim=config["token_dim"],
        token_layer={"transformer": TokenTransformer, "performer": token_performer}[config["tokens_type"]],
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
