"""Attention maps and feature maps as outputs beside the model's own."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from typing import NamedTuple

from torch import Tensor, nn

from ..inspect.extract import extract
from ..inspect.record import record_attention
from ..model import Stage

OUTPUT = "output"
EXTRA = ("attention", "features")


class Outputs(NamedTuple):
    """All that a deployed model gives.

    Attributes:
        output: what the model gives.
        attention: by the name of each attention its weights ``(B, heads, n, m)``, ``(B, groups, heads, n, m)`` within windows, as
            :class:`~vitblocks.Recorder` has them.
        features: by the name of each stage its patches as a map ``(B, C, H, W)``.
    """

    output: Tensor
    attention: dict[str, Tensor]
    features: dict[str, Tensor]


class WithOutputs(nn.Module):
    """A model as ``image -> (output, *more)``, in the order of :meth:`named`.

    Raises:
        ValueError: there is no attention in the model, or no stage; a stage drops tokens, so that what it gives is no map.
    """

    def __init__(self, model: nn.Module, extra: Collection[str]) -> None:
        super().__init__()
        self.model = model
        self.extra = tuple(extra)

    def named(self, image: Tensor) -> dict[str, Tensor]:
        """All outputs by name: ``output``, ``attention.<layer>``, ``features.<stage>``."""
        attention, features = "attention" in self.extra, "features" in self.extra
        with ExitStack() as stack:
            records = stack.enter_context(record_attention(self.model, detach=True)) if attention else None
            tokens = stack.enter_context(extract(self.model, Stage, detach=True)) if features else {}
            found = {OUTPUT: self.model(image)}
        for name, record in (records.named() if records is not None else {}).items():
            weights = record.weights
            found[f"attention.{name}"] = weights[:, 0] if weights.shape[1] == 1 else weights
        return found | {f"features.{name}": record.map for name, record in tokens.items()}

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.named(image).values())


def by_kind(names: Collection[str], tensors: Collection[Tensor]) -> Outputs:
    """Outputs in the order of their names, sorted into those of each kind."""
    found = dict(zip(names, tensors, strict=True))
    attention, features = (
        {name.removeprefix(f"{kind}."): x for name, x in found.items() if name.startswith(f"{kind}.")} for kind in EXTRA
    )
    return Outputs(found[OUTPUT], attention, features)
