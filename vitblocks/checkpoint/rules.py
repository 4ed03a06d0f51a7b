"""Key maps: tables of rules that pair another library's keys with ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeAlias

from torch import Tensor, nn

from .address import addresses
from .transforms import Same, Transform

Keys: TypeAlias = str | tuple[str, ...]

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_FITS = {"p": ".+", "w": "[^.]+"}
_TERM = re.compile(r"([+-]?)(?:(\d+)\*)?(\w+)")


@dataclass(frozen=True)
class Rule:
    """These keys of theirs are those keys of ours, by a transform. Templates: see :mod:`vitblocks.checkpoint`.

    Args:
        theirs, ours: templates of keys that correspond.
        transform: from the tensors of theirs to ours.
        also: other names of theirs, as many unless there is ``also_by``, that are read where those of ``theirs`` are absent. They are
            never written: see :func:`other_names`.
        also_by: the transform from the tensors of those names, where it is another.
    """

    theirs: Keys
    ours: Keys
    transform: Transform = field(default_factory=Same)
    also: Keys = ()
    also_by: Transform | None = None


@dataclass(frozen=True)
class Computed:
    """A key of theirs that we do not hold, because it can be computed. Ignored on load.

    Args:
        theirs: template of their key.
        at: template of a key of ours; there is one of theirs for each that it fits. None for one of the whole model, or where the
            key is only ever ignored: then placeholders in ``theirs`` fit anything.
        function: module -> tensor for export, called with the module that owns our key, or with the model if ``at`` is None. Without
            it the key is left out of the export.
    """

    theirs: str
    at: str | None = None
    function: Callable[[Any], Tensor] | None = None


Table: TypeAlias = Sequence[Rule | Computed]
KeyMap: TypeAlias = Table | Callable[[Any], Table]


def within(theirs: str, ours: str, rules: Iterable[Rule], also: str = "") -> tuple[Rule, ...]:
    """Rules under a prefix on both sides: ``within("layers.{s}", "stages.{s}", [Rule("a", "b")])`` pairs layers.{s}.a, stages.{s}.b.

    ``also`` is the prefix of their other names, if it is another.
    """

    def prefixed(prefix: str, keys: Keys) -> Keys:
        return f"{prefix}.{keys}" if isinstance(keys, str) else tuple(f"{prefix}.{key}" for key in keys)

    return tuple(
        replace(
            rule,
            theirs=prefixed(theirs, rule.theirs),
            ours=prefixed(ours, rule.ours),
            also=prefixed(also or theirs, rule.also or (rule.theirs if also else ())),
        )
        for rule in rules
    )


def other_names(key_map: KeyMap) -> KeyMap:
    """The key map with the other names in the places of the first where it has them, to write those.

    Libraries rename their modules and keep the names in their files: a key map of the files has the names of the modules as the others.
    """
    if callable(key_map):
        return lambda model: _renamed(key_map(model))
    return _renamed(key_map)


def _renamed(table: Table) -> Table:
    return tuple(
        replace(entry, theirs=entry.also, transform=entry.also_by or entry.transform, also=(), also_by=None)
        if isinstance(entry, Rule) and entry.also
        else entry
        for entry in table
    )


@cache
def pattern(template: str) -> re.Pattern[str]:
    """The template as a regular expression with a group for each placeholder; a name that comes again must fit the same."""
    seen: set[str] = set()
    regex = ""
    for i, part in enumerate(_PLACEHOLDER.split(template)):
        if i % 2 == 0:
            regex += re.escape(part)
        elif not part.isidentifier():
            raise ValueError(f"a placeholder must be a plain name where it is fitted, got {{{part}}} in {template!r}")
        else:
            regex += f"(?P={part})" if part in seen else f"(?P<{part}>{_FITS.get(part, '[0-9]+')})"
            seen.add(part)
    return re.compile(regex)


def fill(template: str, values: dict[str, str]) -> str:
    """The template with its placeholders filled; ``{2*n+1}`` is worked out.

    Raises:
        ValueError: a placeholder has no value.
    """

    def value(match: re.Match[str]) -> str:
        expression = match[1].replace(" ", "")
        if expression in values:
            return values[expression]
        terms = list(_TERM.finditer(expression))
        names = [term[3] for term in terms if not term[3].isdigit()]
        if "".join(term[0] for term in terms) != expression or any(not values.get(n, "").isdigit() for n in names):
            raise ValueError(f"cannot fill {{{match[1]}}} in {template!r} with {values}")
        return str(
            sum(int(f"{term[1]}{term[2] or 1}") * int(values.get(term[3], term[3])) for term in terms),
        )

    return _PLACEHOLDER.sub(value, template)


@dataclass(frozen=True)
class Pair:
    """Keys of theirs and ``state_dict`` keys of ours that hold the same weights."""

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    transform: Transform
    also: tuple[str, ...] = ()
    also_by: Transform | None = None

    def under(self, names: Container[str]) -> Pair:
        """The pair under those names of theirs that there are: the other ones where the first are absent."""
        others = self.also and any(key not in names for key in self.theirs) and all(key in names for key in self.also)
        if not others:
            return self
        return replace(self, theirs=self.also, transform=self.also_by or self.transform, also=(), also_by=None)


@dataclass(frozen=True)
class Pairing:
    """A key map worked out for one model.

    Attributes:
        pairs: what corresponds.
        unmatched: our keys that no rule fits.
        computed: their keys that are computed: how, or None.
        ignored: patterns of further keys of theirs to ignore.
    """

    pairs: tuple[Pair, ...]
    unmatched: tuple[str, ...] = ()
    computed: dict[str, Callable[[], Tensor] | None] = field(default_factory=dict)
    ignored: tuple[re.Pattern[str], ...] = ()


def pair_keys(model: nn.Module, table: Table) -> Pairing:
    """Work out a table for a model: each of our keys goes to the first rule that fits its address.

    Raises:
        ValueError: a rule names a second key of ours that the model lacks or that an earlier rule took, or two rules name the same key
            of theirs.
    """
    places = addresses(model)
    free = dict.fromkeys(places)

    def fits(template: str, candidates: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
        found = []
        for address in list(candidates):
            if match := pattern(template).fullmatch(address):
                before = places[address].blocks_before
                values = {} if before is None else {"n": str(before)}
                found.append((address, values | match.groupdict()))
        return found

    pairs: list[Pair] = []
    for rule in table:
        if not isinstance(rule, Rule):
            continue
        theirs, ours, also = _as_tuple(rule.theirs), _as_tuple(rule.ours), _as_tuple(rule.also)
        for _, values in fits(ours[0], free):
            taken = tuple(fill(template, values) for template in ours)
            if absent := [address for address in taken if address not in free]:
                raise ValueError(f"{rule} needs {absent} of ours, which the model lacks or an earlier rule took")
            for address in taken:
                del free[address]
            keys = tuple(places[address].key for address in taken)
            names, others = (tuple(fill(template, values) for template in templates) for templates in (theirs, also))
            pairs.append(Pair(names, keys, rule.transform, others, rule.also_by))
    _check_distinct(pairs)

    computed: dict[str, Callable[[], Tensor] | None] = {}
    ignored = []
    for entry in table:
        if not isinstance(entry, Computed):
            continue
        if entry.at is not None:
            for address, values in fits(entry.at, places):
                owner = model.get_submodule(places[address].key.rpartition(".")[0])
                computed[fill(entry.theirs, values)] = _bind(entry.function, owner)
        elif entry.function is not None:
            computed[fill(entry.theirs, {})] = _bind(entry.function, model)
        else:
            ignored.append(pattern(entry.theirs))
    return Pairing(tuple(pairs), tuple(places[address].key for address in free), computed, tuple(ignored))


def _as_tuple(keys: Keys) -> tuple[str, ...]:
    return (keys,) if isinstance(keys, str) else keys


def _bind(function: Callable[[Any], Tensor] | None, owner: nn.Module) -> Callable[[], Tensor] | None:
    return None if function is None else lambda: function(owner)


def _check_distinct(pairs: Sequence[Pair]) -> None:
    """Raise ValueError if a key of theirs would be several of ours."""
    owner: dict[str, Pair] = {}
    for pair in pairs:
        for key in pair.theirs:
            if key in owner:
                raise ValueError(f"{key} of theirs would be {owner[key].ours} and {pair.ours} of ours")
            owner[key] = pair
