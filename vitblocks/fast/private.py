"""The names of torch that are not public and are used here all the same, and nowhere else in the package."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import reduce
from pathlib import Path
from typing import Any

import torch

PRIVATE = (
    "torch.ops.mkldnn._linear_pointwise",
    "torch.ops.mkldnn._is_mkldnn_bf16_supported",
    "torch._C._current_graph_task_id",
    "torch._C._functorch.maybe_current_level",
    "torch._C._autograd._saved_tensors_hooks_is_enabled",
    "torch._C._autograd._top_saved_tensors_default_hooks",
    "torch.autograd.forward_ad._current_level",
    "torch.Tensor._version",
    "torch._inductor.aoti_compile_and_package",
    "torch._inductor.aoti_load_package",
    "torch._inductor.config.patch",
)
"""All of them. Any may be missing from a torch to come: then the passes that need it stand aside and say so, and all else goes on."""


def find(name: str) -> Any:
    """What a name of :data:`PRIVATE` stands for; None where this torch has no such thing."""
    if name not in PRIVATE:
        raise ValueError(f"name must be one of PRIVATE, which lists all that is used; got {name!r}")
    try:
        return reduce(getattr, name.split(".")[1:], torch)
    except AttributeError:
        return None


def missing(*names: str) -> str | None:
    """Which of these this torch lacks, as a sentence for a report; None if it has all."""
    lacking = [name for name in names if find(name) is None]
    return f"this torch has no {' and no '.join(lacking)}" if lacking else None


_graph_task: Any = find("torch._C._current_graph_task_id")


def backward_pass() -> int:
    """Which backward pass is running, -1 for none, or where this torch does not say.

    Calls within another than the one that hooks were set in are those that gradient checkpointing makes a second time.
    """
    return -1 if _graph_task is None else _graph_task()


def compile_package(program: Any, path: Path, options: Mapping[str, Any]) -> None:
    """An exported program as a compiled library in a file. Raises RuntimeError where this torch cannot."""
    _aoti("compile_and_package")(program, package_path=str(path), inductor_configs=dict(options))


def load_package(path: Path) -> Any:
    """The library that such a file holds, as a function: it is code, and runs. Raises RuntimeError where this torch cannot."""
    return _aoti("load_package")(str(path))


def constant_weights() -> AbstractContextManager[Any]:
    """Within it ``torch.compile`` takes weights for constants, as ``TORCHINDUCTOR_FREEZING=1`` asks for.

    The option ``freezing`` of ``torch.compile`` does not: weights are made inputs before it is read. Raises RuntimeError where this torch
    has no such setting.
    """
    if why := missing("torch._inductor.config.patch"):
        raise RuntimeError(f"weights cannot be constants to the compiler: {why}")
    patch: AbstractContextManager[Any] = find("torch._inductor.config.patch")(freezing=True)
    return patch


def _aoti(name: str) -> Any:
    if why := missing(f"torch._inductor.aoti_{name}"):
        raise RuntimeError(f"AOTInductor is not to be had: {why}")
    return find(f"torch._inductor.aoti_{name}")
