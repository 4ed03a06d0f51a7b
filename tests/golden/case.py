"""A golden case: a file of names, shapes and outputs, and the weights that are generated from the names."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

Shape = tuple[int, ...]

# Tables of kind "fixed" whose values no file holds, because they are constants.
CONSTANTS = {r".*\.out_zero_mask": 0.0, r".*\.weight_g": 1.0}


def mae_positions(shape: Shape) -> Tensor:
    """MAE's table of positions for a square grid, by the authors' formula, rounded to float32 as theirs: ``(1, 1 + places, dim)``."""
    side, dim = round((shape[1] - 1) ** 0.5), shape[2]
    frequency = 10000.0 ** (-np.arange(dim // 4) / (dim // 4))
    row, column = np.divmod(np.arange(side * side), side)
    angles = [place[:, None] * frequency for place in (column, row)]
    table = np.concatenate([part(angle) for angle in angles for part in (np.sin, np.cos)], axis=1)
    with_class = np.concatenate([np.zeros((1, dim)), table])[None]
    return torch.as_tensor(with_class.astype(np.float32), dtype=torch.float64)


# Tables of kind "fixed" that a file leaves out and a formula gives.
FORMULAS = {r"(vit\.embeddings\.position_embeddings|decoder\.decoder_pos_embed)": mae_positions}


def stream(key: str) -> np.random.RandomState:
    """The random stream of a name. RandomState's is frozen for good, unlike that of newer generators."""
    return np.random.RandomState(zlib.crc32(key.encode()))


def normal(key: str, shape: Shape) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The standard normal of a name, float64."""
    return np.asarray(stream(key).standard_normal(shape))


def weight(key: str, shape: Shape) -> Tensor:
    """The value of an entry of kind param or buffer; the first line that applies decides."""
    r = normal(key, shape)
    if key.endswith("running_var"):
        value = 1 + 0.5 * np.abs(r)
    elif len(shape) <= 1 and key.endswith("weight"):
        value = 1 + 0.1 * r
    elif len(shape) <= 1:
        value = 0.1 * r
    elif shape[0] == 1 and len(shape) >= 3:
        value = 0.5 * r
    else:
        value = r / np.sqrt(prod(shape[1:]))
    return torch.as_tensor(value, dtype=torch.float64)


def padded(value: Any) -> Any:
    """Rows of ids may differ in length, where images keep different numbers of tokens: the shorter ones end in -1."""
    if not (isinstance(value, list) and all(isinstance(row, list) for row in value)):
        return value
    if any(isinstance(item, list) for row in value for item in row):
        return value
    longest = max(map(len, value), default=0)
    return [row + [-1] * (longest - len(row)) for row in value]


class NotACaseError(ValueError):
    """A file that is no golden case."""


@dataclass(frozen=True)
class Case:
    """What a case file holds; ``raw`` is all of it."""

    raw: Mapping[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> Case:
        """Raises NotACaseError if the file is no golden case, OSError if it cannot be read."""
        try:
            raw = json.loads(Path(path).read_text())
        except json.JSONDecodeError as error:
            raise NotACaseError(f"{path} is not JSON: {error}") from error
        if not isinstance(raw, dict) or not {"case", "architecture", "layout", "outputs"} <= raw.keys():
            raise NotACaseError(f"{path} is no golden case: it lacks case, architecture, layout or outputs")
        return cls(raw)

    @property
    def name(self) -> str:
        return str(self.raw["case"])

    @property
    def architecture(self) -> str:
        return str(self.raw["architecture"])

    @property
    def reference(self) -> str:
        """The published implementation: package or repository, class, version."""
        return str(self.raw["reference"])

    @property
    def layout(self) -> str:
        return str(self.raw["layout"])

    @property
    def config(self) -> dict[str, Any]:
        """The reference's constructor arguments, and further ones of its ``forward``."""
        return {**self.raw.get("call", {}), **self.raw["config"]}

    @property
    def outputs(self) -> dict[str, Tensor]:
        """The recorded outputs, float64."""
        return {name: torch.tensor(padded(value), dtype=torch.float64) for name, value in self.raw["outputs"].items()}

    @property
    def input(self) -> Tensor:
        """The image, or what else the case feeds."""
        return self.random("input", tuple(self.raw["input"]))

    def random(self, key: str, shape: Shape) -> Tensor:
        """The standard normal of a name, as further inputs use it."""
        return torch.as_tensor(normal(key, shape), dtype=torch.float64)

    def uniform(self, key: str, shape: Shape) -> Tensor:
        """The uniform numbers of a name: ``noise``; ``mask``, which is where they are below 0.5."""
        return torch.as_tensor(stream(key).uniform(size=shape), dtype=torch.float64)

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights under the reference's keys.

        Computed indices (kind int) are zeros: only BatchNorm's counters among them are weights, and those start at zero.

        Raises:
            ValueError: a fixed table whose values are unknown, or an unknown kind.
        """
        state: dict[str, Tensor] = {}
        for key, size, kind in self.raw.get("state", ()):
            shape = tuple(size)
            if kind in ("param", "buffer"):
                state[key] = weight(key, shape)
            elif kind == "int":
                state[key] = torch.zeros(shape, dtype=torch.int64)
            elif kind == "alias":
                state[key] = state[self.raw["aliases"][key]]
            elif kind == "fixed":
                state[key] = self._fixed(key, shape)
            else:
                raise ValueError(f"{self.name}: {key} has the unknown kind {kind!r}")
        return state

    def _fixed(self, key: str, shape: Shape) -> Tensor:
        values = self.raw.get("fixed_values", {})
        if key in values:
            return torch.tensor(values[key], dtype=torch.float64).reshape(shape)
        for pattern, constant in CONSTANTS.items():
            if re.fullmatch(pattern, key):
                return torch.full(shape, constant, dtype=torch.float64)
        for pattern, formula in FORMULAS.items():
            if re.fullmatch(pattern, key):
                return formula(shape)
        raise ValueError(
            f"{self.name}: the file holds no fixed_values for {key}, and neither CONSTANTS nor FORMULAS has a rule for it"
        )

    @property
    def indices(self) -> set[str]:
        """The keys of computed indices, whose values a case does not hold."""
        return {key for key, _, kind in self.raw.get("state", ()) if kind == "int" and "num_batches" not in key}
