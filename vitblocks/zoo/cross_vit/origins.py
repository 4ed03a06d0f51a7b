"""How timm's CrossViT is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from ...border import Origin, rate_of, refuse_unless, timm
from ...embed import ConvEmbed
from ...grid import Size
from ...pool import MeanPool
from ...residual import DropPath
from .parts import Rescale, ResizeTo, ThreeConvStem

if TYPE_CHECKING:
    from .model import CrossViT


def read_timm(build: Callable[..., CrossViT], module: Any) -> CrossViT:
    """timm's CrossVit of two branches, whose class tokens ask once in each block. Every image is resized to the size of each branch."""
    refuse_unless(module.num_branches == 2, module, "num_branches", module.num_branches)
    refuse_unless(module.global_pool in ("token", "avg"), module, "global_pool", module.global_pool)
    refuse_unless(not module.crop_scale, module, "crop_scale", True)
    towers = [
        {
            f"blocks.{k}.blocks.{i}.{j}": block
            for k, stage in enumerate(module.blocks)
            for j, block in enumerate(_tower(module, stage, i))
        }
        for i in range(2)
    ]
    settings, each = timm.by_stage(module, towers, timm.block, own=("dim", "heads", "mlp_dim"))
    activation = settings.pop("activation")
    refuse_unless(activation is nn.GELU, module, "activation of its blocks", activation)
    rest = {name: settings[name] for name in ("norm", "qkv_bias", "dropout", "attn_dropout")}
    asks = [_fusions(module, i, rest) for i in range(2)]
    timm.same_norm(module, {"blocks.0.blocks.0.0.norm1": module.blocks[0].blocks[0][0].norm1, **_norms(module)})
    classes = [timm.head(module.head, str(i)) for i in range(2)]
    refuse_unless(classes[0] == classes[1], module, "classes of both heads", classes)
    timm.refuse_rate(module, "drop_rate", module.head_drop)
    rates = [rate for _, rate in _rates(module)]
    model = build(
        **settings,
        **_branches(module, each),
        image_size=module.img_size,
        num_classes=classes[0],
        channels=_convolution(module, 0).in_channels,
        depth=len(module.blocks),
        cross_attn_heads=(asks[0], asks[1]),
        emb_dropout=rate_of(module.pos_drop),
        stem=_stem(module),
        drop_path=max(rates),
    )
    for (name, rate), (_, ours) in zip(_rates(module), model.blocks(), strict=True):
        own = next(part.rate for part in ours.modules() if isinstance(part, DropPath))
        refuse_unless(abs(own - rate) < 1e-6, module, f"drop path rate of {name}", rate)
    _resize_images(model, module.img_size_scaled)
    if module.global_pool == "avg":
        model.pool = MeanPool()
    return model


def _resize_images(model: CrossViT, sizes: Sequence[Size]) -> None:
    """Have every image resized to the size of each branch."""
    for i, size in enumerate(sizes):
        embed = model.embeds[i]
        model.embeds[i] = nn.Sequential(ResizeTo(size), embed[1] if isinstance(embed, nn.Sequential) else embed)


def as_timm(name: str, make: Callable[..., CrossViT]) -> CrossViT:
    """timm's resizes every image to the size of each branch; here positions are resized."""
    model = make()
    own = [next((part.size for part in embed.modules() if isinstance(part, Rescale)), None) for embed in model.embeds]
    _resize_images(model, [model.image_size if size is None else size for size in own])
    return model


def _tower(module: Any, stage: Any, i: int) -> Any:
    refuse_unless(len(stage.blocks) == 2, module, "depth of a branch", len(stage.blocks))
    return stage.blocks[i]


def _fusions(module: Any, i: int, wanted: dict[str, Any]) -> int:
    """The heads of the fusions of a branch, which have the settings of the blocks."""
    fusions = {f"blocks.{k}.fusion.{i}": stage.fusion[i] for k, stage in enumerate(module.blocks)}
    own = timm.alike(module, fusions, _fusion)
    heads = int(own.pop("heads"))
    for name, value in own.items():
        refuse_unless(repr(value) == repr(wanted[name]), module, f"{name} of blocks.0.fusion.{i}", value)
    return heads


def _fusion(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    refuse_unless(type(theirs).__name__ == "CrossAttentionBlock", module, name, type(theirs).__name__)
    attn = theirs.attn
    return {
        "heads": attn.num_heads,
        "norm": timm.same_norm(module, {f"{name}.norm1": theirs.norm1}),
        "qkv_bias": attn.wq.bias is not None,
        "dropout": rate_of(attn.proj_drop),
        "attn_dropout": rate_of(attn.attn_drop),
    }


def _norms(module: Any) -> dict[str, nn.Module]:
    """The norms of projections, and the last."""
    projections = {
        f"blocks.{k}.{name}.{i}.0": getattr(stage, name)[i][0]
        for k, stage in enumerate(module.blocks)
        for name in ("projs", "revert_projs")
        for i in range(2)
    }
    return {**projections, "norm.0": module.norm[0], "norm.1": module.norm[1]}


def _rates(module: Any) -> Iterator[tuple[str, float]]:
    """The drop path rate of every block and fusion, in the order of ``CrossViT.blocks``."""
    for k, stage in enumerate(module.blocks):
        for i, tower in enumerate(stage.blocks):
            for j, block in enumerate(tower):
                yield (name := f"blocks.{k}.blocks.{i}.{j}"), timm.drop_rates(module, name, block)
        for i, fusion in enumerate(stage.fusion):
            yield (name := f"blocks.{k}.fusion.{i}"), timm.drop_rates(module, name, fusion)


def _branches(module: Any, each: dict[str, list[Any]]) -> dict[str, Any]:
    """The keywords of both branches, by their prefixes."""
    return {
        f"{prefix}_{name}": value
        for i, prefix in enumerate(("sm", "lg"))
        for name, value in {
            "dim": each["dim"][i],
            "enc_heads": each["heads"][i],
            "enc_mlp_dim": each["mlp_dim"][i],
            "enc_depth": [len(stage.blocks[i]) for stage in module.blocks],
            "patch_size": module.patch_embed[i].patch_size,
            "image_size": module.img_size_scaled[i],
        }.items()
    }


def _convolution(module: Any, i: int) -> Any:
    proj = module.patch_embed[i].proj
    return proj[0] if isinstance(proj, nn.Sequential) else proj


def _stem(module: Any) -> Any:
    kinds = {isinstance(embed.proj, nn.Sequential) for embed in module.patch_embed}
    refuse_unless(len(kinds) == 1, module, "patch_embed", kinds)
    return ThreeConvStem if kinds.pop() else ConvEmbed


ORIGINS = {"timm.models.crossvit.CrossVit": Origin("timm", read_timm)}
