"""What every model of another library is put through. The libraries come with the extra ``bench``."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from benchmarks.peers import allow_torchvision
from vitblocks import build, describe
from vitblocks.border import adopt, release

Case = Callable[[], nn.Module]

if find_spec("torchvision"):
    allow_torchvision()


def randomised(module: nn.Module, seed: int = 1, noise: float = 0.1) -> nn.Module:
    """The module in evaluation, with weights and norm statistics that are other than what models start with.

    Args:
        noise: how far matrices and kernels are from it; all else by 0.1.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                random, scale = torch.randn(tensor.shape, generator=generator), noise if tensor.dim() > 1 else 0.1
                tensor.copy_(0.5 + random.abs() if name.endswith("running_var") else scale * random + tensor)
    return module.eval()


def changed(module: Any, path: str, value: Any) -> nn.Module:
    """The module with another value of one attribute, ``"blocks.0.attn.scale"``."""
    owner, _, name = path.rpartition(".")
    setattr(module.get_submodule(owner), name, value)
    return module


def check(case: Case, sizes: int = 1, idle: str | None = None) -> Any:
    """Adopted within the bound at ``sizes`` sizes at least; given back to the bit. Returns the model and the report.

    Weights of theirs whose names start with ``idle`` are read by nothing there, are none of ours, and stay as they are.
    """
    theirs = randomised(case())
    state = deepcopy(theirs.state_dict())
    model, report = adopt(theirs)
    assert len(report.errors) >= sizes, report
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in state.items())
    assert [*build(describe(model)).state_dict()] == [*model.state_dict()]
    fresh = randomised(case(), seed=2)
    own = deepcopy(fresh.state_dict())
    release(model, like=fresh)
    given = fresh.state_dict()
    assert given.keys() == state.keys()
    kept = {key for key in state if idle is not None and key.startswith(idle)}
    assert (idle is None) == (not kept)
    assert all(torch.equal((own if key in kept else state)[key], value) for key, value in given.items())
    return model, report
