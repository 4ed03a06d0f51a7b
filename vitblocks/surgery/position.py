"""The position families: layers that add positions to the tokens, and biases of the logits."""

from __future__ import annotations

from torch import nn

from ..position import (
    PEG,
    ClassRelativeBias,
    DistanceBias,
    DynamicBias,
    LearnedPosition,
    LogSpacedBias,
    RelativeBias,
    SinePosition1d,
    SinePosition2d,
)
from .family import Call, Family, Options, taken, tokens_of
from .ledger import Ledger, copy_alike
from .start import start_neutral

TABLES = (LearnedPosition, SinePosition1d, SinePosition2d)


def complete_layer(old: nn.Module, kind: type[nn.Module], options: Options, call: Call | None) -> Options:
    """Width, grid and prefix tokens of ``old``; the grid that it was called on where it has none of its own.

    Raises:
        ValueError: the new kind needs a grid and none is known.
    """
    tokens = tokens_of(call)
    settings: Options = {"dim": None if tokens is None else tokens[1], "grid": None if call is None else call[1]}
    if isinstance(old, TABLES):
        settings = {"dim": old.table.shape[-1], "grid": old.grid, "num_prefix": old.num_prefix}
    elif isinstance(old, PEG):
        settings["dim"] = old.conv.in_channels
    completed = taken(kind, settings, options)
    if issubclass(kind, TABLES) and "grid" not in completed:
        raise ValueError(f"{kind.__name__} needs the grid it is made for: give sample=, or grid=")
    return completed


def carry_layer(old: nn.Module, new: nn.Module, options: Options) -> Ledger:
    """Positions into a learned table, exactly on its grid if they are those of as many prefix tokens; a PEG into a larger kernel, exactly.

    Between a PEG and a table nothing is carried: what is new starts as nothing, a PEG with zero weights, a table of zeros. Sines are
    what they are.
    """
    ledger = Ledger()
    if copy_alike(old, new, ledger):
        return ledger
    if isinstance(new, LearnedPosition):
        new.reset_neutral()
        if isinstance(old, TABLES):
            fill_table(old, new, ledger)
    elif isinstance(new, PEG):
        new.reset_neutral()
        if isinstance(old, PEG):
            fill_kernel(old, new, ledger)
    return ledger


def fill_table(old: LearnedPosition | SinePosition1d | SinePosition2d, new: LearnedPosition, ledger: Ledger) -> None:
    """Positions on the grid of ``new``; those of prefix tokens as far as both have them."""
    table = old.positions(new.grid)
    shared = min(old.num_prefix, new.num_prefix)
    new.table[:, :shared] = table[:, :shared]
    new.table[:, new.num_prefix :] = table[:, old.num_prefix :]
    if isinstance(old, LearnedPosition):
        new.table.requires_grad_(old.table.requires_grad)
    ledger.note("table", [frozenset({"table"})])


def fill_kernel(old: PEG, new: PEG, ledger: Ledger) -> None:
    """A kernel in the middle of one that is at least as large; nothing otherwise."""
    (down, right), (rows, columns) = old.conv.kernel_size, new.conv.kernel_size
    top, left = (rows - down) // 2, (columns - right) // 2
    if top < 0 or left < 0:
        return
    new.conv.weight[:, :, top : top + down, left : left + right] = old.conv.weight
    ledger.note("conv.weight", [frozenset({"conv.weight"})])
    if new.conv.bias is not None and old.conv.bias is not None:
        new.conv.bias.copy_(old.conv.bias)
        ledger.note("conv.bias", [frozenset({"conv.bias"})])


def complete_bias(old: nn.Module, kind: type[nn.Module], options: Options, call: Call | None) -> Options:
    """Heads and grid of ``old``; the grid that it was asked for where it has none of its own.

    Raises:
        ValueError: the new kind needs a grid or a hidden width and none is known.
    """
    plain = old.patches if isinstance(old, ClassRelativeBias) else old
    grid = getattr(plain, "grid", None) or (None if call is None else call[0])
    completed = taken(kind, {"heads": getattr(plain, "heads", None), "grid": grid}, options)
    needed = None if issubclass(kind, LogSpacedBias) else "mlp_dim" if issubclass(kind, DynamicBias) else "grid"
    if needed is not None and needed not in completed:
        raise ValueError(f"{kind.__name__} needs {needed}=; it cannot be told from {type(old).__name__}")
    return completed


def carry_bias(old: nn.Module, new: nn.Module, options: Options) -> Ledger:
    """The bias of every offset, exactly on the grid of the new table; a :class:`DistanceBias` gets the mean of both directions.

    A :class:`DynamicBias` or :class:`LogSpacedBias` computes its biases and takes none over: it starts as no bias at all.
    """
    ledger = Ledger()
    if copy_alike(old, new, ledger):
        return ledger
    start_neutral(new)
    target, prefix = (new.patches, "patches.") if isinstance(new, ClassRelativeBias) else (new, "")
    source = old.patches if isinstance(old, ClassRelativeBias) else old
    if not isinstance(source, (RelativeBias, DistanceBias, DynamicBias, LogSpacedBias)) or not isinstance(
        target, (RelativeBias, DistanceBias)
    ):
        return ledger
    if getattr(target, "stride", (1, 1)) != (1, 1):
        return ledger
    target.take_offsets(source.offsets(target.grid))
    start = "patches." if isinstance(old, ClassRelativeBias) else ""
    ledger.note(f"{prefix}table", [frozenset(f"{start}{key}" for key in source.state_dict())])
    return ledger


def of_larger_strides(model: nn.Module) -> set[int]:
    """Biases between two grids, which no other kind has."""
    return {id(m) for m in model.modules() if isinstance(m, DistanceBias) and m.stride != (1, 1)}


POSITION = Family("position", "a position", (*TABLES, PEG), carry_layer, complete=complete_layer)
POSITION_BIAS = Family(
    "position",
    "a position",
    (RelativeBias, DistanceBias, DynamicBias, LogSpacedBias, ClassRelativeBias),
    carry_bias,
    complete=complete_bias,
    left_alone=of_larger_strides,
)
