"""Rules that take one module's arithmetic into another's weights: the same function, by fewer steps, on any device and in any dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeAlias, cast

import torch
from torch import nn

from ..attention import ReAttend, ReducedAttention
from ..attention.conv_projection import ConvProjection
from ..attention.talking_heads import HeadMix
from ..block import Block, RescaledBlock
from ..embed.adaptors import Downsample, MapEmbed
from ..feedforward import ConvFeedForward, GatedMlp, Mlp, QuickGELU
from ..norm import BatchNorm, LinearNorm
from ..residual import DropPath, LayerScale, Shortcut
from .affine import (
    LAYER_NORMS,
    Affine,
    Linear,
    batch_norm_affine,
    can_precede,
    follow,
    is_linear,
    precede,
    token_norm_affine,
    without_affine,
)
from .owners import Owners
from .parts import NORMED, SHORTCUTS, behaves_as, child, first_linears, last_linear
from .report import Fold

Rule: TypeAlias = Callable[[nn.Module, Owners], Iterator[Fold]]

# (part, what comes first, the norm of all that it gives)
_CHAINED: list[tuple[type[nn.Module], str, str]] = [
    (ConvFeedForward, "conv1", "norm1"),
    (ConvFeedForward, "conv", "norm"),
    (ConvFeedForward, "conv2", "norm2"),
    (ConvProjection, "conv", "norm"),
    (MapEmbed, "conv", "norm"),
    (Downsample, "conv", "norm"),
    (ReducedAttention, "reduce", "norm"),
]


def apply_rules(model: nn.Module) -> list[Fold]:
    """Apply every rule to the model in place; a later rule sees what the earlier ones left."""
    owners = Owners(model)
    with torch.no_grad():
        return [done for rule in RULES for done in rule(model, owners)]


def leave_out_dropout(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """Dropout and drop path do nothing in evaluation."""
    for module in list(model.modules()):
        for name, inner in list(module.named_children()):
            if type(inner) in (nn.Dropout, nn.Dropout2d, DropPath) and owners.alone(inner):
                _replace(module, name, nn.Identity())
                yield Fold("dropout left out", owners.name(inner), owners.name(module))


def fold_linear_norms(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """A LinearNorm is a Linear."""
    for module in list(model.modules()):
        for name, inner in list(module.named_children()):
            if not behaves_as(inner, LinearNorm) or not owners.alone(inner):
                continue
            linear, affine = child(inner, "linear"), batch_norm_affine(child(inner, "norm"))
            if is_linear(linear) and affine is not None:
                follow(cast(Linear, linear), affine)
                _replace(module, name, linear)
                yield Fold("BatchNorm into the linear before it", f"{owners.name(inner)}.norm", owners.name(inner))


def fold_batch_norms(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """A BatchNorm next to a convolution or linear, in a Sequential or a part that is known."""
    for module in list(model.modules()):
        if behaves_as(module, nn.Sequential):
            yield from _in_sequence(module, owners)
        for part, first, norm in _CHAINED:
            if not behaves_as(module, part) or getattr(module, first) is None:
                continue
            linear = last_linear(child(module, first))
            if linear is not None and _norms(child(module, norm), linear, tokens=norm_is_of_tokens(part)):
                yield from _fold_after(module, linear, norm, owners)


def norm_is_of_tokens(part: type[nn.Module]) -> bool:
    """Whether the norm sees tokens ``(..., C)`` rather than the map ``(B, C, H, W)`` that the convolution gives."""
    return part in (MapEmbed, Downsample, ReducedAttention)


def _norms(norm: nn.Module, linear: Linear, *, tokens: bool) -> bool:
    """Whether a BatchNorm of this type norms the channels that the linear gives."""
    if tokens or isinstance(linear, nn.Linear):
        return type(norm) is BatchNorm
    return type(norm) is (nn.BatchNorm2d if isinstance(linear, nn.Conv2d) else nn.BatchNorm1d)


def _in_sequence(sequence: nn.Module, owners: Owners) -> Iterator[Fold]:
    inner = [(name, module) for name, module in sequence.named_children() if type(module) is not nn.Identity]
    for (before, first), (after, second) in pairwise(inner):
        if is_linear(first) and _norms(second, cast(Linear, first), tokens=False):
            yield from _fold_after(sequence, cast(Linear, first), after, owners)
        elif is_linear(second) and _norms(first, cast(Linear, second), tokens=False):
            affine, linear = batch_norm_affine(first), cast(Linear, second)
            if affine is not None and can_precede(linear, affine) and owners.alone(first, linear):
                precede(linear, affine)
                _replace(sequence, before, nn.Identity())
                yield Fold("BatchNorm into the linear after it", owners.name(first), owners.name(linear))


def _fold_after(parent: nn.Module, linear: Linear, name: str, owners: Owners) -> Iterator[Fold]:
    norm = child(parent, name)
    affine = batch_norm_affine(norm)
    if affine is None or not owners.alone(linear, norm):
        return
    follow(linear, affine)
    _replace(parent, name, nn.Identity())
    kind = "linear" if isinstance(linear, nn.Linear) else "convolution"
    yield Fold(f"BatchNorm into the {kind} before it", owners.name(norm), owners.name(linear))


def fold_re_attention(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """Re-attention's norm, and its factor, are affine maps of the mixed heads."""
    for attend in model.modules():
        if (
            not behaves_as(attend, ReAttend)
            or not behaves_as(child(attend, "mix"), HeadMix)
            or not owners.alone(attend)
        ):
            continue
        assert isinstance(attend, ReAttend)
        affine = batch_norm_affine(attend.norm)
        if affine is None:
            continue
        scale, shift = affine.scale * attend.weight_scale, affine.shift * attend.weight_scale
        weight, bias = attend.mix.weight, attend.mix.bias
        weight.copy_(weight.double() * scale[:, None])
        bias.copy_(bias.double() * scale + shift)
        yield Fold("BatchNorm into the mix of heads", f"{owners.name(attend)}.norm", f"{owners.name(attend)}.mix")
        _replace(attend, "norm", nn.Identity())
        attend.weight_scale = 1.0


def unscale_blocks(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """A rescaled block is a plain one: a LayerNorm of ``s * x`` is one of ``x`` with ``eps / s**2``, projections take in ``1 / s``."""
    for parent in list(model.modules()):
        for name, block in list(parent.named_children()):
            if not behaves_as(block, RescaledBlock) or not owners.alone(block):
                continue
            assert isinstance(block, RescaledBlock)
            writers = [last_linear(block.attn), last_linear(block.mlp)]
            norms = [block.norm1, block.norm2]
            if None in writers or not all(type(norm) in LAYER_NORMS for norm in norms):
                continue
            for linear in writers:
                assert linear is not None
                factor = linear.weight.new_full((linear.weight.shape[0],), 1 / block.scale, dtype=torch.float64)
                follow(linear, Affine(factor, torch.zeros_like(factor)))
            for norm in norms:
                assert isinstance(norm, nn.LayerNorm)
                norm.eps = norm.eps / block.scale**2
            _replace(parent, name, _as_block(block))
            yield Fold("rescaling into the norms and projections", owners.name(block), owners.name(block))


def _as_block(block: RescaledBlock) -> Block:
    """A plain block of the same parts."""
    plain = Block(1, block.attn, block.mlp)
    for name, part in block.named_children():
        setattr(plain, name, part)
    return plain


def fold_token_norms(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """The learned part of a norm goes into the linears after it, where nothing else reads what the norm gives."""
    for module in list(model.modules()):
        for part, name, reader in NORMED:
            if not behaves_as(module, part) or getattr(module, reader, None) is None or getattr(module, name) is None:
                continue
            norm, layer = child(module, name), child(module, reader)
            affine, linears = token_norm_affine(norm), first_linears(layer)
            if affine is None or linears is None or not owners.alone(norm, *linears):
                continue
            if not all(can_precede(linear, affine) for linear in linears):
                continue
            for linear in linears:
                precede(linear, affine)
            _replace(module, name, without_affine(norm))
            rule = f"{type(norm).__name__} into the linear after it"
            yield Fold(rule, owners.name(norm), " and ".join(owners.name(linear) for linear in linears))


def fold_layer_scale(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """Layer scale goes into the projection that ends the branch."""
    for module in list(model.modules()):
        for part, name, writer in SHORTCUTS:
            shortcut = getattr(module, name, None)
            if not behaves_as(module, part) or not behaves_as(shortcut, Shortcut):
                continue
            assert isinstance(shortcut, Shortcut)
            scale, linear = shortcut.scale, last_linear(child(module, writer))
            if type(scale) is not LayerScale or linear is None or not owners.alone(scale, linear):
                continue
            weight = scale.weight.double()
            follow(linear, Affine(weight, torch.zeros_like(weight)))
            _replace(shortcut, "scale", nn.Identity())
            yield Fold("layer scale into the projection", owners.name(scale), owners.name(linear))


def fold_quick_gelu(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """``x * sigmoid(1.702 x)`` is ``SiLU(1.702 x) / 1.702``: both factors go into the linears around it."""
    for module in list(model.modules()):
        if not (behaves_as(module, Mlp) or behaves_as(module, GatedMlp)) or type(child(module, "act")) is not QuickGELU:
            continue
        before = child(module, "fc1" if isinstance(module, Mlp) else "gate")
        after = child(module, "fc2")
        if type(before) is not nn.Linear or type(after) is not nn.Linear or not owners.alone(before, after):
            continue
        first, second = before, after
        follow(first, _factor(first.out_features, 1.702, first))
        precede(second, _factor(second.in_features, 1 / 1.702, second))
        name = owners.name(child(module, "act"))
        _replace(module, "act", nn.SiLU())
        yield Fold("QuickGELU's factor into the linears around it", name, owners.name(first))


def _factor(channels: int, value: float, like: nn.Linear) -> Affine:
    scale = torch.full((channels,), value, dtype=torch.float64, device=like.weight.device)
    return Affine(scale, torch.zeros_like(scale))


def _replace(parent: nn.Module, name: str, new: nn.Module) -> None:
    new.train(parent.training)
    setattr(parent, name, new)


# Norms that stand between linears go before those that precede them; a layer scale comes last, when its branch ends in a linear.
RULES: tuple[Rule, ...] = (
    leave_out_dropout,
    fold_linear_norms,
    fold_batch_norms,
    fold_re_attention,
    unscale_blocks,
    fold_token_norms,
    fold_quick_gelu,
    fold_layer_scale,
)
