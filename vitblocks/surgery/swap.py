"""Swap the attention of a model for another kind, weights and all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from ..attention import Attention
from .build import To, check_kind, finish, is_shared, make_attention, parts_of
from .carry import Ledger, carry_over
from .report import Drift, LayerSwap, Replacement, SwapReport
from .run import Outputs, drift_between, outputs, tracing
from .select import Where, select_attentions
from .start import start_neutral


def swap_attention(
    model: nn.Module,
    to: To,
    where: Where = None,
    sample: Tensor | None = None,
    **options: Any,
) -> SwapReport:
    """Replace attentions of a model in place by another kind, carrying their weights over.

    Projections of queries, keys, values and outputs are carried, from and to fused and separate ones; so are position parts whose
    offsets mean the same in both kinds, and the parameters of an Attend or of a kind's own convolutions where both have the same. A
    carried parameter stays trained or frozen; where several become one, it is trained if one of them was. What the new kind has and
    the old had not is trained, and starts so that the function is kept where the mathematics allows: mixes of heads at the identity,
    norms at the identity in evaluation, position biases at zero (also a ``position_bias`` given here), depthwise convolutions at a
    delta, a reducing convolution at the mean of its patch. ``init_std`` among the options leaves the mixes as it makes them.

    Either everything succeeds or the model keeps the very modules it had. An optimizer made before still holds the old parameters.

    Args:
        model: any module that holds attentions (:class:`~vitblocks.attention.Attention`); poolers and downsamplers are left alone.
        to: an attention class, made as ``to(dim, heads, head_dim=, **options)`` with the sizes, dropout rates and logit scale of the
            old; or a function ``old -> new``, whose settings are kept as it made them.
        where: None for all attentions in the model's blocks; a pattern (``fnmatch``) on their names; a depth, or a slice or
            collection of depths, counting blocks; or a function ``(name, module) -> bool``.
        sample: images on the model's device, to check that the changed model runs, and to measure how far it moved. Without them
            nothing is run: a kind that does not fit its place (a window's regional token that is not there, a grid smaller than a
            reduction) then shows only in the first forward.
        options: arguments for the class; a module among them is copied for each layer.

    Raises:
        TypeError: ``to`` or ``where`` is of no use, or a projection is of a kind that cannot be carried.
        ValueError: nothing matches; widths differ; or the changed model fails on the sample. The message names the layer. Other
            errors come as RuntimeError, with the original as their cause.
    """
    check_kind(to, options)
    picked = select_attentions(model, where)
    owned = {id(part) for part in parts_of(model)}
    swaps = [_prepare(model, name, old, to, options, owned) for name, old in picked]
    replacements = [replacement for replacement, _ in swaps]
    report = SwapReport([_layer(*swap) for swap in swaps], replacements=replacements)
    before = None if sample is None else _run_before(model, sample)
    try:
        for replacement in replacements:
            replacement.install()
        if sample is not None and before is not None:
            report.drift = _check(model, sample, before, replacements)
    except BaseException:
        for replacement in replacements:
            replacement.restore()
        raise
    return report


def _prepare(
    model: nn.Module, name: str, old: Attention, to: To, options: dict[str, Any], owned: set[int]
) -> tuple[Replacement, Ledger]:
    """The successor of one attention, filled but not yet in place; ``owned`` are the ids of parts that others hold."""
    if old is model:
        raise ValueError(f"the model is itself a {type(old).__name__}: there is no module to put another into")
    with _naming(f"{name} ({type(old).__name__})"):
        new = make_attention(old, to, options)
        if is_shared(new, owned):
            new = deepcopy(new)
        finish(new, old)
        start_neutral(new, keep_mixes="init_std" in options)
        ledger = carry_over(old, new)
    owned.update(id(part) for part in parts_of(new))
    places = [(parent, child) for parent in model.modules() for child, m in parent._modules.items() if m is old]
    return Replacement(name, old, new, places), ledger


def _layer(replacement: Replacement, ledger: Ledger) -> LayerSwap:
    old, new = replacement.old, replacement.new
    before, after = old.state_dict(), new.state_dict()
    dropped = [key for key in before if key not in ledger.read]
    # A rotary position has no tensors, yet losing it changes the function.
    if getattr(old, "rotary", None) is not None and getattr(new, "rotary", None) is None:
        dropped.append("rotary")
    return LayerSwap(
        name=replacement.name,
        old_kind=type(old).__name__,
        new_kind=type(new).__name__,
        carried=[key for key in after if key in ledger.filled],
        new=[key for key in after if key not in ledger.filled],
        dropped=dropped,
        parameters_before=sum(parameter.numel() for parameter in old.parameters()),
        parameters_after=sum(parameter.numel() for parameter in new.parameters()),
    )


def _run_before(model: nn.Module, sample: Tensor) -> Outputs:
    with _naming("the model as it was, on the sample"):
        return outputs(model, sample)


def _check(model: nn.Module, sample: Tensor, before: Outputs, replacements: list[Replacement]) -> Drift:
    """Run the changed model.

    Raises:
        ValueError: it fails, changes the shape of its outputs, or does not call an attention as the layer it is.
    """
    with tracing(replacements) as trace:
        try:
            after = outputs(model, sample)
        except Exception as error:
            raise _named(error, f"{trace.place} fails on a sample of shape {tuple(sample.shape)}") from error
    for replacement in trace.bypassed(replacements):
        raise ValueError(
            f"{replacement.title}: the block around it does not call it but its parts, so that only a kind "
            f"with the forward of {type(replacement.old).__name__} can take its place"
        )
    if after.logits.shape != before.logits.shape:
        raise ValueError(
            f"{', '.join(r.title for r in replacements)}: the logits changed their shape from "
            f"{tuple(before.logits.shape)} to {tuple(after.logits.shape)}"
        )
    return drift_between(before, after)


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Let errors say where they come from."""
    try:
        yield
    except Exception as error:
        raise _named(error, what) from error


def _named(error: Exception, what: str) -> Exception:
    """The error with ``what`` before its message: a ValueError or TypeError stays one, all else becomes a RuntimeError."""
    kind = next((kind for kind in (ValueError, TypeError) if isinstance(error, kind)), RuntimeError)
    return kind(f"{what}: {error}")
