"""What a recipe changes in a model before it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from ..extras import needed
from ..model import Model
from ..residual import DropPath, drop_path_schedule
from .recipe import Recipe


@contextmanager
def prepared(model: nn.Module, recipe: Recipe) -> Iterator[Any]:
    """A model as the recipe trains it; what merges its adaptors, None where it has none. After that it is no longer changed.

    Raises:
        ValueError: the recipe asks for what the model does not have.
        ImportError: adaptors need peft.
    """
    before = {part: part.rate for part in model.modules() if isinstance(part, DropPath)}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        if recipe.drop_path is not None:
            set_drop_path(model, recipe.drop_path)
        if recipe.checkpointing:
            _recompute(model, True)
        adapted = None if recipe.lora is None else with_adaptors(model, recipe)
        if recipe.freeze:
            freeze(model, recipe.freeze)
        yield adapted
    finally:
        for part, rate in before.items():
            part.rate = rate
        for parameter in trained:
            parameter.requires_grad_(True)
        if recipe.checkpointing:
            _recompute(model, False)


def _recompute(model: nn.Module, enabled: bool) -> None:
    if not isinstance(model, Model):
        raise ValueError(f"checkpointing needs a vitblocks.Model, got {type(model).__name__}")
    model.gradient_checkpointing(enabled)


def set_drop_path(model: nn.Module, rate: float) -> None:
    """Let each block be dropped at a rate that rises in a line to ``rate`` (arXiv:1603.09382, Section 3).

    Raises:
        ValueError: the model's blocks cannot be counted, or have nothing to be dropped.
    """
    blocks = list(model.blocks()) if isinstance(model, Model) else []
    drops = [[part for part in block.modules() if isinstance(part, DropPath)] for _, block in blocks]
    if not any(drops):
        raise ValueError(
            f"drop_path needs a vitblocks.Model of blocks with shortcuts, {type(model).__name__} has none: leave it out"
        )
    for found, depth_rate in zip(drops, drop_path_schedule(rate, len(blocks)), strict=True):
        for part in found:
            part.rate = depth_rate


def freeze(model: nn.Module, patterns: tuple[str, ...]) -> None:
    """Do not train the parameters whose names fit one of the shell patterns.

    Raises:
        ValueError: a pattern fits none, or nothing is left.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"freeze: no parameter fits {pattern!r}; the first are {', '.join(names[:3])}")
    for name, parameter in model.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"freeze: {', '.join(patterns)} leaves nothing to train")


def with_adaptors(model: nn.Module, recipe: Recipe) -> Any:
    """Put low-rank adaptors into a model, in place (arXiv:2106.09685); they and the head alone are trained then.

    Returns:
        what ``merge_and_unload()`` of merges them.

    Raises:
        ImportError: peft is not installed.
        ValueError: no Linear has one of the names.
    """
    peft = needed("peft", "lora")  # untyped: its types ask for a model of transformers
    assert recipe.lora is not None
    alpha = 2 * recipe.lora if recipe.lora_alpha is None else recipe.lora_alpha
    head = [p for name, p in model.named_parameters() if name.startswith("head.")]
    wanted = _linears(model, recipe.lora_targets)
    config = peft.LoraConfig(r=recipe.lora, lora_alpha=alpha, target_modules=wanted)
    adapted = peft.get_peft_model(model, config)
    for parameter in head:
        parameter.requires_grad_(True)
    return adapted


def _linears(model: nn.Module, ends: tuple[str, ...]) -> list[str]:
    """The full names of the Linears whose names end in one of these."""
    found = [
        name
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and name.rpartition(".")[2] in ends and not name.startswith("head")
    ]
    if not found:
        raise ValueError(f"lora_targets: no Linear is called {', '.join(ends)}")
    return found
