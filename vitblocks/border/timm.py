"""Settings that several of timm's models have, under the names that our constructors give them. It imports nothing of timm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from ..embed import ConvEmbed
from ..norm import NormFactory
from ..residual import drop_path_schedule
from .settings import activation_of, norm_of, rate_of, refuse_unless

Blocks = Mapping[str, Any]
Read = Callable[[nn.Module, str, Any], dict[str, Any]]


def named(name: str, blocks: Sequence[Any]) -> dict[str, Any]:
    """Blocks of a list by their names: ``{"blocks.0": ...}``."""
    return {f"{name}.{i}": block for i, block in enumerate(blocks)}


def alike(module: nn.Module, blocks: Blocks, read: Read) -> dict[str, Any]:
    """What ``read`` gives for all ``blocks``, which must be the same.

    Raises:
        ValueError: there is no block, or one has other settings than the first.
    """
    refuse_unless(bool(blocks), module, "blocks", [])
    found = {name: read(module, name, block) for name, block in blocks.items()}
    wanted = next(iter(found.values()))
    for name, settings in found.items():
        for key, value in settings.items():
            refuse_unless(repr(value) == repr(wanted[key]), module, f"{key} of {name}", value)
    return wanted


def by_stage(
    module: nn.Module, stages: Sequence[Blocks], read: Read, own: Sequence[str]
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What ``read`` gives for the blocks of several stages: ``(settings that all share, {name in own: one for each stage})``.

    The channels of all heads must be those of the stage; they are told by no other setting.
    """
    found = [alike(module, blocks, read) for blocks in stages]
    for s, settings in enumerate(found):
        width = settings["heads"] * settings.pop("head_dim")
        refuse_unless(width == settings["dim"], module, f"channels of all heads in stage {s}", width)
    each = {name: [settings.pop(name) for settings in found] for name in own}
    return alike(module, named("stage", found), lambda *place: dict(place[-1])), each


def mlp(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    """Of timm's ``Mlp``."""
    refuse_unless(type(theirs).__name__ == "Mlp", module, name, type(theirs).__name__)
    refuse_identity(module, f"{name}.norm", getattr(theirs, "norm", None))
    refuse_unless(theirs.fc1.bias is not None and theirs.fc2.bias is not None, module, f"bias of {name}", None)
    refuse_unless(isinstance(theirs.fc1, nn.Linear), module, f"{name}.fc1", theirs.fc1)
    rates = (rate_of(theirs.drop1), rate_of(theirs.drop2))
    refuse_unless(rates[0] == rates[1], module, f"drop rates of {name}", rates)
    return {"mlp_dim": theirs.fc1.out_features, "activation": activation_of(theirs.act), "dropout": rates[0]}


def attention(
    module: nn.Module, name: str, theirs: Any, kinds: Sequence[str] = ("Attention",), read: Sequence[str] = ()
) -> dict[str, Any]:
    """Of an attention with ``qkv`` or ``q``, ``attn_drop``, ``proj`` and ``proj_drop``, of a class that is named.

    Further parts are refused but for those that the caller says it will ``read``.
    """
    refuse_unless(type(theirs).__name__ in kinds, module, name, type(theirs).__name__)
    for part in ("q_norm", "k_norm", "norm", "gate"):
        if part in read:
            continue
        refuse_identity(module, f"{name}.{part}", getattr(theirs, part, None))
    refuse_unless(theirs.proj.bias is not None, module, f"bias of {name}.proj", None)
    projection, parts = (theirs.qkv, 3) if hasattr(theirs, "qkv") else (theirs.q, 1)
    head_dim = projection.out_features // (parts * theirs.num_heads)
    scale = getattr(theirs, "scale", head_dim**-0.5)
    refuse_unless(abs(scale * head_dim**0.5 - 1) < 1e-6, module, f"{name}.scale", scale)
    return {
        "heads": theirs.num_heads,
        "head_dim": head_dim,
        "qkv_bias": projection.bias is not None,
        "dropout": rate_of(theirs.proj_drop),
        "attn_dropout": rate_of(theirs.attn_drop),
    }


def qk_norm(module: nn.Module, name: str, theirs: Any) -> NormFactory | None:
    """The factory of an attention's norms of queries and keys; None of none."""
    if isinstance(theirs.q_norm, nn.Identity) and isinstance(theirs.k_norm, nn.Identity):
        return None
    return same_norm(module, {f"{name}.{part}": getattr(theirs, part) for part in ("q_norm", "k_norm")})


def block(
    module: nn.Module,
    name: str,
    theirs: Any,
    attentions: Sequence[str] = ("Attention",),
    kinds: Sequence[str] = ("Block",),
    read: Sequence[str] = (),
) -> dict[str, Any]:
    """Of a pre-norm block with ``norm1``, ``attn``, ``norm2`` and ``mlp``, of a class that is named; see :func:`attention`."""
    refuse_unless(type(theirs).__name__ in kinds, module, name, type(theirs).__name__)
    attn = attention(module, f"{name}.attn", theirs.attn, attentions, read)
    feedforward = mlp(module, f"{name}.mlp", theirs.mlp)
    rates = (attn["dropout"], feedforward["dropout"])
    refuse_unless(rates[0] == rates[1], module, f"drop rates of {name}", rates)
    norm = same_norm(module, {f"{name}.norm1": theirs.norm1, f"{name}.norm2": theirs.norm2})
    return {"dim": theirs.attn.proj.out_features, "norm": norm, **attn, **feedforward}


def same_norm(module: nn.Module, theirs: Mapping[str, nn.Module]) -> NormFactory:
    """The factory of norms by their names, which must differ in their channels alone."""
    factories = {name: norm_of(norm) for name, norm in theirs.items()}
    first = next(iter(factories.values()))
    for name, factory in factories.items():
        refuse_unless(repr(factory) == repr(first), module, name, theirs[name])
    return first


def last_norm(module: Any) -> tuple[str, bool]:
    """Of Eva and Beit: the one last norm, ``norm`` of all tokens or ``fc_norm`` of what is pooled, and whether the class token is read."""
    last = [name for name in ("norm", "fc_norm") if not isinstance(getattr(module, name), nn.Identity)]
    refuse_unless(len(last) == 1, module, "last norms", last)
    same_norm(module, {"blocks.0.norm1": module.blocks[0].norm1, last[0]: module.get_submodule(last[0])})
    by_class = module.global_pool == "token"
    refuse_unless(by_class or module.global_pool == "avg", module, "global_pool", module.global_pool)
    refuse_unless(not (by_class and last == ["fc_norm"]), module, "fc_norm", module.fc_norm)
    return last[0], by_class


def patches(module: nn.Module, embed: Any, *, normed: bool = False, bias: bool = True) -> dict[str, Any]:
    """Of timm's ``PatchEmbed``, whose norm is refused unless ``normed``, and whose convolution has a ``bias`` or none."""
    refuse_unless(type(embed).__name__ == "PatchEmbed", module, "patch_embed", type(embed).__name__)
    if not normed:
        refuse_identity(module, "patch_embed.norm", embed.norm)
    conv = embed.proj
    refuse_unless((conv.bias is not None) == bias, module, "patch_embed.proj.bias", conv.bias)
    refuse_unless(conv.stride == conv.kernel_size and conv.padding == (0, 0), module, "patch_embed.proj", conv)
    settings = {"image_size": embed.img_size, "patch_size": conv.kernel_size, "channels": conv.in_channels}
    if embed.dynamic_img_pad:
        refuse_unless(not normed, module, "dynamic_img_pad", True)
        sizes = (conv.kernel_size, conv.out_channels)
        settings["embed"] = ConvEmbed(*sizes, channels=conv.in_channels, bias=bias, remainder="pad")
    return settings


def drop_path(module: nn.Module, blocks: Blocks) -> float:
    """The rate of the last block, where rates rise linearly from 0 and both branches of a block have the same."""
    rates = [drop_rates(module, name, theirs) for name, theirs in blocks.items()]
    schedule = drop_path_schedule(rates[-1], len(rates))
    same = all(abs(a - b) < 1e-6 for a, b in zip(rates, schedule, strict=True))
    refuse_unless(same, module, "drop path rates", rates)
    return rates[-1]


def drop_rates(module: nn.Module, name: str, theirs: Any) -> float:
    """The drop path rate of a block, one for both branches."""
    rates = {rate_of(part) for key in ("drop_path", "drop_path1", "drop_path2") if (part := getattr(theirs, key, None))}
    refuse_unless(len(rates) == 1, module, f"drop path rates of {name}", sorted(rates))
    return rates.pop()


def head(module: Any, name: str = "head") -> int:
    """How many classes a head has that is a Linear with a bias, or none; dropout before it is refused."""
    refuse_rate(module, "drop_rate", getattr(module, "head_drop", None))
    theirs = module.get_submodule(name)
    if isinstance(theirs, nn.Identity):
        return 0
    refuse_unless(isinstance(theirs, nn.Linear) and theirs.bias is not None, module, name, theirs)
    return int(theirs.out_features)


def classifier_head(module: Any, *, dropout: bool = False) -> int:
    """The classes of timm's ``ClassifierHead`` that takes the mean of all patches; 0 without a Linear.

    Its dropout is refused unless the caller says that it reads it.
    """
    theirs = module.head
    refuse_unless(type(theirs).__name__ == "ClassifierHead", module, "head", type(theirs).__name__)
    refuse_unless(theirs.global_pool.pool_type == "avg", module, "global_pool", theirs.global_pool.pool_type)
    if not dropout:
        refuse_rate(module, "drop_rate", theirs.drop)
    return head(theirs, "fc")


def refuse_batch_norms(module: nn.Module) -> None:
    """Refuse BatchNorms of another epsilon or momentum than PyTorch's own, or without running statistics."""
    for name, norm in module.named_modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            same = (norm.eps, norm.momentum) == (1e-5, 0.1) and norm.track_running_stats and norm.affine
            refuse_unless(same, module, name, norm)


def refuse_rate(module: nn.Module, name: str, dropout: nn.Module | None) -> None:
    """Refuse a dropout that drops."""
    refuse_unless(rate_of(dropout) == 0, module, name, rate_of(dropout))


def refuse_identity(module: nn.Module, name: str, theirs: Any) -> None:
    """Refuse a part that is there and computes something."""
    refuse_unless(theirs is None or isinstance(theirs, nn.Identity), module, name, theirs)


def ratio(module: nn.Module, hidden: Sequence[int], dims: Sequence[int]) -> float:
    """The one number that each of ``dims`` is multiplied by, and rounded down, to give ``hidden``."""
    least = max(h / dim for h, dim in zip(hidden, dims, strict=True))
    most = min((h + 1) / dim for h, dim in zip(hidden, dims, strict=True))
    fits = [r for r in (least, (least + most) / 2) if [int(dim * r) for dim in dims] == [*hidden]]
    refuse_unless(bool(fits), module, f"hidden widths for channels {[*dims]}", [*hidden])
    return fits[0]
