"""What a swap did, and the way back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain

from torch import Tensor, nn
from torch.optim import Optimizer

from ..inspect.table import aligned
from .family import Family
from .ledger import Ledger
from .optimizer import Moved, move
from .record import Record, forget


def first_weight(module: nn.Module) -> Tensor | None:
    """The parameter whose dtype and device speak for the module."""
    return next((parameter for parameter in module.parameters() if parameter.is_floating_point()), None)


@dataclass
class Replacement:
    """A layer, its successor, and every place of the model at which it stands."""

    name: str
    family: Family
    old: nn.Module
    new: nn.Module
    places: list[tuple[nn.Module, str]]

    @property
    def title(self) -> str:
        return f"{self.name} ({type(self.old).__name__} -> {type(self.new).__name__})"

    def install(self) -> None:
        for parent, child in self.places:
            setattr(parent, child, self.new)

    def restore(self) -> None:
        for parent, child in self.places:
            setattr(parent, child, self.old)

    def is_installed(self) -> bool:
        return all(getattr(parent, child, None) is self.new for parent, child in self.places)

    def follow(self) -> None:
        """Bring the old layer to the mode, dtype and device that the model was brought to since."""
        now, then = first_weight(self.new), first_weight(self.old)
        if now is not None and then is not None and (now.dtype, now.device) != (then.dtype, then.device):
            self.old.to(device=now.device, dtype=now.dtype)
        if self.old.training != self.new.training:
            self.old.train(self.new.training)


@dataclass
class LayerSwap:
    """One layer before and after. Keys are those of its state dict; ``dropped`` also names parts without tensors (``rotary``).

    ``macs_before`` and ``macs_after`` are its multiply-adds for one image; None where they were not counted, 0 where it is not called
    but its parts are.
    """

    name: str
    old_kind: str
    new_kind: str
    carried: list[str]
    new: list[str]
    dropped: list[str]
    parameters_before: int
    parameters_after: int
    macs_before: int | None = None
    macs_after: int | None = None


def layer_of(replacement: Replacement, ledger: Ledger) -> LayerSwap:
    old, new = replacement.old, replacement.new
    before, after = old.state_dict(), new.state_dict()
    dropped = [key for key in before if key not in ledger.read]
    # A rotary position has no tensors, yet losing it changes the function.
    if getattr(old, "rotary", None) is not None and getattr(new, "rotary", None) is None:
        dropped.append("rotary")
    return LayerSwap(
        name=replacement.name,
        old_kind=type(old).__name__,
        new_kind=type(new).__name__,
        carried=[key for key in after if key in ledger.filled],
        new=[key for key in after if key not in ledger.filled],
        dropped=dropped,
        parameters_before=sum(parameter.numel() for parameter in old.parameters()),
        parameters_after=sum(parameter.numel() for parameter in new.parameters()),
    )


@dataclass
class SwapDrift:
    """How far the outputs on a sample moved, in evaluation.

    Attributes:
        logits: ``max |after - before| / max |before|``.
        features: the same of ``forward_features``; None where the model has none.
        top1: the share of images whose largest logit stayed the same.
    """

    logits: float
    features: float | None
    top1: float


@dataclass
class SwapReport:
    """What :func:`~vitblocks.surgery.swap` did. It holds the old layers for :meth:`undo`; drop it to free them.

    Attributes:
        layers: a :class:`LayerSwap` for each, in the model's order.
        drift: how far the outputs moved; None without a sample.
        macs_before, macs_after: multiply-adds of the whole model for one image, of the sample's size or of the size that the model was
            made for; None where they were not counted.
        uncounted: why they were not.
        config: the swap as plain data, which the model keeps and :func:`~vitblocks.checkpoint.save` writes with the weights.
    """

    layers: list[LayerSwap]
    drift: SwapDrift | None = None
    macs_before: int | None = None
    macs_after: int | None = None
    uncounted: str = ""
    config: Record = field(default_factory=dict)
    replacements: list[Replacement] = field(default_factory=list, repr=False, compare=False)
    model: nn.Module | None = field(default=None, repr=False, compare=False)
    undone: bool = field(default=False, init=False)

    @property
    def parameters_before(self) -> int:
        """Of the swapped layers together."""
        return sum(layer.parameters_before for layer in self.layers)

    @property
    def parameters_after(self) -> int:
        """Of the swapped layers together."""
        return sum(layer.parameters_after for layer in self.layers)

    def undo(self) -> None:
        """Put the old layers back, the same objects, in the mode, dtype and device the model has now.

        Raises:
            ValueError: they are back already, or something else has replaced the new ones since.
        """
        if self.undone:
            raise ValueError("undo was called before: the old layers are already back")
        for replacement in self.replacements:
            if not replacement.is_installed():
                raise ValueError(f"{replacement.title} was replaced again since: undo the later swap first")
        for replacement in self.replacements:
            replacement.follow()
            replacement.restore()
        if self.model is not None:
            forget(self.model, self.config)
        self.undone = True

    def update(self, optimizer: Optimizer) -> None:
        """Bring an optimizer that was made before the swap to the parameters that the model has now; after :meth:`undo` brings it back.

        Parameters of the layers that are gone leave it with their state, those of the layers that came are put into the groups of what they
        stand for. State and groups of all others stay, and a parameter that was carried over under its own name keeps its state.

        Raises:
            ValueError: the optimizer has no parameter of the model.
        """
        assert self.model is not None
        layers = [(r.new, r.old) if self.undone else (r.old, r.new) for r in self.replacements]
        known = {id(parameter) for module in (self.model, *chain(*layers)) for parameter in module.parameters()}
        if not any(id(parameter) in known for group in optimizer.param_groups for parameter in group["params"]):
            raise ValueError(
                f"optimizer has no parameter of this {type(self.model).__name__}: give the one that trains it"
            )
        kept = [frozenset(layer.carried) for layer in self.layers]
        move(optimizer, [Moved(*both, names) for both, names in zip(layers, kept, strict=True)], self.model)

    def __str__(self) -> str:
        header = ("layer", "before", "after", "carried", "new", "dropped", "parameters", "MACs")
        rows = [header, *(_row(layer) for layer in self.layers)]
        if len(self.layers) > 1:
            count = _change(self.parameters_before, self.parameters_after)
            rows.append((f"all {len(self.layers)}", "", "", "", "", "", count, ""))
        lines = ["  ".join(cells) for cells in aligned(rows, left=3)]
        lines += _keys("new", [layer.new for layer in self.layers])
        lines += _keys("dropped", [layer.dropped for layer in self.layers])
        counted = self.macs_before is not None and self.macs_after is not None
        lines.append(
            f"MACs of the model: {_change(self.macs_before, self.macs_after) if counted else f'not counted, {self.uncounted}'}"
        )
        lines.append(_drift(self.drift))
        lines.append("An optimizer made before the swap has the old parameters: report.update(optimizer).")
        return "\n".join(line.rstrip() for line in lines)


def _change(before: int | None, after: int | None) -> str:
    return "" if before is None or after is None else f"{before:,} -> {after:,}"


def _row(layer: LayerSwap) -> tuple[str, ...]:
    counts = (str(len(keys)) for keys in (layer.carried, layer.new, layer.dropped))
    return (
        layer.name,
        layer.old_kind,
        layer.new_kind,
        *counts,
        _change(layer.parameters_before, layer.parameters_after),
        _change(layer.macs_before, layer.macs_after),
    )


def _keys(what: str, layers: list[list[str]]) -> list[str]:
    """A line for each set of keys, saying in how many layers it is the same."""
    counts = Counter(tuple(keys) for keys in layers if keys)
    return [f"{what} in {count} of {len(layers)}: {', '.join(keys)}" for keys, count in counts.items()]


def _drift(drift: SwapDrift | None) -> str:
    if drift is None:
        return "drift: not measured, no sample was given"
    features = "" if drift.features is None else f", features {drift.features:.1e}"
    return f"drift on the sample: logits {drift.logits:.1e}{features}, top-1 agreement {drift.top1:.1%}"
