"""The norm family: token norms that share a scale, and some a shift."""

from __future__ import annotations

from torch import nn

from ..norm import BatchNorm, LinearNorm
from .family import Call, Family, Options, keywords, taken
from .ledger import Ledger, copy_alike, copy_renamed


def inside_projections(model: nn.Module) -> set[int]:
    """Norms that are part of a projection."""
    return {id(module.norm) for module in model.modules() if isinstance(module, LinearNorm)}


def complete(old: nn.Module, kind: type[nn.Module], options: Options, call: Call | None) -> Options:
    """The width and the epsilon of ``old``."""
    inner = old.bn if isinstance(old, BatchNorm) else old
    shape = getattr(inner, "normalized_shape", None) or getattr(inner, "num_features", None)
    dim = list(shape) if isinstance(shape, tuple) else shape
    width = "normalized_shape" if "normalized_shape" in keywords(kind) else "dim"
    if width == "dim" and isinstance(dim, list):
        dim = dim[-1]
    return taken(kind, {width: dim, "eps": getattr(inner, "eps", None)}, options)


def carry_norm(old: nn.Module, new: nn.Module, options: Options) -> Ledger:
    """Scale and shift. No two kinds are the same function; without a shift and on tokens of mean zero, LayerNorm and RMSNorm are."""
    ledger = Ledger()
    if copy_alike(old, new, ledger):
        return ledger
    mine, theirs = affine_keys(new), affine_keys(old)
    ours, given = new.state_dict(), old.state_dict()
    pairs = {mine[name]: theirs[name] for name in mine.keys() & theirs.keys()}
    copy_renamed(
        old, new, {key: other for key, other in pairs.items() if ours[key].shape == given[other].shape}, ledger
    )
    return ledger


def affine_keys(norm: nn.Module) -> dict[str, str]:
    """The keys of scale and shift, as far as there are any."""
    found = {key.removeprefix("bn."): key for key in norm.state_dict()}
    return {name: found[name] for name in ("weight", "bias") if name in found}


NORM = Family(
    "norm",
    "a norm",
    (nn.LayerNorm, nn.RMSNorm, BatchNorm),
    carry_norm,
    complete=complete,
    left_alone=inside_projections,
)
