"""``python -m tests.counts``: tests/counts.json, the parameters and multiply-adds of every published size, which the gallery shows.

Counted on the meta device, for one image of the size in the file. What the file has already is kept: take a name out to count it anew.
``tests/test_registry.py`` holds it to what the models are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

import vitblocks
from vitblocks.grid import to_pair
from vitblocks.registry import variants

PATH = Path(__file__).parent / "counts.json"

Count = tuple[list[int], int, int]
"""The (height, width) of the image, parameters, multiply-adds."""


def recorded() -> dict[str, Count]:
    return {name: (size, params, macs) for name, (size, params, macs) in json.loads(PATH.read_text()).items()}


def count(name: str) -> Count:
    model = on_meta(name)
    size = to_pair(getattr(model, "image_size", None) or 224, "image_size")
    found = of_depths(name, size, sum(parameter.numel() for parameter in model.parameters()))
    if found is None:
        counted = vitblocks.summary(model, size)
        found = counted.params, counted.macs
    return list(size), *found


def of_depths(name: str, size: tuple[int, int], params: int) -> tuple[int, int] | None:
    """What one and two blocks say of a model whose blocks are alike; None where the parameters show that they are not."""
    depth = variants()[name].options.get("depth")
    if not isinstance(depth, int) or depth <= 2:
        return None
    try:
        one, two = (vitblocks.summary(on_meta(name, depth=few), size) for few in (1, 2))
    except ValueError:  # other arguments name blocks by their number
        return None
    if one.params + (depth - 1) * (two.params - one.params) != params:
        return None
    return params, one.macs + (depth - 1) * (two.macs - one.macs)


def on_meta(name: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return vitblocks.create_model(name, **options)


def main() -> None:
    found = recorded() if PATH.exists() else {}
    for name in vitblocks.list_models():
        found.setdefault(name, count(name))
    lines = (f"{json.dumps(name)}: {json.dumps(found[name])}" for name in vitblocks.list_models())
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
