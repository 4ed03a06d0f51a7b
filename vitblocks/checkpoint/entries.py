"""The entries of a checkpoint as it lies on disk: taken out of what was saved around them, under the names that a layout has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

HOLDERS = (
    *(
        "state_dict",
        "model_state_dict",
        "model",
        "module",
        "net",
        "network",
        "weights",
        "params",
        "backbone",
        "encoder",
    ),
    *("ema", "model_ema", "state_dict_ema", "ema_state_dict", "params_ema", "student", "teacher", "target_encoder"),
)
"""What training code calls the weights among optimizers, epochs and arguments."""

WITHIN = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch puts into names where a part was compiled, sharded or checkpointed; nobody else does."""


@dataclass(frozen=True)
class Entries:
    """A checkpoint's tensors by the layout's names.

    Attributes:
        tensors: those under the prefix, without it.
        beside: the names of those that are not under it.
        unwrapped: what was taken away to get there, a line each.
    """

    tensors: Mapping[str, Tensor]
    beside: tuple[str, ...] = ()
    unwrapped: tuple[str, ...] = ()


def entries_of(state_dict: Any, wanted: Collection[str]) -> Entries:
    """The entries of a checkpoint that is to have the names ``wanted``.

    Raises:
        TypeError: it is no mapping from names to tensors, nor holds one under a usual name.
        ValueError: it holds several sets of weights, so that one has to be chosen.
    """
    tensors, unwrapped = _joined(state_dict, wanted) or _taken_out(state_dict)
    plain = {_without(key, WITHIN): value for key, value in tensors.items()}
    if len(plain) == len(tensors) and plain.keys() != tensors.keys():
        unwrapped += [f"{part!r} within names" for part in WITHIN if any(part in key for key in tensors)]
        tensors = plain
    prefix = _prefix(tensors, wanted)
    if not prefix:
        return Entries(tensors, (), tuple(unwrapped))
    under = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    beside = tuple(key for key in tensors if not key.startswith(prefix))
    return Entries(under, beside, (*unwrapped, f"the prefix {prefix!r}"))


def _joined(state_dict: Any, wanted: Collection[str]) -> tuple[Mapping[str, Tensor], list[str]] | None:
    """The entries of several parts of a checkpoint under one name each, where those wanted begin with the names of these parts.

    So is a student beside its teacher and the centre of their loss.
    """
    if not isinstance(state_dict, Mapping):
        return None
    starts = {name.partition(".")[0] for name in wanted}
    parts = {key: value for key, value in state_dict.items() if key in starts and isinstance(value, Mapping) and value}
    if len(parts) < 2:
        return None
    joined: dict[str, Tensor] = {}
    for part, entries in parts.items():
        parallel = all(isinstance(key, str) and key.startswith("module.") for key in entries)
        for key, value in entries.items():
            joined[f"{part}.{key.removeprefix('module.') if parallel else key}"] = value
    if not all(isinstance(value, Tensor) for value in joined.values()):
        return None
    return joined, [f"the entries of {_all(parts)}"]


def _taken_out(state_dict: Any) -> tuple[Mapping[str, Tensor], list[str]]:
    """What a checkpoint holds under a usual name, if it does not map names to tensors itself."""
    unwrapped = []
    while True:
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict must map names to tensors, got {type(state_dict).__name__}")
        others = {key: value for key, value in state_dict.items() if not isinstance(value, Tensor)}
        if not others:
            break
        found = [key for key in HOLDERS if isinstance(others.get(key), Mapping) and others[key]]
        if not found:
            key, value = next(iter(others.items()))
            raise TypeError(
                f"state_dict must map names to tensors, got {type(value).__name__} under {key!r}: pass the weights alone"
            )
        if len(found) > 1:
            raise ValueError(
                f"state_dict holds weights under {_all(found)}: pass one of them, state_dict[{found[0]!r}]"
            )
        unwrapped.append(
            f"the entries of {found[0]!r} alone" if len(state_dict) > 1 else f"the entries of {found[0]!r}"
        )
        state_dict = state_dict[found[0]]
    if wrong := [key for key in state_dict if not isinstance(key, str)]:
        raise TypeError(f"state_dict must map names to tensors, got {wrong[0]!r} for a name")
    return state_dict, unwrapped


def _without(key: str, parts: Iterable[str]) -> str:
    for part in parts:
        key = key.replace(part, "")
    return key


def _prefix(keys: Iterable[str], wanted: Collection[str]) -> str:
    """What has to be taken away at the start of names so that they are those wanted; "" if nothing has to.

    A prefix counts where more names fit with it taken away than fit as they are, and at least half of those under it do: two norms of
    a decoder that has the same names are no model.

    Raises:
        ValueError: there are several such prefixes, as of a student and a teacher.
    """
    wanted = set(wanted)
    fitting: Counter[str] = Counter()
    under: Counter[str] = Counter()
    for key in keys:
        for prefix in ("", *(key[: i + 1] for i, letter in enumerate(key) if letter == ".")):
            under[prefix] += 1
            fitting[prefix] += key[len(prefix) :] in wanted
    least = fitting[""] + 1
    found = [prefix for prefix, count in fitting.most_common() if count >= least and 2 * count >= under[prefix]]
    rivals = [prefix for prefix in found if 2 * fitting[prefix] > fitting[found[0]]]
    if len(rivals) > 1:
        raise ValueError(f"state_dict holds weights under the prefixes {_all(rivals)}: pass the entries of one of them")
    return found[0] if found else ""


def _all(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
