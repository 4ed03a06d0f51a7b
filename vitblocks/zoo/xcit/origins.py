"""How timm's XCiT is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

from ...border import Origin, activation_of, rate_of, refuse_unless, timm
from ...pool import MeanPool

if TYPE_CHECKING:
    from ...model import Model


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's Xcit, as long as its class token is there. It takes every size."""
    refuse_unless(module.global_pool in ("token", "avg"), module, "global_pool", module.global_pool)
    refuse_unless(module.cls_attn_blocks is not None, module, "cls_attn_blocks", None)
    timm.refuse_batch_norms(module)
    blocks, class_blocks = timm.named("blocks", module.blocks), timm.named("cls_attn_blocks", module.cls_attn_blocks)
    settings, of_class = timm.alike(module, blocks, _block), timm.alike(module, class_blocks, _class_block)
    norm_patches = of_class.pop("norm_patches")
    drop_path = settings.pop("drop_path")
    for name, value in of_class.items():
        refuse_unless(repr(value) == repr(settings[name]), module, f"{name} of cls_attn_blocks.0", value)
    own = settings.pop("head_dim") * settings["heads"]
    refuse_unless(own == settings["dim"], module, "channels of all heads", own)
    timm.same_norm(module, {"blocks.0.norm1": module.blocks[0].norm1, "norm": module.norm})
    embed, position = module.patch_embed, module.pos_embed
    activations = {repr(activation_of(part)) for part in embed.proj if not isinstance(part, nn.Sequential)}
    refuse_unless(activations == {repr(settings["activation"])}, module, "patch_embed.proj", activations)
    if position is not None:
        plain = (position.hidden_dim, position.temperature)
        refuse_unless(plain == (32, 10000), module, "pos_embed", plain)
    model = build(
        **settings,
        patch_size=embed.patch_size,
        image_size=embed.img_size,
        channels=embed.proj[0][0].in_channels,
        num_classes=timm.head(module),
        depth=len(blocks),
        cls_depth=len(class_blocks),
        norm_patches=norm_patches,
        positions=position is not None,
        drop_path=drop_path,
        emb_dropout=rate_of(module.pos_drop),
    )
    if module.global_pool == "avg":
        model.pool = MeanPool()
    return model


def _block(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    local = theirs.local_mp
    settings = timm.block(module, name, theirs, attentions=["XCA"], kinds=["XCABlock"])
    timm.same_norm(module, {f"{name}.norm1": theirs.norm1, f"{name}.norm3": theirs.norm3})
    sides = {(conv.kernel_size, conv.padding) for conv in (local.conv1, local.conv2)}
    refuse_unless(sides == {((3, 3), (1, 1))}, module, f"{name}.local_mp", sides)
    same = repr(activation_of(local.act)) == repr(settings["activation"])
    refuse_unless(same, module, f"{name}.local_mp.act", local.act)
    rates = {rate_of(getattr(theirs, f"drop_path{i}")) for i in (1, 2, 3)}
    refuse_unless(len(rates) == 1, module, f"drop path rates of {name}", rates)
    return {**settings, "drop_path": rates.pop()}


def _class_block(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    settings = timm.block(module, name, theirs, attentions=["ClassAttn"], kinds=["ClassAttentionBlock"])
    refuse_unless(isinstance(theirs.gamma1, nn.Parameter), module, f"{name}.gamma1", theirs.gamma1)
    rates = {rate_of(theirs.drop_path1), rate_of(theirs.drop_path2)}
    refuse_unless(rates == {0.0}, module, f"drop path rates of {name}", rates)
    return {**settings, "norm_patches": theirs.tokens_norm}


ORIGINS = {"timm.models.xcit.Xcit": Origin("timm", read_timm)}
