"""The feed-forward family: two linear maps with an activation between them, whatever stands besides."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import TypeAlias, cast

from torch import nn

from ..feedforward import Activation, ConvFeedForward, GatedMlp, Mlp
from ..folding.declared import declared
from ..norm import LinearNorm
from ..recipe.torch_nn import NAME_OF, torch_arguments
from ..recipe.values import note_of
from .affine import Part, part_of, read, write
from .family import Family, Options, taken
from .ledger import Ledger, copy_alike
from .start import neutral

FeedForward: TypeAlias = Mlp | GatedMlp | ConvFeedForward


def ends(layer: nn.Module) -> tuple[Part, Part] | None:
    """The maps before the activation and back to the channels of a token; None where the layer does not say which they are."""
    reads, writes = declared(layer, "reads"), declared(layer, "writes")
    return (part_of(layer, reads[0]), part_of(layer, writes)) if reads and writes else None


def make_like(old: nn.Module, kind: type[FeedForward], options: Options) -> FeedForward:
    """``kind`` with the widths, the activation and the dropout of ``old``."""
    if (maps := ends(old)) is None:
        return kind(**options)
    hidden, dim = maps[0].linear.weight.shape[:2]
    settings: Options = {"dim": dim, "mlp_dim": hidden, "activation": again(cast(nn.Module, old.act))}
    settings["dropout"] = getattr(getattr(old, "dropout2", None), "p", None)
    if isinstance(old, Mlp) and isinstance(old.fc1, LinearNorm):
        settings["linear"] = LinearNorm
    return kind(**taken(kind, settings, options))


def again(activation: nn.Module) -> Activation:
    """A factory of modules like this one: its class, with its arguments, so that what is made can be described; else copies of it."""
    kind = type(activation)
    if any(True for _ in activation.parameters()) or not (
        kind in NAME_OF or (note_of(activation) or {}).get("args") == {}
    ):
        return lambda: deepcopy(activation)
    arguments = torch_arguments(activation) if kind in NAME_OF else {}
    return partial(kind, **arguments) if arguments else kind


def carry_feedforward(old: nn.Module, new: nn.Module, options: Options) -> Ledger:
    """Both maps, where the hidden widths are the same.

    To a :class:`GatedMlp` the old first map becomes the gate, and what it gates starts at 1: the function is kept. To a
    :class:`ConvFeedForward` the depthwise convolution starts at a delta and the norms at the identity in evaluation: the function is
    kept without prefix tokens, whose update is lost, where activating twice is activating once (ReLU, ReLU6). Back from it, the
    depthwise convolution and any channel attention are lost; back from a gated one, what was gated.
    """
    ledger = Ledger()
    if copy_alike(old, new, ledger) or (given := ends(old)) is None or (wanted := ends(new)) is None:
        return ledger
    pairs = list(zip(given, wanted, strict=True))
    if any(theirs.linear.weight.shape[:2] != ours.linear.weight.shape[:2] for theirs, ours in pairs):
        return ledger
    neutral(new)
    for theirs, ours in pairs:
        write(ours, [read(theirs)], ledger)
    return ledger


FEEDFORWARD = Family(
    "feedforward", "a feedforward", (Mlp, GatedMlp, ConvFeedForward), carry_feedforward, make=make_like
)
