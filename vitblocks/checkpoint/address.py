"""Addresses: names of our weights that do not depend on where in a list of layers a part stands."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from torch import nn

from ..model import Stage, is_block
from .wrapping import plain_name, plain_names, unwrapped


class Place(NamedTuple):
    """Where an address leads: the ``state_dict`` key, and how many blocks come before it (None outside of stages)."""

    key: str
    blocks_before: int | None


def snake_case(name: str) -> str:
    """``LearnedPosition`` as ``learned_position``, ``PEG`` as ``peg``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def addresses(model: nn.Module) -> dict[str, Place]:
    """The address of every entry of the model's state_dict, in its order.

    In a :class:`~vitblocks.model.Stage`, ``layers.3`` becomes ``blocks.1`` if it is the second layer that holds an Attend, otherwise its
    class name: ``learned_position``, and ``learned_position_1`` for the next of the same class. Only the outermost stage counts.
    Parts that were compiled stand for what is inside.
    """
    prefixes = _layer_prefixes(model)
    places: dict[str, Place] = {}
    for key, plain in plain_names(model).items():
        address, before = plain, None
        for prefix, (renamed, blocks) in prefixes.items():
            if plain.startswith(prefix):
                address, before = renamed + plain[len(prefix) :], blocks
                break
        places[address] = Place(key, before)
    return places


def _layer_prefixes(model: nn.Module) -> dict[str, tuple[str, int]]:
    """The prefix without wrappers of each layer of each stage, outermost first: what it is renamed to, and the blocks before it.

    The stage's own prefix comes after those of its layers, for what else it holds (its transition).
    """
    prefixes: dict[str, tuple[str, int]] = {}
    depth: Counter[str] = Counter()  # by the list of stages, so that two towers are counted apart
    for name, stage in model.named_modules():
        if not isinstance(stage, Stage):
            continue
        name = plain_name(model, name)
        start = f"{name}." if name else ""
        stages = name.rpartition(".")[0]
        before_stage = depth[stages]
        depth[stages] += stage.transition is not None and is_block(stage.transition)
        counts: Counter[str] = Counter()
        for i, layer in enumerate(stage.layers):
            kind = "blocks" if is_block(layer) else snake_case(type(unwrapped(layer)).__name__)
            suffix = f".{counts[kind]}" if kind == "blocks" else f"_{counts[kind]}" if counts[kind] else ""
            prefixes.setdefault(f"{start}layers.{i}.", (f"{start}{kind}{suffix}.", depth[stages]))
            counts[kind] += 1
            depth[stages] += kind == "blocks"
        prefixes.setdefault(start, (start, before_stage))
    return prefixes
