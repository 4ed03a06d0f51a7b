"""How parts that the old attention did not have begin: as nothing, so that the model computes what it computed before."""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import nn

from ..attention import Attention, ReAttend, ReducedAttention
from ..attention.conv_projection import ConvProjection
from ..attention.talking_heads import HeadMix
from ..position import DistanceBias, DynamicBias, RelativeBias


def start_neutral(attention: Attention, *, keep_mixes: bool = False) -> None:
    """Bring every part of a fresh attention that has a neutral value to it; ``keep_mixes`` leaves out the mixes of the heads."""
    for part in attention.modules():
        if not (keep_mixes and isinstance(part, HeadMix)):
            neutral(part)


def identity_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, gain: float = 1.0) -> None:
    """Make a BatchNorm in evaluation multiply by ``gain``: the weight undoes the epsilon under the root."""
    norm.reset_running_stats()
    nn.init.constant_(norm.weight, gain * (1.0 + norm.eps) ** 0.5)
    nn.init.zeros_(norm.bias)


def delta(conv: nn.Conv2d) -> None:
    """Make a depthwise convolution give back what it is given."""
    rows, columns = conv.kernel_size
    nn.init.zeros_(conv.weight)
    conv.weight[:, :, rows // 2, columns // 2] = 1.0
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


@singledispatch
def neutral(part: nn.Module) -> None:
    """Bring one part to the value at which it changes nothing; a part without such a value is left as it is."""


@neutral.register
def _(part: HeadMix) -> None:
    nn.init.eye_(part.weight)
    nn.init.zeros_(part.bias)


@neutral.register
def _(part: ReAttend) -> None:
    identity_norm(part.norm, 1.0 / part.weight_scale)


@neutral.register
def _(part: ConvProjection) -> None:
    delta(part.conv)
    identity_norm(part.norm)


@neutral.register
def _(part: ReducedAttention) -> None:
    """Each channel's mean over the patch. There is no value that changes nothing: the tokens are fewer."""
    if part.reduce is not None:
        rows, columns = part.reduction
        identity = torch.eye(part.dim, dtype=part.reduce.weight.dtype, device=part.reduce.weight.device)
        part.reduce.weight.copy_((identity / (rows * columns))[:, :, None, None].expand_as(part.reduce.weight))
        if part.reduce.bias is not None:
            nn.init.zeros_(part.reduce.bias)


@neutral.register(RelativeBias)
@neutral.register(DistanceBias)
def _(part: RelativeBias | DistanceBias) -> None:
    nn.init.zeros_(part.table)


@neutral.register
def _(part: DynamicBias) -> None:
    *_, last = (layer for layer in part.modules() if isinstance(layer, nn.Linear))
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
