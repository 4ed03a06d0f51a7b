"""The output projection of a new attention in closed form: ridge regression onto what the old model had there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from ..attention import Attention, ClassAttention
from ..grid import Grid
from ..inspect.frames import evaluating
from .watching import Seen, look, shortcut_of, token_weights

RIDGES = (1e-6, 1e-4, 1e-2, 1.0)
"""What is tried for the weight of the old projection, by the mean variance of a feature."""


@dataclass(frozen=True)
class Refit:
    """A projection that was refitted: the share of the target's variance left unexplained on images held out, before and after.

    ``ridge`` is which of :data:`RIDGES` was best on them; None where the old projection was, which then stays.
    """

    layer: str
    before: float
    after: float
    ridge: float | None


def refittable(layer: nn.Module) -> bool:
    """Whether what an attention gives is linear in the weights of its projection, token by token."""
    return isinstance(layer, Attention) and isinstance(layer.proj, nn.Linear) and not isinstance(layer, ClassAttention)


class Sums:
    """Products of features and targets over many tokens, in float64; the last feature is 1."""

    def __init__(self, features: int, targets: int, device: torch.device) -> None:
        self.gram = torch.zeros(features + 1, features + 1, dtype=torch.float64, device=device)
        self.cross = torch.zeros(features + 1, targets, dtype=torch.float64, device=device)
        self.total = torch.zeros(targets, dtype=torch.float64, device=device)
        self.square, self.count = 0.0, 0.0

    def add(self, features: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Add ``(n, features)`` and ``(n, targets)``, which count by their ``weights (n,)``."""
        x = torch.cat([features.double(), features.new_ones(len(features), 1, dtype=torch.float64)], dim=1)
        y, w = targets.double(), rearrange(weights.double(), "n -> n 1")
        self.gram += x.T @ (w * x)
        self.cross += x.T @ (w * y)
        self.total += (w * y).sum(dim=0)
        self.square += float((w * y.square()).sum())
        self.count += float(w.sum())

    def unexplained(self, weight: Tensor) -> float:
        """The share of the targets' variance that ``weight (features + 1, targets)`` leaves."""
        error = self.square - 2 * float((weight * self.cross).sum()) + float((weight * (self.gram @ weight)).sum())
        variance = self.square - float(self.total.square().sum()) / self.count
        return error / max(variance, 1e-300)

    def solve(self, old: Tensor, ridge: float, *, biased: bool) -> Tensor:
        """The weight that explains most, drawn to ``old (features + 1, targets)`` but for the constant, which stays if not ``biased``."""
        size = float(self.gram.diagonal()[:-1].mean())
        pull = torch.full((len(self.gram),), ridge * size, dtype=torch.float64, device=self.gram.device)
        pull[-1] = 1e-12 * size
        used = slice(None) if biased else slice(-1)
        new = old.clone()
        new[used] += torch.linalg.solve((self.gram + pull.diag())[used, used], (self.cross - self.gram @ old)[used])
        return new


def projected(layer: Attention, x: Tensor, grid: Grid) -> Tensor:
    """What an attention gives to its projection, token by token in their order: ``(B, N, heads * value_dim)``."""
    proj = layer.proj
    layer.proj = nn.Identity()
    try:
        features: Tensor = layer(x, grid)
    finally:
        layer.proj = proj
    return features


def target_of(old: Seen, new: Seen, scale: nn.Module | None) -> Tensor:
    """What the new attention should give: so that the stream behind it is what it was, whatever came before."""
    if scale is None or old.after is None or new.before is None:
        return old.y
    wanted = old.after - new.before
    factor = getattr(scale, "weight", None)
    return wanted if factor is None else wanted / factor


@torch.no_grad()
def refit(
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    held_out: Tensor,
    layers: Sequence[str],
    batch: int = 64,
) -> list[Refit]:
    """Refit projections one after the other, each on the student's own stream as it is by then, with the teacher's as the target.

    It takes no step and no label. Prefix tokens together count as much as all patches.
    Where the fit is worse on the images held out, the old projection stays.

    Args:
        student: changed in place.
        teacher: the model as it was.
        images, held_out: ``(B, channels, height, width)`` each.
        layers: names of attentions, in the order of the model; those whose projection is no Linear are passed over.
        batch: images at a time.
    """
    done = []
    for name in layers:
        layer = student.get_submodule(name)
        if not refittable(layer):
            continue
        assert isinstance(layer, Attention)
        assert isinstance(layer.proj, nn.Linear)
        fit, check = (_sums(student, teacher, part, name, batch) for part in (images, held_out))
        done.append(_solve(name, layer.proj, fit, check))
    return done


def _sums(student: nn.Module, teacher: nn.Module, images: Tensor, name: str, batch: int) -> Sums:
    layer = student.get_submodule(name)
    shortcut = shortcut_of(student, name)
    assert isinstance(layer, Attention)
    sums: Sums | None = None
    for part in images.split(batch):
        old, new = look(teacher, part, name), look(student, part, name)
        with evaluating(layer):
            features = projected(layer, new.x, new.grid)
        target = target_of(old, new, None if shortcut is None else shortcut.scale)
        if sums is None:
            sums = Sums(features.shape[-1], target.shape[-1], features.device)
        weights = repeat(token_weights(new.x, new.grid), "n -> (b n)", b=len(new.x))
        sums.add(rearrange(features, "b n c -> (b n) c"), rearrange(target, "b n c -> (b n) c"), weights)
    assert sums is not None
    return sums


def _solve(name: str, proj: nn.Linear, fit: Sums, check: Sums) -> Refit:
    biased = proj.bias is not None
    old = proj.weight.new_zeros(proj.in_features + 1, proj.out_features, dtype=torch.float64)
    old[:-1] = proj.weight.T
    if biased:
        old[-1] = proj.bias
    before = best = check.unexplained(old)
    chosen, ridge = old, None
    for tried in RIDGES:
        weight = fit.solve(old, tried, biased=biased)
        error = check.unexplained(weight)
        if error < best:
            chosen, best, ridge = weight, error, tried
    proj.weight.copy_(chosen[:-1].T)
    if biased:
        proj.bias.copy_(chosen[-1])
    return Refit(name, before, best, ridge)
