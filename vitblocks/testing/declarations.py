"""What a layer declares for tools (:mod:`vitblocks.folding.declared`), checked by folding it: its outputs must stay what they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..folding.declared import declared
from ..folding.fold import fold
from ..folding.freezing import FrozenPosition
from ..grid import Grid
from ..norm import LayerNorm
from ..residual import LayerScale, Residual, Shortcut
from .influences import tokens_of
from .subject import Case, Subject

RULE = "what its parts declare holds: folding keeps its outputs"

_SCALED = (nn.LayerNorm, nn.RMSNorm, nn.BatchNorm1d, nn.BatchNorm2d, LayerScale)


class _Normed(nn.Module):
    """A norm before a layer, so that the linears that read its input take part."""

    normed: ClassVar = {"norm": "layer"}

    def __init__(self, dim: int, layer: nn.Module) -> None:
        super().__init__()
        self.norm = LayerNorm(dim)
        self.layer = layer

    def forward(self, x: Tensor, grid: Grid) -> Any:
        return self.layer(self.norm(x), grid)


def check_declared(subject: Subject, cases: Sequence[Case]) -> None:
    """Check what a layer or transition and the parts in it declare, on all cases, in float64.

    It is folded with a norm before it and, where it keeps the shape, within a residual branch with layer scale; norms, statistics and
    layer scales are random.
    """
    first, dim = cases[0], cases[0].x.shape[-1]
    output = subject.fresh()(first.x, first.grid)
    _check_folded(subject, _Normed(dim, subject.fresh()), cases)
    if isinstance(output, Tensor) and output.shape == first.x.shape:
        _check_folded(subject, Residual(dim, subject.fresh(), layer_scale=1.0), cases)
    if declared(subject.module, "adds_positions"):
        for case in cases:
            part = subject.fresh()
            frozen = FrozenPosition(part, case.grid)(case.x, case.grid)
            rule = "it adds what positions(grid) gives"
            subject.require_close(frozen, part(case.x, case.grid), rule, case, torch.float64)
    if declared(subject.module, "per_token"):
        for case in cases:
            layer, x = subject.fresh().double().eval(), case.x.double()
            rule = "it is per_token: it gives a token what it would give it alone"
            subject.require_close(layer(x[:, :1], (0, 0)), layer(x, case.grid)[:, :1], rule, case, torch.float64)
    if declared(subject.module, "residuals"):
        for case in cases:
            layer, x = subject.fresh().double().eval(), case.x.double()
            whole, after = layer(x, case.grid), x
            for norm, inner, shortcut in declared(layer, "residuals"):
                update = getattr(layer, inner)(getattr(layer, norm)(after), case.grid)
                after = getattr(layer, shortcut)(after, update)
            subject.require_close(after, whole, "it is the branches of its residuals", case, torch.float64)


def _check_folded(subject: Subject, outer: nn.Module, cases: Sequence[Case]) -> None:
    outer = outer.double().eval()
    _scale_shortcuts(outer, cases[0])
    _shake(outer)
    try:
        folded, report = fold(outer)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{subject.name} breaks the rule that {RULE}: {error}") from error
    folds = ", ".join(f"{fold.source} into {fold.into}" for fold in report.folds)
    for case in cases:
        after, before = (tokens_of(module(case.x, case.grid)) for module in (folded, outer))
        subject.require_close(after, before, RULE, f"{case}; folded {folds}", torch.float64)


def _scale_shortcuts(outer: nn.Module, case: Case) -> None:
    """Put a layer scale into every Shortcut of tokens without one."""
    bare = [m for m in outer.modules() if isinstance(m, Shortcut) and isinstance(m.scale, nn.Identity)]
    widths: dict[Shortcut, int] = {}

    def note(shortcut: Any, args: tuple[Any, ...]) -> None:
        if args[0].dim() == 3:  # not of maps, whose channels lie elsewhere
            widths[shortcut] = args[0].shape[-1]

    handles = [shortcut.register_forward_pre_hook(note) for shortcut in bare]
    outer(case.x, case.grid)
    for handle in handles:
        handle.remove()
    for shortcut, width in widths.items():
        shortcut.scale = LayerScale(width, 1.0).double()


def _shake(outer: nn.Module) -> None:
    """Random scales, shifts and statistics."""
    random = torch.Generator().manual_seed(2)
    for module in outer.modules():
        if isinstance(module, _SCALED):
            for parameter in module.parameters():
                parameter.uniform_(0.5, 1.5, generator=random)
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_mean is not None:
            module.running_mean.normal_(generator=random)
            if module.running_var is not None:
                module.running_var.uniform_(0.5, 2.0, generator=random)
