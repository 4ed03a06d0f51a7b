"""The model as a table for people: what each layer is made of, the shape it gives, its parameters and multiply-adds."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..inspect import summary
from ..model import Model

HEADINGS = ("layer", "part", "tokens x dim", "params", "MACs")

Row = tuple[str, str, str, str, str]


def layer_rows(model: Model, side: int) -> list[Row]:
    """A row for each layer in the order they run, for one square image, and one for the whole."""
    counted = summary(model, side)
    rows: list[Row] = [
        (
            layer.name,
            part_words(model.get_submodule(layer.name)),
            "x".join(map(str, layer.shape)),
            f"{layer.params:,}",
            millions(layer.macs),
        )
        for layer in counted.layers
    ]
    return [*rows, ("all", type(model).__name__, "", f"{counted.params:,}", millions(counted.macs))]


def part_words(layer: nn.Module) -> str:
    """A layer's class, and for a block those of the parts it was given."""
    parts = [type(getattr(layer, name)).__name__ for name in ("attn", "mlp") if hasattr(layer, name)]
    return f"{type(layer).__name__}({', '.join(parts)})" if parts else type(layer).__name__


def millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a markdown table."""
    lines = [HEADINGS, ("---", "---", "---", "---:", "---:"), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
