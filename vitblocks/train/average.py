"""A moving average of what is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """A moving average of a module's weights and buffers; whole numbers are those of the module.

    The decay of step ``n`` is ``min(decay, (1 + n) / (10 + n))``, so that the fresh weights are soon forgotten.

    Args:
        module: what is averaged, as it is now.
        decay: between 0 and 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.values = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step ``step``, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in self.module.state_dict().items():
            own = self.values[name]
            if own.is_floating_point():
                own.lerp_(value.to(own.dtype), 1 - decay)
            else:
                own.copy_(value)

    @torch.no_grad()
    def load(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.values[name].copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The average in the module's place for a while."""
        kept = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        self.module.load_state_dict(self.values)
        try:
            yield
        finally:
            self.module.load_state_dict(kept)
