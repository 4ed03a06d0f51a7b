"""A ``config.json`` of transformers in terms of our parts, for building a model without that library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import nn

from ..feedforward import Activation, QuickGELU, TanhGELU
from ..grid import to_pair
from ..registry import list_parts

Config: TypeAlias = Mapping[str, Any]

ACTIVATIONS: dict[str, Activation] = {
    "gelu": nn.GELU,
    "gelu_new": TanhGELU,
    "gelu_pytorch_tanh": TanhGELU,
    "quick_gelu": QuickGELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "hardswish": nn.Hardswish,
    "tanh": nn.Tanh,
}


def activation(name: object) -> Activation:
    """The activation that transformers calls so.

    Raises:
        ValueError: there is none here.
    """
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"hidden_act must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]


def labels_of(config: Config) -> list[str] | None:
    """The names of the classes; None where they are numbered only."""
    names = config.get("id2label")
    if not isinstance(names, Mapping) or all(str(label) == f"LABEL_{i}" for i, label in names.items()):
        return None
    return [str(names[key]) for key in sorted(names, key=int)]


def classes_of(config: Config) -> int:
    """How many classes: as many as have names, else ``num_labels``, which is 2 where nothing is said."""
    names = config.get("id2label")
    return len(names) if isinstance(names, Mapping) else int(config.get("num_labels", 2))


def tower_of(config: Config) -> Config:
    """The config of the tower of images: within that of both towers, or the config itself."""
    tower: Config = config.get("vision_config", config)
    return tower


def whole_patches(config: Config, patch_size: int = 16) -> tuple[tuple[int, int], tuple[int, int]]:
    """``(image size, patch size)``, without the pixels that fill no patch; ``patch_size`` is the default there.

    Raises:
        ValueError: one is no size.
    """
    patch = to_pair(config.get("patch_size", patch_size), "patch_size")
    size = to_pair(config.get("image_size", 224), "image_size")
    return (size[0] // patch[0] * patch[0], size[1] // patch[1] * patch[1]), patch


def require(config: Config, **only: object) -> None:
    """Raise ValueError for a setting that has another value than the one for which there is a part, which is their default, too."""
    for name, value in only.items():
        if config.get(name, value) != value:
            raise ValueError(f"{name} must be {value}, got {config[name]!r}")


def reader_of(config: Config) -> Callable[[Config], nn.Module]:
    """What builds the model of a config, by the class that it names (``architectures``).

    Raises:
        ValueError: no class of ours reads it; the message lists what is read.
    """
    known: dict[str, Callable[[Config], nn.Module]] = {}
    for part in list_parts().values():
        known |= vars(part).get("configs", {}) if isinstance(part, type) else {}
    named = config.get("architectures")
    found = [known[name] for name in named if name in known] if isinstance(named, list) else []
    if not found:
        raise ValueError(f"architectures must name one of {', '.join(sorted(known))}, got {named!r:.200}")
    return found[0]
