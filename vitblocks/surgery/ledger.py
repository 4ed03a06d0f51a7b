"""What became of the weights of a layer: which were filled, which were read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass
class Ledger:
    """Which keys of the new layer were filled, and which of the old one were read."""

    filled: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)

    def note(self, key: str, read: Iterable[frozenset[str]]) -> None:
        self.filled.add(key)
        self.read.update(*read)


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    """The shape of everything in the state dict."""
    return {key: value.shape for key, value in module.state_dict().items()}


def copy(old: nn.Module, new: nn.Module, keys: Iterable[str], ledger: Ledger) -> None:
    """Copy tensors of the same keys, with whether they are trained."""
    copy_renamed(old, new, {key: key for key in keys}, ledger)


def copy_renamed(old: nn.Module, new: nn.Module, pairs: dict[str, str], ledger: Ledger) -> None:
    """Copy tensors, with whether they are trained, as ``{key of the new: key of the old}`` says."""
    source, trained = old.state_dict(), dict(old.named_parameters())
    targets, parameters = new.state_dict(), dict(new.named_parameters())
    for key, other in pairs.items():
        targets[key].copy_(source[other])
        if key in parameters and other in trained:
            parameters[key].requires_grad_(trained[other].requires_grad)
        ledger.note(key, [frozenset({other})])


def copy_alike(old: nn.Module, new: nn.Module, ledger: Ledger) -> bool:
    """Copy everything where both are of one class with tensors of the same names and shapes; whether they are."""
    alike = type(old) is type(new) and shapes(old) == shapes(new)
    if alike:
        copy(old, new, shapes(new), ledger)
    return alike
