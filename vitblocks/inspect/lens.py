"""What a model would answer if it ended earlier."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..model import Model
from .extract import TokenRecord, extract
from .sites import named_blocks


def logit_lens(
    model: Model, images: Tensor, *, blocks: int | slice | Sequence[int] | None = None, per_token: bool = False
) -> dict[str, Tensor]:
    """The logits that the model's own norm, pool and head make of what each block passes on.

    The logit lens of language models (nostalgebraist, 2020), for images as in arXiv:2310.18969, Section 3. Gradients flow.

    Args:
        model: a model whose blocks are as wide as its last norm.
        images: ``(B, channels, height, width)``.
        blocks: which, counted through the model; all if None. A pool that reads prefix tokens wants those behind the class token.
        per_token: each token's own logits, without the pool.

    Returns:
        by ``"blocks.0"`` and so on ``(B, classes)``, or ``(B, N, classes)`` per token. The last is what the model answers where nothing
        stands between its last block and its norm.

    Raises:
        TypeError: ``model`` is no :class:`~vitblocks.Model`.
        ValueError: there is no such block, or what it gives does not fit the norm, the pool or the head; the message names it.
    """
    if not isinstance(model, Model):
        raise TypeError(
            f"model must be a vitblocks.Model, whose norm, pool and head are known, got {type(model).__name__}"
        )
    named = named_blocks(model)
    numbers = _numbers(blocks, len(named))
    with extract(model, [named[i][0] for i in numbers]) as tokens:
        model(images)
    return {f"blocks.{i}": _read(model, f"blocks.{i}", tokens[named[i][0]], per_token) for i in numbers}


def _numbers(blocks: int | slice | Sequence[int] | None, count: int) -> list[int]:
    if blocks is None or isinstance(blocks, slice):
        chosen = list(range(count)[slice(None) if blocks is None else blocks])
    else:
        chosen = [blocks] if isinstance(blocks, int) else list(blocks)
    if not chosen or not all(-count <= i < count for i in chosen):
        raise ValueError(f"blocks must be numbers in [0, {count}), which is how many the model has, got {blocks!r}")
    return [i % count for i in chosen]


def _read(model: Model, name: str, record: TokenRecord, per_token: bool) -> Tensor:
    if record.grid is None:
        raise ValueError(f"{name} gives a part of the tokens: they lie on no known grid")
    try:
        x = model.norm(record.x)
        logits: Tensor = model.head(x if per_token else model.pool(x, record.grid))
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"what {name} gives, {tuple(record.x.shape)}, cannot be read by the model's last norm, pool and head: {error}; give "
            "blocks= that can"
        ) from error
    return logits
