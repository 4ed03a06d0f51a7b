"""Who holds a module or a tensor: what several hold must not be changed for one of them."""

from __future__ import annotations

from collections import Counter

from torch import nn


class Owners:
    """The modules of a model with one name each, and which of them share something."""

    def __init__(self, model: nn.Module) -> None:
        self.names = {module: name for name, module in model.named_modules()}
        places = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
        tensors = Counter(
            id(tensor)
            for module in self.names
            for tensor in (*module._parameters.values(), *module._buffers.values())
            if tensor is not None
        )
        self._shared = {
            module
            for module in self.names
            if places[id(module)] > 1
            or module._forward_hooks
            or module._forward_pre_hooks
            or any(
                tensors[id(t)] > 1 for t in (*module._parameters.values(), *module._buffers.values()) if t is not None
            )
        }

    def name(self, module: nn.Module) -> str:
        return self.names.get(module, "")

    def alone(self, *modules: nn.Module) -> bool:
        """Whether every module, with all that is in it, stands in one place and shares no tensor with another."""
        return not any(inner in self._shared for module in modules for inner in module.modules())
