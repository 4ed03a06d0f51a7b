"""What an argument is changed to: values that must be refused, and values that may be."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter
from math import inf, nan
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Value(NamedTuple):
    """A value; whether it must be refused."""

    value: Any
    nonsense: bool

    def __str__(self) -> str:
        return shown(self.value)


def shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return f"an array {value.shape}" if isinstance(value, np.ndarray) else repr(value)[:60]


def bad(*values: Any) -> list[Value]:
    return [Value(value, True) for value in values]


def odd(*values: Any) -> list[Value]:
    return [Value(value, False) for value in values]


RATES = ("dropout", "drop_path", "prob", "ratio", "decay", "alpha")
"""Ends of the names of arguments that are shares."""

INTS = bad(-1, -2, -1000, nan, inf, 2.5, "2", "", {}, {1}, b"2", 1j, -inf) + odd(0, 1, 2, 3, 5, 7, 8, 64, 199)
FLOATS = bad(nan, inf, -inf, "0.5", "2", "", {}, {1}, 1j, b"1") + odd(-1.0, 0.0, 0.5, 1, 1.0, 2, 3.5, 1e-30)
SHARES = bad(nan, inf, -inf, -0.1, -1, 1.5, 7, "0.5", {}, 1j) + odd(0.0, 0, 0.3, 0.999, 1.0, 1)
SIZES = bad((-1, 2), (2, -1), (-4, -6), (2.5, 2), ("2", "2"), (nan, 2), (None, 2), "22", -3, nan, 1.5) + odd(
    (0, 0), (0, 2), (1, 2), (2, 1), (3, 5), 1, 2, 3, 4, 5, 16, (), (2,), (2, 2, 2), [2, 2]
)
CHOICES = bad("nonsense", "", 3, 1.5, b"cls") + odd(None)
MODULES = bad(3, "attention", 1.5, {}, nn.Linear) + odd(None, nn.Identity(), nn.ReLU(), nn.Linear(3, 3))
FACTORIES = bad("LayerNorm", 3.5, {}) + odd(None, nn.Identity, nn.ReLU, nn.LayerNorm, lambda *_: nn.Identity())
FLAGS = odd(True, False, None, 0, 1, "no")
ANYTHING = odd(None, 3, "x", nan, (), [], {}, object())

REAL = ("ratio", "ratios", "radio", "mult", "expansion", "scale", "eps", "std", "temp", "temperature", "base")
"""Ends of the names of other arguments that are no ints, whatever stands in a call."""

FREE = {"hidden_layer", "regions", "generator"}
"""Arguments that mean a number in another way, such as an index from the end."""


def values_for(name: str, data: Any, parameter: Parameter | None) -> list[Value]:
    """What an argument may be changed to, by its value in a description and by what its annotation says."""
    said = "" if parameter is None else str(parameter.annotation)
    if name in FREE:
        return ANYTHING
    if isinstance(data, bool) or said == "bool":
        return FLAGS
    if "Callable" not in said and (
        "Module" in said or "Attend" in said or (isinstance(data, Mapping) and "class" in data)
    ):
        return MODULES
    if "Callable" in said or "Factory" in said or "Activation" in said or (isinstance(data, Mapping) and _named(data)):
        return FACTORIES
    if "Literal" in said:
        return CHOICES
    if "Size" in said:
        return SIZES
    if isinstance(data, float) or "float" in said or name.endswith(REAL):
        return SHARES if name.endswith(RATES) and "mlp_ratio" not in name and "attn_ratio" not in name else FLOATS
    if isinstance(data, int) or "int" in said:
        return INTS
    return ANYTHING


def _named(data: Mapping[str, Any]) -> bool:
    return "name" in data or "partial" in data


def images(rng: Random, channels: int, size: tuple[int, int]) -> Value:
    """A batch of images, changed."""
    image = torch.randn(2, channels, *size)
    return rng.choice(
        bad(
            None,
            3,
            "image",
            image.numpy(),
            image.tolist(),
            image[0],
            image[None],
            image.mean(),
            (image * 9).long(),
            (image * 9).byte(),
            image > 0,
            image.to(torch.complex64),
            image.double(),
            image.bfloat16(),
            torch.randn(2, channels + 1, *size),
            torch.randn(2, 0, *size),
            torch.randn(2, *size, channels),
        )
        + odd(
            image,
            image[:1],
            image[:0],
            image.mT.contiguous().mT,
            image * 1e4,
            image * 0,
            *(torch.randn(1, channels, *other) for other in sizes(size)),
        )
    )


def sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Other sizes than a model was made for."""
    rows, columns = size
    return [
        *((rows * 2, columns), (rows, columns * 2), (rows + 1, columns), (rows, columns - 1), (rows * 3 // 2, columns)),
        *((1, 1), (0, columns), (rows, 0), (1, columns), (rows, 3), (7, 5), (2, 2)),
    ]


def tokens(rng: Random, count: int, dim: int, *, has_dim: bool) -> Value:
    """Tokens ``(2, count, dim)``, changed."""
    x = torch.randn(2, count, dim)
    other = [x[:, :, :1], torch.randn(2, count, dim + 1), torch.randn(2, count, 0), x[:, :, : dim // 2]]
    return rng.choice(
        bad(
            *(None, 3, "x", x.numpy(), [x], x[0], x[:, :, None], x.mean()),
            *((x * 9).long(), (x * 9).int(), x > 0, x.to(torch.complex64)),
        )
        + (bad(*other) if has_dim else odd(*other))
        + odd(
            x,
            x[:1],
            x[:0],
            x.double(),
            x.half(),
            x[:, : count // 2],
            x[:, :0],
            torch.randn(2, count + 3, dim),
            x * 1e4,
            x * 0,
        )
    )


GRIDS = bad(
    *(
        (-4, -4),
        (-4, -6),
        (2, 2, 4),
        (),
        None,
        4,
        "44",
        [4, 4],
        (4.0, 4.0),
        (0, 5),
        (5, 0),
        (4, None),
        (-16,),
        (nan, 4),
        (-1, -1),
    ),
    *((40, 40), (1000,)),
) + odd((4, 4), (2, 8), (16, 1), (1, 16), (3, 5), (16,), (0, 0), (7,), (1, 1))
"""What ``grid`` is changed to beside 16 patches."""
