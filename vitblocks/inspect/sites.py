"""Sites: the places inside of a model where it can be read and changed, as its parts declare them.

By contract every :class:`~vitblocks.attention.Attend` has ``q``, ``k`` and ``v`` (what it is given), ``weights``, and ``heads`` (what
it gives: each head's output before the projection); an :class:`~vitblocks.attention.Attention` that gives tokens has ``out``; a block,
and every part with a :class:`~vitblocks.residual.Shortcut`, has ``residual``, the stream that it passes on. Parts declare the rest
(:mod:`vitblocks.folding.declared`): an Attend that weighs what its ``logits`` gives (``weighs_logits``) has ``logits``, a feed-forward
that says which child reads its hidden channels (``hidden_into``) has ``hidden``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from ..attention import Attend, Attention
from ..contract import gives_pair
from ..folding.declared import declared
from ..model import Stage
from ..recipe.tree import join
from ..residual import Shortcut
from .frames import named_parts, path

OF_QUERIES = ("q", "logits", "weights", "heads")
"""Sites of an Attend whose rows are queries."""

OF_KEYS = ("k", "v")
"""Sites of an Attend whose rows are keys."""

OF_PAIRS = ("logits", "weights")
"""Sites of an Attend whose columns are keys."""

OF_ATTEND = OF_QUERIES + OF_KEYS


@dataclass(frozen=True)
class Site:
    """A place inside of a model.

    Attributes:
        name: the part that has it, and the word for it: ``stages.0.layers.3.attn.q``.
        word: ``q``, ``k``, ``v``, ``logits``, ``weights``, ``heads``, ``out``, ``hidden`` or ``residual``.
        owner: the name of the part.
        at: the name of the module whose call it is seen in.
    """

    name: str
    word: str
    owner: str
    at: str


def sites(model: nn.Module) -> list[str]:
    """The names of all sites of a model, for :func:`~vitblocks.inspect.intervene`: those in blocks by their short names.

    Raises:
        TypeError: ``model`` is no module.
    """
    found = find_sites(model)
    short: dict[str, str] = {}
    for other, name in short_names(model, found).items():
        short[name] = min(short.get(name, other), other, key=len)
    return [short.get(name, name) for name in found]


def find_sites(model: nn.Module) -> dict[str, Site]:
    """All sites by name, in the order of the modules that they belong to."""
    parts = named_parts(model)
    streams = {name for name, _ in named_blocks(model)}
    found = [site for name, module in parts.items() for site in _sites_of(name, module, parts, name in streams)]
    return {site.name: site for site in found}


def _sites_of(name: str, module: nn.Module, parts: Mapping[str, nn.Module], is_block: bool) -> Iterator[Site]:
    if isinstance(module, Attend):
        owner = _owner(name, parts)
        for word in OF_ATTEND:
            if word != "logits" or declared(module, "weighs_logits"):
                yield Site(join(owner, word), word, owner, name)
    if isinstance(module, Attention) and (module.is_layer or gives_pair(module)):
        outer = parts.get(path(name)[-2]) if name else None
        bypassed = outer is not None and declared(outer, "calls_parts_of") == name.rpartition(".")[2]
        yield Site(join(name, "out"), "out", name, join(name, "dropout") if bypassed else name)
    reader = declared(module, "hidden_into")
    if reader is not None:
        yield Site(join(name, "hidden"), "hidden", name, join(name, reader))
    if is_block or any(isinstance(child, Shortcut) for child in module.children()):
        yield Site(join(name, "residual"), "residual", name, name)


def _owner(name: str, parts: Mapping[str, nn.Module]) -> str:
    """The part that an Attend belongs to: the one around it, unless that has several."""
    if not name:
        return name
    outer = path(name)[-2]
    attends = [child for child in parts[outer].children() if isinstance(child, Attend)] if outer in parts else []
    return outer if len(attends) == 1 else name


def named_blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The blocks of a model with their names, in order: its own, else those of all stages inside, else what holds an attention."""
    own = getattr(model, "blocks", None)
    if callable(own) and not isinstance(own, nn.Module):  # other libraries call a list of blocks so
        return list(own())
    parts = named_parts(model)
    stages = [(name, module) for name, module in parts.items() if isinstance(module, Stage)]
    if stages:
        return [(join(outer, name), block) for outer, stage in stages for name, block in stage.blocks()]
    return [
        (name, module)
        for name, module in parts.items()
        if name and any(isinstance(child, Attention) for child in module.children())
    ]


def short_names(model: nn.Module, found: Mapping[str, Site]) -> dict[str, str]:
    """Names that count blocks, ``blocks.3.attn.q``, and the full names that they stand for.

    Where a block has one attention that is not called ``attn``, or one feed-forward that is not called ``mlp``, these names mean it all the
    same.
    """
    short: dict[str, str] = {}
    for i, (block, _) in enumerate(named_blocks(model)):
        inside = [site for site in found.values() if site.name.startswith(f"{block}.")]
        for site in inside:
            short[f"blocks.{i}.{site.name[len(block) + 1 :]}"] = site.name
        for words, called in ((OF_ATTEND, "attn"), (("out",), "attn"), (("hidden",), "mlp")):
            if len({site.owner for site in inside if site.word in words}) == 1:
                for site in inside:
                    if site.word in words:
                        short.setdefault(f"blocks.{i}.{called}.{site.word}", site.name)
    return short


def select_sites(model: nn.Module, pattern: str) -> dict[str, Site]:
    """The sites that a name or a pattern means, whose ``*`` stands for one part of a name.

    By the name that matched: the short one if it did. Raises ValueError if there are none.
    """
    found = find_sites(model)
    if not found:
        raise ValueError(
            f"model must be of parts that have sites, {type(model).__name__} has none: no Attend, no block"
        )
    short = short_names(model, found)
    named = {name: found[full] for name, full in short.items()} | found
    chosen: dict[str, Site] = {}
    for name, site in named.items():
        if _matches(pattern, name) and site not in chosen.values():
            chosen[name] = site
    if not chosen:
        raise ValueError(
            f"{pattern!r} is no site of {type(model).__name__}; it has such as {', '.join(sites(model)[:12])}"
        )
    return chosen


def _matches(pattern: str, name: str) -> bool:
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
