"""Mixed heads by one product each, without what softmax does not see of the first and without an addition to all weights of the second."""

from __future__ import annotations

from collections.abc import Iterator

from einops import rearrange
from torch import Tensor, nn

from ..attention import Attend, ReAttend, TalkingHeadsAttend
from ..attention.attend import as_bias, fold_groups, hide_keys
from ..attention.talking_heads import HeadMix
from .declared import behaves_as, child
from .owners import Owners
from .reading import is_idle
from .report import Fold


class MixedHeads(Attend):
    """Softmax attention whose weights are mixed, and its logits, too: what talking heads and re-attention are in evaluation.

    A bias of the first mix adds the same to all logits of a query, which softmax does not see. One of the second, ``b``, adds ``b`` times
    the sum of all values to what a query gets: ``(W s + b) v = (W s) v + b sum(v)``. Both are kept in ``weights``.

    Args:
        before: the mix of the logits; None for none.
        after: the mix of the weights.
        scale: of the logits.
    """

    hides_keys = True
    weighs_logits = True
    softmaxed = True

    def __init__(self, before: HeadMix | None, after: HeadMix, scale: float | None) -> None:
        super().__init__(scale=scale)
        self.before = before
        self.after = after

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        logits = self.logits(q, k)
        if self.before is not None:
            logits = self.before(fold_groups(logits)).reshape(logits.shape)
        softmax = (logits if bias is None else logits + as_bias(bias, logits.dtype)).softmax(dim=-1)
        return hide_keys(self.after(fold_groups(hide_keys(softmax, bias))).reshape(softmax.shape), bias)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        if bias is not None or q.dim() != 4:
            return super().forward(q, k, v, bias)
        logits = (q if self.scale == 1.0 else q * self.factor(q)) @ rearrange(k, "b h m d -> b h d m")
        softmax = (logits if self.before is None else _mixed(self.before, logits)).softmax(dim=-1)
        values = v.sum(dim=-2, keepdim=True) * rearrange(self.after.bias, "h -> h 1 1")
        return _mixed(self.after, softmax) @ v + values


def _mixed(mix: HeadMix, x: Tensor) -> Tensor:
    """``(B, heads, n, m)`` mixed by the weights alone."""
    return (mix.weight @ rearrange(x, "b h n m -> b h (n m)")).view(x.shape)


def mix_by_products(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """Talking heads, and re-attention whose norm was folded into its mix."""
    for parent in list(model.modules()):
        for name, attend in list(parent.named_children()):
            if not owners.alone(attend):
                continue
            mixes = _mixes(attend)
            if mixes is None or not isinstance(attend, Attend):
                continue
            setattr(parent, name, MixedHeads(*mixes, attend.scale).eval())
            yield Fold("heads mixed by a product", owners.name(attend), owners.name(attend))


def _mixes(attend: nn.Module) -> tuple[HeadMix | None, HeadMix] | None:
    """The mix of the logits, if there is one, and that of the weights; None where the Attend is of another kind."""
    if behaves_as(attend, TalkingHeadsAttend):
        before, after = attend.mix_logits, attend.mix_weights
        return (before, after) if behaves_as(before, HeadMix) and behaves_as(after, HeadMix) else None
    if not behaves_as(attend, ReAttend) or not is_idle(child(attend, "norm")):
        return None
    if not behaves_as(attend.mix, HeadMix):
        return None
    for parameter in attend.mix.parameters():
        parameter.mul_(attend.weight_scale)
    return None, attend.mix
