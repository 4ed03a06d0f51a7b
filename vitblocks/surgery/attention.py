"""The attention family: a new attention, made with the settings of the old one."""

from __future__ import annotations

from copy import deepcopy

from torch import nn

from ..attention import Attention
from ..attention.base import SelfAttention, reads_queries
from ..model import Model
from ..recipe import noted_as
from .carry import carry_over
from .family import Family, Options, keywords, taken
from .ledger import Ledger
from .start import start_neutral


def is_no_layer(kind: type[nn.Module]) -> bool:
    """Whether a class of attention is no layer ``(x, grid) -> x``: poolers, downsamplers, and frames without a forward."""
    return not getattr(kind, "is_layer", True) or kind.forward is nn.Module.forward


def poolers_and_downsamplers(model: nn.Module) -> set[int]:
    """Attentions that are no layers, and everything inside of pools."""
    pools = [module.pool for module in model.modules() if isinstance(module, Model)]
    others = [module for module in model.modules() if isinstance(module, Attention) and is_no_layer(type(module))]
    return {id(part) for module in pools for part in module.modules()} | {id(module) for module in others}


def carry_attention(old: Attention, new: Attention, options: Options) -> Ledger:
    start_neutral(new, keep_mixes="init_std" in options)
    return carry_over(old, new)


def make_like(old: Attention, kind: type[Attention], options: Options) -> Attention:
    """``kind`` with the sizes, rates and finished projections of ``old``, as far as it takes them; ``options`` go first."""
    new = kind(old.dim, old.heads, **taken(kind, old.settings(), options))
    keep_attend(old, new, options)
    keep_positions(old, new, options)
    return new


def keep_attend(old: Attention, new: Attention, options: Options) -> None:
    """The old Attend where the new kind has the same, else its scale and dropout; what ``options`` say about it goes first."""
    if "attend" in options:
        return
    # A kind that brings its own Attend passes these on to it; ``dropout`` is that of the attention.
    own = {"attn_dropout", *keywords(type(new.attend))} - {"heads", "dropout"}
    if type(new.attend) is type(old.attend) and not options.keys() & own:
        new.attend = deepcopy(old.attend)
        return
    takes = keywords(type(new.attend))
    if "scale" in takes:
        new.attend.scale = old.attend.scale
    if "attn_dropout" not in options:
        new.attend.dropout = old.attend.dropout
    kept = {"scale": new.attend.scale, "dropout": new.attend.dropout}
    noted_as(new.attend, type(new.attend), **{name: value for name, value in kept.items() if name in takes})


def keep_positions(old: Attention, new: Attention, options: Options) -> None:
    """Position parts, and norms of queries and keys, that mean the same in the new attention."""
    same = old.steps is not None and old.steps == new.steps
    if "position_bias" not in options and same and (new.gives_queries or not reads_queries(old.position_bias)):
        new.position_bias = deepcopy(old.position_bias)
    if not (isinstance(old, SelfAttention) and isinstance(new, SelfAttention)):
        return
    if "qk_norm" not in options and old.head_dim == new.head_dim:
        new.qk_norm = deepcopy(old.qk_norm)
    if "rotary" in options:
        return
    # Rotations depend on offsets alone and have no size of their own, but for the heads of mixed ones.
    if new.among_tokens and getattr(old.rotary, "mixed_heads", None) in (None, new.heads):
        new.rotary = deepcopy(old.rotary)


ATTENTION: Family = Family(
    "attention",
    "an attention",
    (Attention,),
    carry_attention,
    make=make_like,
    left_alone=poolers_and_downsamplers,
    not_layers=is_no_layer,
    base=Attention,
)
