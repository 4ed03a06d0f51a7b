"""A model that returns its attention maps beside its output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .attention_record import AttentionRecords
from .places import TokenChoice
from .record import HeadChoice, record_attention
from .select import LayerChoice, select_attends


class Recorder(nn.Module):
    """Wrap a model so that its forward returns ``(output, attention)``: ``output, attention = Recorder(model)(image)``.

    ``attention`` is ``(B, layers, heads, n, m)`` where all maps have one shape. Where they do not, or where attention is within groups,
    it is a mapping from the name of each layer's Attend to ``(B, heads, n, m)``, ``(B, groups, heads, n, m)`` within windows; a layer
    that is called several times in a forward has ``:1``, ``:2`` and so on after its name from the second call on. The records of the
    last forward, which also say where the tokens lie, are in ``records``; they are None before it and after :meth:`clear`.

    Gradients flow unless ``detach``. There are hooks only while the forward runs. A compiled model runs uncompiled in here.

    Args:
        model: any model with an :class:`~vitblocks.attention.Attend` in it.
        device, layers, heads, queries, detach: see :func:`~vitblocks.inspect.record_attention`.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: it has no attention to record, or not what ``layers`` names.
        RuntimeError: in ``forward``, where nothing was recorded, or after :meth:`eject`.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device | str | None = None,
        *,
        layers: LayerChoice | None = None,
        heads: HeadChoice | None = None,
        queries: TokenChoice | None = None,
        detach: bool = False,
    ) -> None:
        super().__init__()
        select_attends(model, layers)
        self.model: nn.Module | None = model
        self.options: dict[str, Any] = {
            "device": device,
            "layers": layers,
            "heads": heads,
            "queries": queries,
            "detach": detach,
        }
        self.records: AttentionRecords | None = None

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, Tensor | dict[str, Tensor]]:
        if self.model is None:
            raise RuntimeError("this Recorder was ejected: call the model that eject() returned, or wrap it again")
        self.records = None
        with record_attention(self.model, **self.options) as records:
            output = self.model(*args, **kwargs)
        self.records = records
        return output, maps(records)

    def clear(self) -> None:
        """Let go of the records of the last forward."""
        self.records = None

    def eject(self) -> nn.Module:
        """The model as it was; the wrapper is of no use afterwards."""
        if self.model is None:
            raise RuntimeError("this Recorder was ejected before")
        self.clear()
        model, self.model = self.model, None
        return model


def maps(records: AttentionRecords) -> Tensor | dict[str, Tensor]:
    """Weights as one tensor where they can be stacked, else by name; a single group is left out of the shape."""
    weights = {name: record.weights for name, record in records.named().items()}
    alike = len({w.shape for w in weights.values()}) == 1 and len({record.name for record in records}) == len(records)
    if alike and records[0].weights.shape[1] == 1:
        return records.stacked()
    return {name: w[:, 0] if w.shape[1] == 1 else w for name, w in weights.items()}
