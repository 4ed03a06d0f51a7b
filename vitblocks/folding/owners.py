"""Who holds a module or a tensor: what several hold must not be changed for one of them."""

from __future__ import annotations

from collections import Counter

from torch import Tensor, nn


def own_tensors(module: nn.Module) -> list[Tensor]:
    """The parameters and buffers that a module holds itself, one that it holds twice twice."""
    named = (module.named_parameters, module.named_buffers)
    return [tensor for each in named for _, tensor in each(recurse=False, remove_duplicate=False)]


def hooked(module: nn.Module) -> bool:
    """Whether a hook sees or changes what goes through the module, forward or backward.

    Modules do not say which hooks they have; the handle of one of our own knows the table that it stands in.
    """
    for way in ("forward_pre", "forward", "full_backward_pre", "full_backward"):
        try:
            handle = getattr(module, f"register_{way}_hook")(lambda *_: None)
        except RuntimeError:  # there are backward hooks of the kind that came before full ones
            return True
        hooks = handle.hooks_dict_ref()
        handle.remove()
        if hooks:
            return True
    return False


class Owners:
    """The modules of a model with one name each, and which of them share something."""

    def __init__(self, model: nn.Module) -> None:
        self.names = {module: name for name, module in model.named_modules()}
        places = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
        tensors = Counter(id(tensor) for module in self.names for tensor in own_tensors(module))
        self._shared = {
            module
            for module in self.names
            if places[id(module)] > 1
            or hooked(module)
            or any(tensors[id(tensor)] > 1 for tensor in own_tensors(module))
        }

    def name(self, module: nn.Module) -> str:
        return self.names.get(module, "")

    def alone(self, *modules: nn.Module) -> bool:
        """Whether every module, with all that is in it, stands in one place and shares no tensor with another."""
        return not any(inner in self._shared for module in modules for inner in module.modules())
