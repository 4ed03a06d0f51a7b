"""How timm's CaiT is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ...border import Origin, rate_of, refuse_unless, timm
from ...pool import MeanPool

if TYPE_CHECKING:
    from ...model import Model


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's Cait, as long as its class token is there. Its class blocks may differ in their feed-forward alone."""
    refuse_unless(module.global_pool in ("token", "avg"), module, "global_pool", module.global_pool)
    refuse_unless(module.blocks_token_only is not None, module, "blocks_token_only", None)
    patch_blocks = timm.named("blocks", module.blocks)
    class_blocks = timm.named("blocks_token_only", module.blocks_token_only)
    talking = partial(timm.block, attentions=["TalkingHeadAttn"], kinds=["LayerScaleBlock"])
    asking = partial(timm.block, attentions=["ClassAttn"], kinds=["LayerScaleBlockClassAttn"])
    settings, of_class = timm.alike(module, patch_blocks, talking), timm.alike(module, class_blocks, asking)
    for name in settings.keys() - {"mlp_dim"}:
        same = repr(settings[name]) == repr(of_class[name])
        refuse_unless(same, module, f"{name} of blocks_token_only.0", of_class[name])
    timm.same_norm(module, {"blocks.0.norm1": module.blocks[0].norm1, "norm": module.norm})
    own = settings.pop("head_dim") * settings["heads"]
    refuse_unless(own == settings["dim"], module, "channels of all heads", own)
    rates = [timm.drop_rates(module, name, block) for name, block in (patch_blocks | class_blocks).items()]
    expected = [rates[0]] * len(patch_blocks) + [0.0] * len(class_blocks)
    refuse_unless(rates == expected, module, "drop path rates", rates)
    model = build(
        **timm.patches(module, module.patch_embed),
        **settings,
        num_classes=timm.head(module),
        depth=len(patch_blocks),
        cls_depth=len(class_blocks),
        cls_mlp_dim=of_class["mlp_dim"],
        layer_dropout=rates[0],
        emb_dropout=rate_of(module.pos_drop),
        layer_scale=1.0,  # any: weights come with the rest
    )
    if module.global_pool == "avg":
        model.pool = MeanPool()
    return model


ORIGINS = {"timm.models.cait.Cait": Origin("timm", read_timm)}
