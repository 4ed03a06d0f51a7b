"""Swap layers of a model for others of their family, weights and all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..inspect.twin import meta_twin
from .calibrate import calibrating, fresh_norms
from .count import Count, count, count_twin
from .family import Call
from .ledger import Ledger
from .norm import NORM
from .record import Record, check_records, describe_layer, keep, remade, undescribed
from .report import Replacement, SwapDrift, SwapReport, first_weight, layer_of
from .run import Outputs, Trace, drift_between, outputs, tracing
from .select import Order, To, Where, families_of, place_orders


def swap(
    model: nn.Module,
    family: str | type[nn.Module],
    to: To,
    where: Where = None,
    sample: Tensor | None = None,
    **options: Any,
) -> SwapReport:
    """Replace layers of a model in place by another kind of their family, carrying over what both have in common.

    The families, and what is kept of the function:

    - ``"attention"``: see :func:`swap_attention`.
    - ``"feedforward"``: Mlp, GatedMlp, ConvFeedForward. Both maps, the activation and the dropout are carried where the hidden widths
      agree. An Mlp as a GatedMlp, and back, is the same function. As a ConvFeedForward it is where there are no prefix tokens (their
      update is lost) and activating twice is activating once (ReLU); with another activation it is not.
    - ``"norm"``: LayerNorm, RMSNorm, BatchNorm. Scale, shift and epsilon are carried; the functions differ. A BatchNorm wants a sample
      for its statistics.
    - ``"position"``: LearnedPosition, SinePosition1d, SinePosition2d and PEG for one another. Sines become a learned table exactly, a
      PEG a larger one; between tables and a PEG nothing can be carried, and the new one starts as nothing. And RelativeBias,
      DistanceBias, DynamicBias and ClassRelativeBias, where attentions have one: exact into a table by offsets; by distances the mean
      of all directions; a DynamicBias starts at zero. (A bias for attentions without one is an option of :func:`swap_attention`.)
    - ``"pool"``: ClassPool, MeanPool, PrefixMeanPool, SequencePool, AttentionPool. A norm after pooling is kept. New weights start at
      the mean of all tokens: a MeanPool without prefix tokens becomes a SequencePool or an AttentionPool of the same function.

    A carried parameter stays trained or frozen; what is new is trained. Either everything succeeds or the model keeps the very modules
    it had. An optimizer made before still holds the old parameters. The model keeps a record of the swap (``report.config``), which
    :func:`vitblocks.checkpoint.save` writes with the weights and :func:`vitblocks.checkpoint.load_file` makes again.

    Args:
        model: any module that holds such layers.
        family: a name as above; or a class, which means its family and replaces its instances alone.
        to: a class of the family, made with the settings of the old layer; or a function ``old -> new``, whose settings are kept as it
            made them. What it returns must be of registered parts for :func:`~vitblocks.checkpoint.load_file` to make it again.
        where: None for all outside of the embedder; a pattern (``fnmatch``) on their names; a depth, or a slice or collection of depths,
            counting blocks, for those inside of blocks; or a function ``(name, module) -> bool``.
        sample: images on the model's device, to check that the changed model runs, to measure how far it moved, and to give new
            BatchNorms statistics, with which they do in training what they do in evaluation. Without them nothing is run but a count at
            the size that the model was made for, if it was made for one: a kind that does not fit its place may then show only in the
            first forward.
        options: arguments for the class; a module among them is copied for each layer.

    Raises:
        TypeError: ``family``, ``to`` or ``where`` is of no use, or a layer is of a kind that cannot be carried.
        ValueError: nothing matches; widths differ; or the changed model fails on the sample. The message names the layer. Other
            errors come as RuntimeError, with the original as their cause.
    """
    return carry_out(model, place_orders(model, family, to, where, options), sample)


def swap_attention(
    model: nn.Module,
    to: To,
    where: Where = None,
    sample: Tensor | None = None,
    **options: Any,
) -> SwapReport:
    """Replace attentions of a model in place by another kind, carrying their weights over: :func:`swap` of the family ``"attention"``.

    Projections of queries, keys, values and outputs are carried, from and to fused and separate ones; so are position parts whose
    offsets mean the same in both kinds, and the parameters of an Attend or of a kind's own convolutions where both have the same. A
    carried parameter stays trained or frozen; where several become one, it is trained if one of them was. What the new kind has and
    the old had not is trained, and starts so that the function is kept where the mathematics allows: mixes of heads at the identity,
    norms at the identity in evaluation, position biases at zero (also a ``position_bias`` given here), depthwise convolutions at a
    delta, a reducing convolution at the mean of its patch. ``init_std`` among the options leaves the mixes as it makes them.

    Poolers and downsamplers are left alone. A class is made as ``to(dim, heads, head_dim=, **options)`` with the sizes, dropout rates and
    logit scale of the old. Where a block does not call its attention but its parts (adaptive sampling), only a kind with the same
    forward can take its place. Arguments and errors: see :func:`swap`.
    """
    return swap(model, "attention", to, where, sample, **options)


def reapply(model: nn.Module, records: Sequence[Record]) -> list[SwapReport]:
    """Make swaps again from their records, on a model built as the swapped one was; all or none.

    The new layers are built from their descriptions, so that records from a file of anybody's make parts and nothing else.

    Raises:
        ValueError: one of them cannot be made again, or does not fit the model.
    """
    check_records(records)
    if lost := undescribed(records):
        raise ValueError(
            f"these layers cannot be made again; make the same swap by hand before loading: {'; '.join(lost)}"
        )
    reports: list[SwapReport] = []
    try:
        for record in records:
            reports.append(carry_out(model, list(_orders(model, record)), None, count_macs=False))
    except Exception:
        for report in reversed(reports):
            report.undo()
        raise
    return reports


def _orders(model: nn.Module, record: Record) -> Iterator[Order]:
    families = families_of(record["family"])
    for name, layer in record["layers"].items():
        try:
            old = model.get_submodule(name)
        except AttributeError as error:
            raise ValueError(f"the model has no layer {name} to swap: build it as it was before the swap") from error
        with _naming(name):
            family, make = remade(layer, old, families)
        yield Order(name, old, family, make, {})


def carry_out(
    model: nn.Module, orders: Sequence[Order], sample: Tensor | None, *, count_macs: bool = True
) -> SwapReport:
    """Make all replacements, or none."""
    names = [order.name for order in orders]
    counted = count(model, names, sample) if count_macs else Count(reason="it was not asked for")
    owned = {id(part) for part in parts_of(model)}
    swaps = [_prepare(model, order, counted.calls.get(order.name), owned) for order in orders]
    replacements = [replacement for replacement, _ in swaps]
    layers = [layer_of(replacement, ledger) for replacement, ledger in swaps]
    both = {r.name: {"old": describe_layer(r.old), "new": describe_layer(r.new)} for r, _ in swaps}
    config = {"family": orders[0].family.name, "layers": both}
    report = SwapReport(layers, config=config, replacements=replacements, model=model)
    before = None if sample is None else _run_before(model, sample)
    fresh = [norm for replacement, ledger in swaps for norm in fresh_norms(replacement.new, ledger.filled)]
    try:
        for replacement in replacements:
            replacement.install()
        if sample is not None and before is not None:
            # A norm that takes another norm's place is there to norm; any other is to change nothing.
            with calibrating(fresh, keep_function=orders[0].family is not NORM):
                report.drift = _check(model, sample, before, replacements)
        _count_after(model, report, counted, sample)
    except BaseException:
        for replacement in replacements:
            replacement.restore()
        raise
    keep(model, config)
    return report


def _prepare(model: nn.Module, order: Order, call: Call | None, owned: set[int]) -> tuple[Replacement, Ledger]:
    """The successor of one layer, filled but not yet in place; ``owned`` are the ids of parts that others hold."""
    name, old, family, to, options = order
    if old is model:
        raise ValueError(f"the model is itself a {type(old).__name__}: there is no module to put another into")
    with _naming(f"{name} ({type(old).__name__})"):
        if isinstance(to, type):
            completed = family.complete(old, to, options, call)
            # Every layer gets parts of its own, also where the caller gave one for all.
            own = {key: deepcopy(v) if isinstance(v, nn.Module) else v for key, v in completed.items()}
            new: Any = family.make(old, to, own)
        else:
            new = to(old)
        if not isinstance(new, family.base):
            raise TypeError(f"to must return an {family.base.__name__}, it returned {type(new).__name__}")
        if any(id(part) in owned for part in parts_of(new)):
            new = deepcopy(new)
        finish(new, old, model)
        with torch.no_grad():
            ledger = family.carry(old, new, options)
    owned.update(id(part) for part in parts_of(new))
    # A module stands in several places if several modules hold it, or one does under several names.
    paths = [path.rpartition(".") for path, module in model.named_modules(remove_duplicate=False) if module is old]
    places = list(dict.fromkeys((model.get_submodule(parent), child) for parent, _, child in paths))
    return Replacement(name, family, old, new, places), ledger


def finish(new: nn.Module, old: nn.Module, model: nn.Module) -> None:
    """Give ``new`` the dtype and device of ``old``, of the model where it has none, and the mode of ``old``."""
    like = first_weight(old)
    like = first_weight(model) if like is None else like
    if like is not None:
        new.to(device=like.device, dtype=like.dtype)
    new.train(old.training)


def parts_of(module: nn.Module) -> list[nn.Module | Tensor]:
    return [*module.modules(), *module.parameters(), *module.buffers()]


def _run_before(model: nn.Module, sample: Tensor) -> Outputs:
    with _naming("the model as it was, on the sample"):
        return outputs(model, sample)


def _check(model: nn.Module, sample: Tensor, before: Outputs, replacements: list[Replacement]) -> SwapDrift:
    """Run the changed model.

    Raises:
        ValueError: it fails, changes the shape of its outputs, or does not call an attention as the layer it is.
    """
    with tracing(replacements) as trace:
        try:
            after = outputs(model, sample)
        except Exception as error:
            raise _failure(error, trace, replacements, f"a sample of shape {tuple(sample.shape)}") from error
    _refuse_bypassed(trace, replacements)
    if after.logits.shape != before.logits.shape:
        raise ValueError(
            f"{', '.join(r.title for r in replacements)}: the logits changed their shape from "
            f"{tuple(before.logits.shape)} to {tuple(after.logits.shape)}"
        )
    return drift_between(before, after)


def _refuse_bypassed(trace: Trace, replacements: list[Replacement]) -> None:
    for replacement in trace.bypassed(replacements):
        raise ValueError(
            f"{replacement.title}: the block around it does not call it but its parts, so that only a kind "
            f"with the forward of {type(replacement.old).__name__} can take its place"
        )


def _count_after(model: nn.Module, report: SwapReport, before: Count, sample: Tensor | None) -> None:
    """Count the changed model, where it could be counted before.

    Raises:
        ValueError: it does not take an image of the size that it was made for.
    """
    report.uncounted = before.reason
    if before.macs is None:
        return
    twin = meta_twin(model)
    there = [replace(replacement, new=twin.get_submodule(replacement.name)) for replacement in report.replacements]
    with tracing(there) as trace:
        after = count_twin(twin, (), sample)
        if isinstance(after.error, (ValueError, AttributeError)) and sample is None:
            size = getattr(model, "image_size", None)
            raise _failure(after.error, trace, there, f"the model's image_size {size}") from after.error
    _refuse_bypassed(trace, report.replacements)
    report.uncounted = after.reason
    if after.macs is None:
        return
    report.macs_before, report.macs_after = before.macs[""], after.macs[""]
    for layer in report.layers:
        layer.macs_before, layer.macs_after = before.macs[layer.name], after.macs[layer.name]


def _failure(error: Exception, trace: Trace, replacements: Iterable[Replacement], on: str) -> Exception:
    """The error with the layer it came from; a part that a block wants of a layer and the new one has not is a ValueError."""
    if isinstance(error, AttributeError):
        for replacement in replacements:
            if error.obj is replacement.new:
                old, new = type(replacement.old).__name__, type(replacement.new).__name__
                return ValueError(
                    f"{replacement.title}: the block around it uses the {error.name} of {old}, which {new} does not have"
                )
    return _named(error, f"{trace.place} fails on {on}")


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
