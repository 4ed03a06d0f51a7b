"""The feed-forward family: two linear maps with an activation between them, whatever stands besides."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeAlias

from torch import nn

from ..feedforward import ConvFeedForward, GatedMlp, Mlp
from ..norm import LinearNorm
from .affine import Part, part_of, read, write
from .family import Family, Options, taken
from .ledger import Ledger, copy_alike
from .start import delta, identity_norm

FeedForward: TypeAlias = Mlp | GatedMlp | ConvFeedForward


def ends(layer: FeedForward) -> tuple[Part, Part]:
    """The maps before the activation and back to the channels of a token."""
    if isinstance(layer, ConvFeedForward):
        return Part(layer.conv1, layer.norm1, "conv1", "norm1"), Part(layer.conv2, layer.norm2, "conv2", "norm2")
    first = "gate" if isinstance(layer, GatedMlp) else "fc1"
    return part_of(getattr(layer, first), first), part_of(layer.fc2, "fc2")


def make_like(old: nn.Module, kind: type[FeedForward], options: Options) -> FeedForward:
    """``kind`` with the widths, the activation and the dropout of ``old``."""
    if not isinstance(old, (Mlp, GatedMlp, ConvFeedForward)):
        return kind(**options)
    first, _ = ends(old)
    hidden, dim = first.linear.weight.shape[:2]
    settings: Options = {"dim": dim, "mlp_dim": hidden, "activation": lambda: deepcopy(old.act)}
    if not isinstance(old, ConvFeedForward):
        settings["dropout"] = old.dropout2.p
    if isinstance(old, Mlp) and isinstance(old.fc1, LinearNorm):
        settings["linear"] = LinearNorm
    return kind(**taken(kind, settings, options))


def carry_feedforward(old: nn.Module, new: nn.Module, options: Options) -> Ledger:
    """Both maps, where the hidden widths are the same.

    To a :class:`GatedMlp` the old first map becomes the gate, and what it gates starts at 1: the function is kept. To a
    :class:`ConvFeedForward` the depthwise convolution starts at a delta and the norms at the identity in evaluation: the function is
    kept without prefix tokens, whose update is lost, where activating twice is activating once (ReLU, ReLU6). Back from it, the
    depthwise convolution and any channel attention are lost; back from a gated one, what was gated.
    """
    ledger = Ledger()
    kinds = (Mlp, GatedMlp, ConvFeedForward)
    if copy_alike(old, new, ledger) or not isinstance(old, kinds) or not isinstance(new, kinds):
        return ledger
    pairs = list(zip(ends(old), ends(new), strict=True))
    if any(theirs.linear.weight.shape[:2] != ours.linear.weight.shape[:2] for theirs, ours in pairs):
        return ledger
    start_feedforward(new)
    for theirs, ours in pairs:
        write(ours, [read(theirs)], ledger)
    return ledger


def start_feedforward(layer: FeedForward) -> None:
    """Bring what stands besides the two maps to where it changes nothing."""
    if isinstance(layer, GatedMlp):
        nn.init.zeros_(layer.fc1.weight)
        nn.init.ones_(layer.fc1.bias)
    elif isinstance(layer, ConvFeedForward):
        delta(layer.conv)
        identity_norm(layer.norm)


FEEDFORWARD = Family(
    "feedforward", "a feedforward", (Mlp, GatedMlp, ConvFeedForward), carry_feedforward, make=make_like
)
