"""The ``config`` of a case as a mapping that notes what was read of it, so that no key is ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from vitblocks.feedforward import QuickGELU, TanhGELU


class ConfigError(LookupError):
    """A key of a case's ``config`` that a builder needs, does not know, or cannot honour."""


# Arguments of the references that no case can show: cases are run in eval mode, with weights that are made from their names.
WITHOUT_EFFECT = {
    **dict.fromkeys(
        (
            "drop_rate",
            "pos_drop_rate",
            "patch_drop_rate",
            "proj_drop_rate",
            "attn_drop_rate",
            "drop_path_rate",
            "drop_path",
            "dropout",
            "emb_dropout",
            "attention_dropout",
            "stochastic_depth",
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "attn_dropout",
            "ffn_dropout",
        ),
        "nothing is dropped in eval mode",
    ),
    **dict.fromkeys(
        ("init_scale", "initializer_range", "weight_init", "zero_init_last"), "the weights are made from their names"
    ),
}

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": TanhGELU,
    "gelu_pytorch_tanh": TanhGELU,
    "gelu_new": TanhGELU,
    "quick_gelu": QuickGELU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "hard_swish": nn.Hardswish,
    "SiLU": nn.SiLU,
    "GELU": nn.GELU,
    "GELUTanh": TanhGELU,
    "QuickGELU": QuickGELU,
}


class Config(Mapping[str, Any]):
    """What a case's ``config`` says; :meth:`finish` raises if a part of it was not read.

    Mappings in it are of the same kind, alone or in a list.

    Args:
        values: the config.
        image: the shape of what the case feeds.
        where: what the messages call this mapping.
        shapes: of the weights, by their names.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        image: tuple[int, ...] = (),
        where: str = "config",
        shapes: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.image = image
        self.shapes = {} if shapes is None else shapes
        self._where = where
        self._values = {key: self._wrapped(key, value) for key, value in values.items()}
        self._read: set[str] = set()
        self.without_effect = set(WITHOUT_EFFECT)

    def _wrapped(self, key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return Config(value, self.image, f"{self._where}.{key}")
        if isinstance(value, list):
            return [self._wrapped(f"{key}.{i}", part) for i, part in enumerate(value)]
        return value

    def __getitem__(self, key: str) -> Any:
        if key not in self._values:
            raise ConfigError(f"{self._where} lacks {key!r}, which this architecture needs")
        self._read.add(key)
        return self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self._values else default

    def refuse(self, key: str, why: str) -> ConfigError:
        """The error that says that our model cannot be what this key asks for."""
        return ConfigError(f"{self._where}.{key} is {self._values.get(key)!r}: {why}")

    def only(self, key: str, *allowed: Any, why: str = "our model has no such option") -> Any:
        """The value of a key that must be one of ``allowed``; the first of them if it is absent.

        Raises:
            ConfigError: it is another.
        """
        value = self.get(key, allowed[0])
        if value not in allowed:
            raise self.refuse(key, f"{why} but {' or '.join(map(repr, allowed))}")
        return value

    def each(self, key: str, count: int, default: Any = None) -> list[Any]:
        """A value for each of ``count`` stages: as many as there are, or one for all.

        Raises:
            ConfigError: there are others.
        """
        value = self[key] if default is None else self.get(key, default)
        values = list(value) if isinstance(value, (list, tuple)) else [value] * count
        if len(values) != count:
            raise self.refuse(key, f"there are {count} stages")
        return values

    def activation(self, key: str, default: str = "gelu") -> Callable[[], nn.Module]:
        """The factory of an activation that is named."""
        return _ACTIVATIONS[self.only(key, default, *_ACTIVATIONS)]

    def unaffected_by(self, *keys: str) -> None:
        """Note keys that have no effect on any output of any case of this architecture. Say why where this is called."""
        self.without_effect |= set(keys)

    def same_size(self, key: str) -> None:
        """For references that take an image of one size alone, of which our model needs not be told.

        Raises:
            ConfigError: the case feeds another.
        """
        size = pair(self[key])
        if tuple(self.image[-2:]) != size:
            raise self.refuse(key, f"the case feeds an image of {tuple(self.image[-2:])}")

    def unread(self) -> list[str]:
        """What nobody asked for, by path."""
        paths = [f"{self._where}.{key}" for key in self._values if key not in self._read | self.without_effect]
        return paths + [path for value in self._values.values() for path in _unread(value)]

    def finish(self) -> None:
        """Raises ConfigError, naming all keys that nobody asked for."""
        if unread := self.unread():
            raise ConfigError(f"the builder does not know {', '.join(unread)}")


def _unread(value: Any) -> list[str]:
    if isinstance(value, Config):
        return value.unread()
    return [path for part in value for path in _unread(part)] if isinstance(value, list) else []


def pair(size: Any) -> tuple[int, int]:
    """A (height, width) from one number or two."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width
