"""Which layers can be converted into what, and what it costs the answer: each layer alone, in each kind."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor, nn

from ..checkpoint.files import write_whole
from ..inspect.table import aligned
from .cost import Cost, Costs, layer_activations, layer_macs, layer_seconds
from .drift import Answer, Drift, answers, drift
from .kinds import KEPT, Kind, global_layers, standard_kinds
from .refit import refit
from .watching import look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Entry:
    """One layer as one kind, all others as they were.

    Attributes:
        layer, kind: their names; the kind is ``"kept"`` for the layer as it was.
        tokens, logits, agreement: see :class:`~vitblocks.convert.Drift`.
        macs: multiply-adds of the layer for one image.
        seconds: measured for one image, or for the images that were given for it.
        parameters: of the layer.
        activations: bytes that the layer keeps for its backward, for one image.
    """

    layer: str
    kind: str
    tokens: float
    logits: float
    agreement: float
    macs: int
    seconds: float
    parameters: int
    activations: int = 0


@dataclass(frozen=True)
class Sensitivity:
    """What every layer would cost the answer in every kind; ``print`` gives a table.

    Attributes:
        entries: one for each layer and kind, with ``"kept"`` first, in the order of the model.
        images: how many the drift was measured on.
        refitted: whether projections were refitted before.
        size: (height, width) of the images that costs are for.
        machine: what the times were taken on.
    """

    entries: list[Entry]
    images: int
    refitted: bool
    size: tuple[int, int]
    machine: str

    @property
    def layers(self) -> list[str]:
        return list(dict.fromkeys(entry.layer for entry in self.entries))

    @property
    def kinds(self) -> list[str]:
        return list(dict.fromkeys(entry.kind for entry in self.entries))

    def of(self, layer: str, kind: str) -> Entry | None:
        """The entry of a layer and a kind; None where the kind does not fit the layer."""
        return next((e for e in self.entries if (e.layer, e.kind) == (layer, kind)), None)

    def __str__(self) -> str:
        head = ["layer", "kind", "tokens", "logits", "agreement", "MACs", "ms", "parameters", "activations"]
        rows = [
            [
                e.layer,
                e.kind,
                f"{e.tokens:.3f}",
                f"{e.logits:.4f}",
                f"{e.agreement:.1%}",
                f"{e.macs:,}",
                f"{1000 * e.seconds:.3f}",
                f"{e.parameters:,}",
                f"{e.activations:,}",
            ]
            for e in self.entries
        ]
        return "\n".join("  ".join(cells).rstrip() for cells in aligned([head, *rows], left=2))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, whole or not at all."""
        write_whole(path, [json.dumps(asdict(self), indent=1).encode()])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sensitivity:
        """Read what :meth:`save` wrote. Raises ValueError where the file is something else."""
        try:
            data: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            entries = [Entry(**entry) for entry in data.pop("entries")]
            height, width = data.pop("size")
            return cls(entries, size=(height, width), **data)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} holds no sensitivity report: {error}") from error

    def draw(self, what: str = "tokens") -> Figure:
        """A heat map, a row for each layer and a column for each kind. Needs the extra ``viz``.

        Args:
            what: ``"tokens"``, ``"logits"``, ``"agreement"``, ``"macs"``, ``"seconds"``, ``"parameters"`` or ``"activations"``.
        """
        from ..viz.tables import heat_map

        kinds = [kind for kind in self.kinds if kind != KEPT or what in get_args(Cost)]
        found = [[self.of(layer, kind) for kind in kinds] for layer in self.layers]
        values = [[float("nan") if e is None else float(getattr(e, what)) for e in row] for row in found]
        return heat_map(values, rows=self.layers, columns=kinds, title=what)


@torch.no_grad()
def sensitivity(
    model: nn.Module,
    images: Tensor,
    kinds: Sequence[Kind] | None = None,
    *,
    layers: Sequence[str] | None = None,
    refitted: bool = True,
    timed: Tensor | None = None,
    batch: int = 64,
) -> Sensitivity:
    """Convert each layer alone into each kind, and see how far the model's tokens and logits move.

    Args:
        model: any model with global attention; it is left as it is.
        images: for calibration, without labels, ``(B, channels, height, width)``. With ``refitted`` the first three quarters are
            fitted to and the rest is measured on.
        kinds: :func:`standard_kinds` if None.
        layers: names of attentions; all over all tokens if None.
        refitted: whether each new layer's projection is refitted before it is measured (see :func:`~vitblocks.convert.refit`): then
            drift is what is left after the first stage of a conversion.
        timed: what the layers are timed with; the first image if None. Give images of the size, the device and the number that count.
        batch: images at a time.

    Raises:
        ValueError: no layer is global attention, or there are too few images.
    """
    kinds = standard_kinds() if kinds is None else kinds
    layers = global_layers(model) if layers is None else layers
    if len(images) < 8:
        raise ValueError(f"images must be at least 8 to calibrate on, got {len(images)}")
    cut = 3 * len(images) // 4 if refitted else 0
    fitted, measured = images[:cut], images[cut:]
    timed = images[:1] if timed is None else timed
    before = answers(model, measured, batch)
    work = deepcopy(model)
    entries = []
    for layer in layers:
        old = work.get_submodule(layer)
        found = _candidates(model, work, layer, kinds, fitted, images[:1], batch)
        costs = _costs(work, layer, [old, *(new for _, new in found)], timed)
        entries.append(Entry(layer, KEPT, 0.0, 0.0, 1.0, *costs[0]))
        for (kind, new), cost in zip(found, costs[1:], strict=True):
            entries.append(_entry(work, layer, kind, new, before, measured, batch, cost))
            _put(work, layer, old)
    size = (timed.shape[-2], timed.shape[-1])
    where = str(timed.device) if timed.is_cuda else f"CPU, {torch.get_num_threads()} thread(s)"
    return Sensitivity(entries, len(measured), refitted, size, where)


def _candidates(
    model: nn.Module, work: nn.Module, layer: str, kinds: Sequence[Kind], fitted: Tensor, image: Tensor, batch: int
) -> list[tuple[str, nn.Module]]:
    """The layer in every kind that fits it, refitted if there are images for it; ``work`` is left as it was."""
    old, found = work.get_submodule(layer), []
    for kind in kinds:
        try:
            kind.put(work, layer)
            look(work, image, layer)
            if len(fitted):
                half = max(len(fitted) * 3 // 4, 1)
                refit(work, model, fitted[:half], fitted[half:], [layer], batch)
            found.append((kind.name, work.get_submodule(layer)))
        except (ValueError, TypeError):
            pass  # the kind does not fit this layer: it has no entry
        finally:
            _put(work, layer, old)
    return found


def _costs(work: nn.Module, layer: str, candidates: Sequence[nn.Module], timed: Tensor) -> list[Costs]:
    """What the layer costs in each kind."""
    seen = look(work, timed, layer)
    seconds = layer_seconds(candidates, seen.x, seen.grid)
    counts = [sum(p.numel() for p in candidate.parameters()) for candidate in candidates]
    macs = [layer_macs(candidate, seen.x, seen.grid) for candidate in candidates]
    activations = [layer_activations(candidate, seen.x, seen.grid) for candidate in candidates]
    return [Costs(*costs) for costs in zip(macs, seconds, counts, activations, strict=True)]


def _entry(
    work: nn.Module,
    layer: str,
    kind: str,
    new: nn.Module,
    before: list[Answer],
    measured: Tensor,
    batch: int,
    cost: Costs,
) -> Entry:
    _put(work, layer, new)
    moved: Drift = drift(before, answers(work, measured, batch))
    return Entry(layer, kind, moved.tokens, moved.logits, moved.agreement, *cost)


def _put(model: nn.Module, layer: str, module: nn.Module) -> None:
    parent, _, child = layer.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
