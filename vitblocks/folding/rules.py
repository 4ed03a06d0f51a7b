"""Rules that take one module's arithmetic into another's weights: the same function, by fewer steps, on any device and in any dtype."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn

from ..attention import QVBiasLinear
from ..feedforward import QuickGELU
from ..norm import BatchNorm
from ..residual import LayerScale, Shortcut
from .affine import (
    Affine,
    Linear,
    batch_norm_affine,
    can_precede,
    factor,
    follow,
    is_linear,
    precede,
    token_norm_affine,
    without_affine,
)
from .declared import behaves_as, child
from .owners import Owners
from .reading import is_idle, is_sequence, known, last_linear, readers, writer
from .report import Fold


def leave_out_dropout(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """Dropout, drop path and what else does nothing in evaluation."""
    for module in list(model.modules()):
        for name, inner in list(module.named_children()):
            if type(inner) is not nn.Identity and is_idle(inner) and owners.alone(inner):
                _replace(module, name, _idle_as(inner))
                yield Fold("dropout left out", owners.name(inner), owners.name(module))


def _idle_as(module: nn.Module) -> nn.Identity:
    """An Identity with the settings of a module, such as the rate of dropout: forwards of other packages ask for them."""
    idle = nn.Identity()
    for name, value in vars(module).items():
        if not name.startswith("_"):
            setattr(idle, name, value)
    return idle


def bias_of_keys(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """A projection whose keys have no bias becomes a Linear, whose bias of the keys is zero: other rules see a Linear."""
    for module in list(model.modules()):
        for name, inner in list(module.named_children()):
            if behaves_as(inner, QVBiasLinear) and owners.alone(inner) and owners.alone(inner.linear):
                _replace(module, name, inner.to_linear())
                yield Fold("biases of queries and values as one", owners.name(inner), owners.name(module))


def fold_batch_norms(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """A BatchNorm next to a convolution, a linear or a mix of heads, in a Sequential or where a part declares them ``chained``."""
    for module in list(model.modules()):
        if is_sequence(module):
            yield from _in_sequence(module, owners)
        for first, norm in (known(module, "chained") or {}).items():
            linear = last_linear(child(module, first))
            if linear is not None and _norms(child(module, norm), linear, chained=True):
                yield from _fold_after(module, linear, norm, owners)


def _norms(norm: nn.Module | None, linear: Linear, *, chained: bool = False) -> bool:
    """Whether a BatchNorm of this type norms the channels that the linear gives; where a part says so, as tokens too."""
    if isinstance(linear, nn.Linear):
        return behaves_as(norm, BatchNorm)
    if isinstance(linear, nn.Conv1d):
        return behaves_as(norm, nn.BatchNorm1d)
    return behaves_as(norm, nn.BatchNorm2d) or (chained and behaves_as(norm, BatchNorm))


def _in_sequence(sequence: nn.Sequential, owners: Owners) -> Iterator[Fold]:
    inner = [(name, module) for name, module in sequence.named_children() if not is_idle(module)]
    for (before, first), (after, second) in pairwise(inner):
        if is_linear(first) and _norms(second, first):
            yield from _fold_after(sequence, first, after, owners)
        elif is_linear(second) and _norms(first, second):
            affine = batch_norm_affine(first)
            if affine is not None and can_precede(second, affine) and owners.alone(first, second):
                precede(second, affine)
                _replace(sequence, before, nn.Identity())
                yield Fold("BatchNorm into the linear after it", owners.name(first), owners.name(second))


def _fold_after(parent: nn.Module, linear: Linear, name: str, owners: Owners) -> Iterator[Fold]:
    norm = child(parent, name)
    affine = batch_norm_affine(norm)
    if norm is None or affine is None or not owners.alone(linear, norm):
        return
    follow(linear, affine)
    _replace(parent, name, nn.Identity())
    named = {nn.Linear: "linear", nn.Conv1d: "convolution", nn.Conv2d: "convolution"}
    what = next((word for kind, word in named.items() if isinstance(linear, kind)), type(linear).__name__)
    yield Fold(f"BatchNorm into the {what} before it", owners.name(norm), owners.name(linear))


def unscale(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """Parts ``scaled_by s``: a LayerNorm of ``s * x`` is one of ``x`` with ``eps / s**2``, projections take in ``1 / s``."""
    for parent in list(model.modules()):
        for name, block in list(parent.named_children()):
            attribute = known(block, "scaled_by")
            if attribute is None or not owners.alone(block):
                continue
            scale, normed = float(getattr(block, attribute)), known(block, "normed") or {}
            norms = [child(block, norm) for norm in normed]
            writers = [linear for layer in normed.values() if (linear := writer(child(block, layer))) is not None]
            layer_norms = [norm for norm in norms if behaves_as(norm, nn.LayerNorm)]
            if not norms or not len(normed) == len(writers) == len(layer_norms):
                continue
            for linear in writers:
                follow(linear, factor(linear.weight.shape[0], 1 / scale, linear))
            for norm in layer_norms:
                norm.eps = norm.eps / scale**2
            _replace(parent, name, cast(Any, block).unscaled())
            yield Fold("rescaling into the norms and projections", owners.name(block), owners.name(block))


def fold_token_norms(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """The learned part of a norm goes into the linears after it, where a part declares that nothing else reads what the norm gives."""
    for module in list(model.modules()):
        for name, layer in (known(module, "normed") or {}).items():
            norm, linears = child(module, name), readers(child(module, layer))
            affine = token_norm_affine(norm)
            if norm is None or affine is None or not linears or not owners.alone(norm, *linears):
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
        for name, layer in (known(module, "shortcuts") or {}).items():
            shortcut, linear = child(module, name), writer(child(module, layer))
            if linear is None or not behaves_as(shortcut, Shortcut):
                continue
            scale = shortcut.scale
            if not behaves_as(scale, LayerScale) or not owners.alone(shortcut, linear):
                continue
            weight = scale.weight.double()
            follow(linear, Affine(weight, torch.zeros_like(weight)))
            _replace(shortcut, "scale", nn.Identity())
            yield Fold("layer scale into the projection", owners.name(scale), owners.name(linear))


def fold_quick_gelu(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """``x * sigmoid(1.702 x)`` is ``SiLU(1.702 x) / 1.702``: both factors go into the linears around it."""
    for module in list(model.modules()):
        first, name, second = known(module, "activated") or ("", "", "")
        act = child(module, name) if name else None
        if not behaves_as(act, QuickGELU):
            continue
        before, after = writer(child(module, first)), readers(child(module, second))
        if before is None or len(after) != 1 or not isinstance(after[0], nn.Linear):
            continue
        if owners.alone(act, before, *after):
            follow(before, factor(before.weight.shape[0], 1.702, before))
            precede(after[0], factor(after[0].in_features, 1 / 1.702, after[0]))
            _replace(module, name, nn.SiLU())
            yield Fold("QuickGELU's factor into the linears around it", owners.name(act), owners.name(before))


def _replace(parent: nn.Module, name: str, new: nn.Module) -> None:
    new.train(parent.training)
    setattr(parent, name, new)
