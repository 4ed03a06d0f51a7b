"""The linears at the ends of layers, found by what the parts declare."""

from __future__ import annotations

from typing import Any, TypeGuard

from torch import nn

from ..norm import BatchNorm
from ..residual import LayerScale, Shortcut
from .affine import Linear, is_linear
from .declared import behaves_as, child, declared
from .owners import hooked

_IDLE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)


def known(module: nn.Module | None, name: str) -> Any:
    """What a module declares, unless a hook sees or changes what goes through it, or through one of its children."""
    if module is None or hooked(module):
        return None
    found = declared(module, name)
    return None if found is None or _meddled_with(module) else found


def is_idle(module: nn.Module | None) -> bool:
    """Whether a module gives in evaluation what it is given."""
    if module is None or hooked(module):
        return False
    return any(behaves_as(module, kind) for kind in _IDLE) or bool(declared(module, "idle_in_eval"))


def _meddled_with(module: nn.Module) -> bool:
    """Whether something is done between the children of a part that it says nothing of: by a hook, or by what was put in for dropout."""
    return any(
        hooked(inner) or (name.startswith("drop") and not is_idle(inner)) for name, inner in module.named_children()
    )


def readers(layer: nn.Module | None) -> list[Linear]:
    """The linears that alone read the layer's input, token by token; none where that is not known."""
    if is_linear(layer):
        return [layer]
    if is_sequence(layer):
        return readers(next((part for part in layer if not is_idle(part)), None))
    if layer is None:
        return []
    attend = known(layer, "hidden_by")
    if attend is not None and not known(child(layer, attend), "hides_keys"):
        return []
    found = [readers(child(layer, name)) for name in known(layer, "reads") or ()]
    return [linear for linears in found for linear in linears] if all(found) else []


def writer(layer: nn.Module | None) -> Linear | None:
    """The linear whose output is the layer's, up to tokens for which the layer gives zero; None where there is none that is known."""
    last = last_linear(layer)
    if last is not None or layer is None:
        return last
    name = known(layer, "writes")
    if name is None:
        return None
    before = {norm: first for first, norm in (known(layer, "chained") or {}).items()}
    if name in before and is_idle(child(layer, name)):
        name = before[name]
    return writer(child(layer, name))


def last_linear(layer: nn.Module | None) -> Linear | None:
    """A linear itself, or the one that a Sequential ends in."""
    if is_linear(layer):
        return layer
    if is_sequence(layer):
        return last_linear(next((part for part in reversed(layer) if not is_idle(part)), None))
    return None


def sole_linear(layer: nn.Module | None) -> nn.Linear | None:
    """The Linear that is all that a layer does: what reads its input and gives its output. None if there is none."""
    found, last = readers(layer), writer(layer)
    return last if found == [last] and behaves_as(last, nn.Linear) and not hooked(last) else None


def alike(layer: nn.Module | None) -> bool:
    """Whether a norm or layer gives every token, in evaluation, what it would give it alone."""
    if is_idle(layer) or (behaves_as(layer, BatchNorm) and layer.bn.running_mean is not None):
        return True
    if behaves_as(layer, nn.LayerNorm) or behaves_as(layer, nn.RMSNorm):
        return len(layer.normalized_shape) == 1
    if behaves_as(layer, Shortcut):
        return is_idle(layer.drop_path) and (is_idle(layer.scale) or behaves_as(layer.scale, LayerScale))
    return bool(known(layer, "per_token"))


def is_sequence(module: nn.Module | None) -> TypeGuard[nn.Sequential]:
    return module is not None and behaves_as(module, nn.Sequential) and not hooked(module)
