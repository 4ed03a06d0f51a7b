"""A model as the parts that a diagram shows, each with what it gives and costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from torch import nn

from ..attention import Attend, Partition
from ..embed import OnMap
from ..feedforward import ConvFeedForward, GatedMlp, Mlp
from ..grid import Grid, Size, to_pair
from ..inspect.extract import token_pairs
from ..inspect.frames import towers_of
from ..inspect.summary import run_twin
from ..inspect.twin import meta_twin
from ..model import Model, Stage
from ..prefix import PerToken

TIMES = "\N{MULTIPLICATION SIGN}"
TOWERS = ("small", "large")


class Group(NamedTuple):
    """Layers that come one after the other, so many times; ``moves`` for a transition, which may change the grid."""

    words: tuple[str, ...]
    times: int = 1
    moves: bool = False


class Tokens(NamedTuple):
    """Tokens that a part gives: prefix tokens, the grid of the patches, and channels."""

    prefix: int
    grid: Grid
    channels: int


@dataclass(frozen=True)
class Part:
    """A part of a model: its name, its layers, the tokens it gives, its stride, its parameters and multiply-adds for one image."""

    name: str
    groups: list[Group]
    tokens: list[Tokens]
    stride: tuple[int, int] | None
    params: int
    macs: int


class Outline(NamedTuple):
    """A model's class, the (channels, height, width) of the image, and the parts in order."""

    model: str
    image: tuple[int, ...]
    parts: list[Part]


def outline(model: nn.Module, image_size: Size | None = None) -> Outline:
    """Run the model on the meta device and read off its parts.

    Raises:
        TypeError: neither a :class:`~vitblocks.Model` nor one of two towers.
        ValueError: what the model raises for that size.
    """
    named = dict(parts_of(model))
    given: dict[str, dict[str, list[Tokens]]] = {part: {} for part in named}
    twin = meta_twin(model)
    for part, names in named.items():
        for name, tower in names.items():
            twin.get_submodule(name).register_forward_hook(note(given[part], tower))
    image, counts = run_twin(twin, image_size)
    strides = strides_of(model)
    parts = []
    for part, names in named.items():
        modules = [model.get_submodule(name) for name in names]
        words = [tower + line for name, tower in names.items() for line in words_of(model.get_submodule(name))]
        tokens = [one for tower in given[part].values() for one in tower]
        params = sum(p.numel() for module in modules for p in module.parameters())
        cost = sum(counts[name] for name in names)
        moves = [Group((line,), moves=True) for module in modules for line in transition_words(module)]
        parts.append(Part(part, moves + repeated(words), tokens, strides.get(part), params, cost))
    return Outline(type(model).__name__, image, parts)


def parts_of(model: nn.Module) -> Iterator[tuple[str, dict[str, str]]]:
    """The parts' names, and the modules of each with what tells a tower's from the other's."""
    stages = getattr(model, "stages", None)
    if isinstance(model, Model):
        yield "embed", {"embed": ""}
        last = {"norm": "", "pool": "", "head": ""}
    elif isinstance(stages, nn.ModuleList) and any(towers_of(stage) for stage in stages):
        yield "embed", {f"{name}.{i}": f"{tower}: " for i, tower in enumerate(TOWERS) for name in ("embeds", "starts")}
        last = {"norms.0": "", "norms.1": "", "pool": "", "head": ""}
    else:
        raise TypeError(f"model must be a vitblocks.Model or a CrossViT, got {type(model).__name__}")
    assert isinstance(stages, nn.ModuleList)
    for i in range(len(stages)):
        yield f"stage {i}", {f"stages.{i}": ""}
    yield "head", last


def note(given: dict[str, list[Tokens]], tower: str) -> Any:
    """A hook that writes down the tokens that a module gives; a later module of a tower overwrites those of an earlier one."""

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        tokens = [Tokens(x.shape[1] - prod(grid), grid, x.shape[2]) for x, grid in token_pairs(output)]
        if tokens:
            given[tower] = tokens

    return hook


def strides_of(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Pixels between two patches of what the parts of a model give; of two towers nothing, as theirs differ."""
    if not isinstance(model, Model):
        return {}
    stages = {f"stage {i}": stride for i, stride in enumerate(model.strides)}
    return {"embed": to_pair(getattr(model.embed, "stride", 1), "stride"), **stages}


def transition_words(module: nn.Module) -> list[str]:
    return [layer_words(module.transition)] if isinstance(module, Stage) and module.transition is not None else []


def words_of(module: nn.Module) -> list[str]:
    """A line for each layer of a stage, of a tower in it, or of a sequence of modules; for the module itself else."""
    if towers := towers_of(module):
        named = zip(TOWERS, towers, strict=True)
        own = [f"{name}: {line}" for name, tower in named for line in words_of(tower)]
        return own + [layer_words(fusion) for fusion in getattr(module, "fusions", ())]
    if isinstance(module, (Stage, nn.Sequential)):
        layers = module.layers if isinstance(module, Stage) else module
        return [words for layer in layers if (words := layer_words(layer))]
    words = layer_words(module)
    return [words] if words else []


def repeated(words: Iterable[str]) -> list[Group]:
    """Runs of equal words, or of equal sequences of words, as one group each."""
    left = list(words)
    groups = []
    while left:
        spans = [(period, times) for period in range(1, len(left) // 2 + 1) if (times := repeats(left, period)) > 1]
        # The longest run; of equally long ones that of the shortest sequence.
        period, times = max(spans, key=lambda span: (span[0] * span[1], -span[0]), default=(1, 1))
        groups.append(Group(tuple(left[:period]), times))
        left = left[period * times :]
    return groups


def repeats(words: Sequence[str], period: int) -> int:
    """How many times the first ``period`` words come one after the other."""
    times = 1
    while list(words[times * period : (times + 1) * period]) == list(words[:period]):
        times += 1
    return times


def layer_words(layer: nn.Module) -> str:
    """A layer's class, and the attentions and feed-forwards in it; empty for one without effect on what is computed."""
    if isinstance(layer, PerToken):
        return layer_words(layer.module)
    if isinstance(layer, OnMap):
        return layer_words(layer.conv)
    if isinstance(layer, (nn.Dropout, nn.Identity)):
        return ""
    inner = [words for module in layer.modules() if module is not layer and (words := part_words(module))]
    counted = {words: inner.count(words) for words in inner}
    kinds = [words if count == 1 else f"{count} {words}" for words, count in counted.items()]
    own = part_words(layer) or type(layer).__name__
    return f"{own}: {' + '.join(kinds)}" if kinds else own


def part_words(module: nn.Module) -> str:
    """An attention with its heads and windows, or a feed-forward, by its class; empty for others."""
    if isinstance(module, (Mlp, GatedMlp, ConvFeedForward)):
        return type(module).__name__
    if not any(isinstance(child, Attend) for child in module.children()) or not hasattr(module, "heads"):
        return ""
    windows = getattr(module, "windows", None)
    kind = "" if windows is None else f", {window_words(windows)}"
    return f"{type(module).__name__} ({module.heads} head{'s' if module.heads != 1 else ''}{kind})"


def window_words(windows: Partition) -> str:
    """A partition by its class and its size: ``Windows 7``, ``Windows 4x6`` where it is no square."""
    size = getattr(windows, "size", None)
    if size is None:
        return type(windows).__name__
    height, width = to_pair(size, "size")
    return f"{type(windows).__name__} {height if height == width else f'{height}{TIMES}{width}'}"
