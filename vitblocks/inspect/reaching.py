"""Hooks that bring the value of a site out of a call, and put another one in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any, TypeAlias

import torch
from einops import rearrange
from torch import Tensor, nn

from ..attention import Attend
from ..grid import Grid
from .frames import Frame, is_grid
from .places import Places, folded, folds, unfold
from .record import scratch_buffers, where_lie
from .sites import OF_KEYS
from .view import View, tokens_at

Visit: TypeAlias = Callable[[View], Tensor]
"""Given what is there, what is to be there; the view's own value if nothing is changed."""


class AttendCall:
    """One call of an Attend: its sites in turn.

    Args:
        attend: which.
        owner: the part that called it.
        inputs: q, k and v.
        bias: of the logits.
        stack: the calls around it.
    """

    def __init__(
        self, attend: Attend, owner: nn.Module, inputs: Sequence[Tensor], bias: Tensor | None, stack: Sequence[Frame]
    ) -> None:
        self.attend, self.bias = attend, bias
        self.q, self.k, self.v = inputs
        self.of_channels = not getattr(owner, "among_tokens", True)
        self.queries, self.keys, self.batch = self._places(owner, stack)

    def _places(self, owner: nn.Module, stack: Sequence[Frame]) -> tuple[Places | None, Places | None, int]:
        queries, keys, batch = where_lie(owner, self.q, self.k, stack)
        if self.of_channels:  # the tokens are the columns of q, k and v
            frame = next((frame for frame in reversed(stack) if frame.grid is not None), None)
            queries = keys = None
            if frame is not None and frame.shape is not None and frame.grid is not None:
                prefix = frame.shape[1] - torch.Size(frame.grid).numel()
                tokens = rearrange(self.q, "... d n -> ... n d")[:1, 0]
                queries = keys = tokens_at(tokens, frame.grid, prefix) if frame.shape[1] == tokens.shape[1] else None
        return queries, keys, batch

    def view(self, site: str, word: str, value: Tensor) -> View:
        """The value of a site ``(B', ..., heads, n, d)`` in the one form."""
        pairs = word in ("logits", "weights")
        if self.of_channels and not pairs:
            value = rearrange(value, "... d n -> ... n d")
        rows = None if self.of_channels and pairs else self.keys if word in OF_KEYS else self.queries
        columns = self.keys if pairs and not self.of_channels else None
        return View(site, word, value.reshape(self.batch, -1, *value.shape[-3:]), rows, columns)

    def visit(self, site: str, word: str, value: Tensor, visit: Visit) -> Tensor:
        """The value after a visit, in the form that it came in; the value itself if nothing was changed."""
        view = self.view(site, word, value)
        after = visit(view)
        if after is view.value and not after.requires_grad:
            return value
        if self.of_channels and word not in ("logits", "weights"):
            after = rearrange(after, "... n d -> ... d n")
        return after.reshape(value.shape)

    def weighed(
        self, output: Tensor, logits: Callable[[Tensor], Tensor], weights: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """The Attend's output with its logits and weights as these functions leave them.

        Rows whose weights stay what they were keep the output of the Attend's own kernel, bit for bit, while their gradients go by the
        weights.
        """
        with scratch_buffers(self.attend):
            before = self.attend.weights(self.q, self.k, self.bias)
        with scratch_buffers(self.attend), _logits_through(self.attend, logits):
            after = weights(self.attend.weights(self.q, self.k, self.bias))
        same = (after == before).all(dim=-1, keepdim=True)
        values = (self.attend.drop(after) @ self.v.to(after.dtype)).to(output.dtype)
        return _Keep.apply(output, values, same)


class _Keep(torch.autograd.Function):
    """``own`` where rows are the same, else ``made``; the gradient is that of ``made``."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, made: Tensor, same: Tensor) -> Tensor:
        return torch.where(same, own, made)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        return None, gradients[0], None


@contextmanager
def _logits_through(attend: Attend, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let what ``attend.logits`` gives this thread go through a function."""
    before, mine = vars(attend).get("logits"), get_ident()
    own = attend.logits

    def logits(*args: Any, **kwargs: Any) -> Tensor:
        made = own(*args, **kwargs)
        return change(made) if get_ident() == mine else made

    vars(attend)["logits"] = logits
    try:
        yield
    finally:
        if before is None:
            del vars(attend)["logits"]
        else:
            vars(attend)["logits"] = before


def visit_tokens(site: str, word: str, given: Any, stack: Sequence[Frame], own: nn.Module, visit: Visit) -> Any:
    """What a module gave, or is given, after a visit of its tokens: ``(B, N, C)``, a map ``(B, C, H, W)``, or a pair ``(x, grid)``.

    Raises:
        ValueError: it is none of these.
    """
    grid: Grid | None = None
    x = given
    if isinstance(given, (tuple, list)) and len(given) == 2 and is_grid(given[1]):
        x, grid = given
    if not isinstance(x, Tensor) or x.dim() not in (3, 4):
        what = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{site} must be tokens (B, N, C) or a map (B, C, H, W), it is {what}")
    tokens = rearrange(x, "b c h w -> b (h w) c") if x.dim() == 4 else x
    view = _tokens_view(site, word, tokens, grid, stack, own)
    after = visit(view)
    if after is view.value and not after.requires_grad:
        return given
    after = rearrange(after, "b g 1 n c -> (b g) n c")
    if x.dim() == 4:
        after = rearrange(after, "b (h w) c -> b c h w", h=x.shape[2])
    return after if grid is None else (after, grid)


def _tokens_view(
    site: str, word: str, tokens: Tensor, grid: Grid | None, stack: Sequence[Frame], own: nn.Module
) -> View:
    places = _places_of(tokens, grid, stack)
    around = stack[:-1] if stack and stack[-1].module is own else stack
    batch = tokens.shape[0]
    for fold in folds(around):
        batch //= folded(fold)
        places = unfold(places, fold)
    return View(site, word, rearrange(tokens, "(b g) n c -> b g 1 n c", b=batch), places, None)


def _places_of(tokens: Tensor, grid: Grid | None, stack: Sequence[Frame]) -> Places | None:
    """Where tokens lie: on the grid that came with them, or as those of the innermost call that has one, all or its patches alone."""
    count = tokens.shape[1]
    if grid is not None:
        return tokens_at(tokens, grid, count - torch.Size(grid).numel())
    frame: Frame | None = next((frame for frame in reversed(stack) if frame.grid is not None), None)
    if frame is None or frame.shape is None or frame.grid is None or frame.shape[0] != tokens.shape[0]:
        return None
    patches = torch.Size(frame.grid).numel()
    prefix = frame.shape[1] - patches
    if count == patches != frame.shape[1]:
        return Places(torch.arange(prefix, prefix + count, device=tokens.device)[None], prefix, frame.grid)
    return tokens_at(tokens, frame.grid, prefix) if count == frame.shape[1] else None
