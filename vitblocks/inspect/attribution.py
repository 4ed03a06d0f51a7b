"""What of the image a model's answer comes from, read from its attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ..pool import AttentionPool
from ..prefix import ClassToken
from .attention_record import AttentionRecord, AttentionRecords
from .frames import evaluating, named_parts, towers_of
from .places import Places
from .record import record_attention
from .select import LayerChoice, select_attends


def attention_rollout(
    model: nn.Module, image: Tensor, *, layers: LayerChoice | None = None, residual: float = 0.5
) -> AttentionRecord:
    """Attention rollout (arXiv:2005.00928, Section 3): how much of each token comes from each token of the first layer.

    The product over the layers of ``residual * I + (1 - residual) * W``, W the mean over heads. It follows attention alone: what
    convolutions and feed-forwards mix between tokens is not seen. Tokens that a layer does not update (patches in class attention) stay
    themselves. The model runs in eval mode, and is put back in the mode it was in; gradients flow.

    Args:
        model: an isotropic model with global attention.
        image: ``(B, channels, height, width)``.
        layers: which attentions, see :func:`~vitblocks.inspect.record_attention`.
        residual: the share of the residual connection.

    Returns:
        a record with weights ``(B, 1, 1, N, N)``: ``.key_map(0)`` is the class token's map ``(B, 1, H, W)``.

    Raises:
        ValueError: ``residual`` does not lie in [0, 1]; rollout is not defined for the model: tokens meet only within windows, keys are
            reduced, tokens are dropped or move to another grid, there are two towers, or the weights are no distribution, as with
            re-attention.
    """
    if not 0 <= residual <= 1:
        raise ValueError(f"residual must lie in [0, 1], got {residual}")
    refuse_towers(model)
    with evaluating(model), record_attention(model, layers=layers) as records:
        model(image)
    check_global(records)
    steps = []
    for record in records:
        mean = record.weights[:, 0].mean(dim=1)
        check_distribution(record.name, mean)
        steps.append(
            residual * torch.eye(mean.shape[-1], device=mean.device)[: mean.shape[-2]].to(mean) + (1 - residual) * mean
        )
    return _product(records, steps, add=False, name="attention_rollout")


def gradient_rollout(
    model: nn.Module, image: Tensor, target: int | Tensor | None = None, *, layers: LayerChoice | None = None
) -> AttentionRecord:
    """Gradient-weighted rollout for one class (Chefer et al., arXiv:2103.15679, Section 3.1, eqs. 5 and 6, self-attention).

    ``R = I``, then ``R = R + A R`` over the layers with ``A`` the mean over heads of the positive part of ``grad * weights``, grad that
    of the class's logit with respect to the weights. This is the rule of that paper for self-attention, not the one of arXiv:2012.09838,
    which propagates relevance through every other layer as well. Weights need be no distribution, so talking heads and re-attention
    will do. The model runs in eval mode with its fused kernels, and is put back in the mode it was in.

    Args:
        model: an isotropic model with global attention that gives logits ``(B, classes)``.
        image: ``(B, channels, height, width)``.
        target: the class, an int or one for each image ``(B,)``; the one with the largest logit if None.
        layers: which attentions, see :func:`~vitblocks.inspect.record_attention`.

    Returns:
        a record with weights ``(B, 1, 1, N, N)``, which carries no gradients: ``.key_map(0)`` is the class token's map ``(B, 1, H, W)``.

    Raises:
        ValueError: the model gives no logits ``(B, classes)``, or rollout is not defined for it, see :func:`attention_rollout`.
    """
    refuse_towers(model)
    # The image asks for gradients, so that there are some where every parameter is frozen.
    image = image.detach().requires_grad_()
    with (
        torch.enable_grad(),
        evaluating(model),
        record_attention(model, layers=layers, detach=True) as records,
        outputs_and_values(model, layers) as calls,
    ):
        logits = model(image)
    check_global(records)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise ValueError(f"model must give logits (B, classes), got {getattr(logits, 'shape', type(logits).__name__)}")
    classes = (
        logits.argmax(dim=1) if target is None else torch.as_tensor(target, device=logits.device).expand(len(logits))
    )
    score = logits.gather(1, classes[:, None]).sum()
    grads = torch.autograd.grad(score, [output for output, _ in calls], materialize_grads=True)
    steps = []
    for record, grad, (_, values) in zip(records, grads, calls, strict=True):
        # The output is weights @ values, so its gradient and the values give that of the weights: no kernel need form them.
        by_weight = torch.einsum("... n d, ... m d -> ... n m", grad, values.detach())
        steps.append((by_weight * record.weights[:, 0]).clamp(min=0).mean(dim=1))
    return _product(records, steps, add=True, name="gradient_rollout")


def class_attention_map(model: nn.Module, image: Tensor, layer: int | str = -1) -> Tensor:
    """Where the class token of a layer looks: ``(B, heads, H, W)``, on the grid of its keys.

    For models with a class token, in class attention (CaiT, CrossViT's fusions) as in ordinary attention (ViT), and for the probe of an
    attention pool. The model runs as it is, in training or not; gradients flow.

    Args:
        model: a model with a class token or an :class:`~vitblocks.pool.AttentionPool`.
        image: ``(B, channels, height, width)``.
        layer: which of the layers that the class token looks in, in the order they run, or the name of one.

    Raises:
        ValueError: there is no class token, no such layer, or its keys lie on no image grid since tokens were dropped before it.
    """
    parts = named_parts(model).values()
    if not any(isinstance(module, (ClassToken, AttentionPool)) for module in parts):
        raise ValueError(
            f"model must have a class token or an attention pool, {type(model).__name__} has neither: see key_map of its records for "
            "where patches look"
        )
    named = layer if isinstance(layer, str) else None
    with record_attention(model, layers=named, queries="prefix") as records:
        model(image)
    place = -1 if isinstance(layer, str) else layer
    if not -len(records) <= place < len(records):
        raise ValueError(f"layer must be one of {len(records)} that a class token looks in, got {layer}")
    return records[place].key_map(0)


def refuse_towers(model: nn.Module) -> None:
    """Raise ValueError for a model of two towers, whose layers are no one sequence."""
    if any(towers_of(module) for module in named_parts(model).values()):
        raise ValueError(
            f"rollout is not defined for {type(model).__name__}: it has two towers with tokens of their own"
        )


def check_global(records: AttentionRecords) -> None:
    """Raise ValueError unless the layers attend, one after the other, among all tokens of one grid."""
    grids = {record.keys.grid for record in records if record.keys is not None}
    for record in records:
        reason = _not_global(record)
        if reason is None and len(grids) > 1:
            reason = f"attends on grid {record.known()[1].grid}, of the grids {sorted(grids)}"
        if reason is not None:
            raise ValueError(
                f"rollout is defined for layers that attend among all tokens of one grid, one after the other; {record.name} {reason}: "
                "choose others with layers="
            )


def _not_global(record: AttentionRecord) -> str | None:
    if record.queries is None or record.keys is None:
        return "attends among tokens whose places are not known"
    if record.weights.shape[1] != 1:
        return f"attends within {record.weights.shape[1]} groups of tokens"
    if (record.queries.prefix, record.queries.grid) != (record.keys.prefix, record.keys.grid):
        return f"has keys on {record.keys.grid} and queries on {record.queries.grid}"
    if record.keys.ids.shape[1] != record.keys.total or len(record.keys.grid) != 2:
        return f"has tokens on {record.keys.grid}, since some were dropped"
    return None


def check_distribution(name: str, weights: Tensor) -> None:
    """Raise ValueError unless every row is a distribution, as far as half precision can tell."""
    if (weights < -1e-2).any() or ((weights.sum(dim=-1) - 1).abs() > 2e-2).any():
        raise ValueError(
            f"rollout needs rows of weights that are distributions, those of {name} are not, since its heads are mixed or normed after "
            "the softmax: use gradient_rollout"
        )


def _product(records: AttentionRecords, steps: list[Tensor], *, add: bool, name: str) -> AttentionRecord:
    """The product over layers of matrices ``(B, n, N)`` on all tokens: of ``I + step`` with ``add``, else of the steps themselves.

    A layer's queries are the first n tokens; the others, and prefix tokens that come later, stay themselves.
    """
    last = max((record.known()[1] for record in records), key=lambda keys: keys.prefix)
    total = last.prefix + prod(last.grid)
    result = torch.eye(total, device=steps[0].device, dtype=steps[0].dtype).expand(len(steps[0]), -1, -1)
    for record, step in zip(records, steps, strict=True):
        start = total - record.known()[1].total
        rows = slice(start, start + step.shape[1])
        update = step @ result[:, start:]
        update = result[:, rows] + update if add else update
        result = torch.cat([result[:, :start], update, result[:, rows.stop :]], dim=1)
    everywhere = Places(torch.arange(total, device=result.device)[None], last.prefix, last.grid)
    return replace(
        records[-1], name=name, weights=result[:, None, None], heads=(0,), queries=everywhere, keys=everywhere
    )


@contextmanager
def outputs_and_values(model: nn.Module, layers: LayerChoice | None) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Every Attend's output ``(B, heads, n, d)`` and the values ``(B, heads, m, d)`` it came from, in the order of the calls."""
    calls: list[tuple[Tensor, Tensor]] = []

    def keep(attend: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        calls.append((output, kwargs["v"] if "v" in kwargs else args[2]))

    handles = [a.register_forward_hook(keep, with_kwargs=True) for a in select_attends(model, layers).values()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
