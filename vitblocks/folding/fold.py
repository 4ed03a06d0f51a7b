"""Make a trained model do less work for the same outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor, nn

from ..attention import WindowAttention
from ..checks import check_choice, check_some
from .declared import check_declarations
from .freezing import Calls, freeze, is_position
from .head_mixes import mix_by_products
from .last_block import read_by_prefix, read_last_block
from .owners import Owners
from .projections import separate_projections
from .report import Fold, FoldReport, relative_error
from .rules import (
    bias_of_keys,
    fold_batch_norms,
    fold_layer_scale,
    fold_quick_gelu,
    fold_token_norms,
    leave_out_dropout,
    unscale,
)
from .window_order import order_windows

Rule: TypeAlias = Callable[[nn.Module, Owners, Calls], Iterable[Fold]]


def _of_parts(rule: Callable[[nn.Module, Owners], Iterable[Fold]]) -> Rule:
    """A rule that asks nothing about the sample."""
    return lambda model, owners, _: rule(model, owners)


# Norms that stand between linears go before those that precede them; a layer scale comes after them, when its branch ends in a linear.
RULES: Mapping[str, Rule] = {
    "dropout": _of_parts(leave_out_dropout),
    "key_bias": _of_parts(bias_of_keys),
    "batch_norm": _of_parts(fold_batch_norms),
    "rescaling": _of_parts(unscale),
    "token_norm": _of_parts(fold_token_norms),
    "quick_gelu": _of_parts(fold_quick_gelu),
    "layer_scale": _of_parts(fold_layer_scale),
    "positions": freeze,
    "last_block": _of_parts(read_last_block),
    "class_attention": _of_parts(read_by_prefix),
    "head_mixes": _of_parts(mix_by_products),
    "projections": _of_parts(separate_projections),
    "window_order": order_windows,
}
"""In the order that they are applied in; each sees what those before it left."""
LOGITS_ONLY = ("last_block", "class_attention")
"""Rules after which the model gives less than it gave."""


class Folded(NamedTuple):
    """A model made for inference, and what was done to it."""

    model: nn.Module
    report: FoldReport


Outputs: TypeAlias = Literal["all", "logits"]
"""What is wanted of a folded model: all that it can be asked for, or what calling it gives."""


def fold(
    model: nn.Module,
    sample: Tensor | None = None,
    *,
    outputs: Outputs = "all",
    without: Collection[str] = (),
    inplace: bool = False,
) -> Folded:
    """A copy of the model for inference that does less work for the same outputs: ``folded, report = fold(model, images)``.

    Exact algebra, on any device and in any dtype; outputs are the same up to rounding, in float64 within 1e-9:

    - BatchNorm into the convolution, linear or mix of heads beside it; the scale and shift of LayerNorm and RMSNorm into the linears that
      alone read them; layer scale into projections; QuickGELU's factor, and the rescaling of DeepViT's blocks, into the weights around
      them; dropout and drop path left out.
    - Queries, keys and values by a product each, without what softmax does not see of them; mixes of heads by one product each.
    - With a sample, position biases, position tables and rotary tables become the tensors that they give for its size. Another size
      then raises ValueError; other batch sizes work. Blocks of windowed attention in a row keep their tokens window by window, as one
      layer.
    - With ``outputs="logits"``, the last block computes what the pool reads: where that is the class token, its attention, projection and
      feed-forward are those of one token. Its other tokens and its attention records are gone; ``encode`` gives the tokens before it.
      Class attention computes no keys and values, and leaves no records.

    The parts stay what they are, so that recording attention and extracting features work on a folded model; what a folded norm gives is
    not what it gave before. Parameters need no gradients any more, gradients of the inputs work. The state dict is not that of the
    original: save the original's, and fold after loading. A part that is not known, that stands in several places or that carries hooks is
    left as it is.

    Args:
        model: any module; models of other packages profit where they are made of Sequentials of convolutions, linears and BatchNorms.
        sample: images of the size, dtype and device that the model is to be folded for; None leaves positions as they are.
        outputs: ``"logits"`` where the model is called for its logits, or features, alone.
        without: names of rules of :data:`RULES` that are left out, to see what each is worth.
        inplace: change the model itself rather than a copy. It must be in evaluation mode; a copy is put in it.

    Returns:
        The model and a :class:`~vitblocks.folding.report.FoldReport`.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: ``inplace`` on a model in training mode, or unknown ``outputs`` or rules.
    """
    check_choice("outputs", outputs, get_args(Outputs))
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a module, got {type(model).__name__}")
    check_some("without", without, list(RULES))
    if inplace and model.training:
        raise ValueError(
            "inplace=True needs a model in evaluation mode, this one is in training: call model.eval() first"
        )
    with torch.no_grad():  # where copies of scripted weights are leaves
        folded = _settled(model if inplace else deepcopy(model))
    for module in folded.modules():
        check_declarations(module)
    with _calls(folded) as calls:
        before = None if sample is None else _outputs(folded, sample)
    report = FoldReport()
    with torch.no_grad():
        for name, rule in RULES.items():
            if name not in without and (outputs == "logits" or name not in LOGITS_ONLY):
                report.folds += rule(folded, Owners(folded), calls)
    _settled(folded)  # what the rules made, too
    if sample is not None:
        after = _outputs(folded, sample)
        if isinstance(before, Tensor) and isinstance(after, Tensor) and not before.is_meta:
            report.drift = relative_error(after, before)
    return Folded(folded, report)


def _settled(model: nn.Module) -> nn.Module:
    """The model in evaluation, without gradients of its parameters; a ScriptModule among them has no ``requires_grad_``."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.eval()


@contextmanager
def _calls(model: nn.Module) -> Iterator[dict[nn.Module, list[tuple[Any, ...]]]]:
    """What position parts and windowed attentions are called with inside of the block."""
    calls: dict[nn.Module, list[tuple[Any, ...]]] = {}

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        calls.setdefault(module, []).append((*args, *kwargs.values()))

    parts = {part for parent in model.modules() for name, part in parent.named_children() if is_position(parent, name)}
    parts |= {module for module in model.modules() if isinstance(module, WindowAttention)}
    handles = [part.register_forward_hook(note, with_kwargs=True) for part in parts]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _outputs(model: nn.Module, sample: Tensor) -> Any:
    with torch.no_grad():
        return model(sample)
