"""LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference (arXiv:2104.01136)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ...attention import GlobalAttention
from ...block import Block
from ...embed import ConvStem
from ...feedforward import Mlp
from ...grid import Size, to_pair
from ...head import AveragedHeads
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import LinearNorm
from ...pool import MeanPool
from ...position import DistanceBias
from ...registry import Variant, Variants, part
from ...residual import Residual
from ..sizes import embedded_grid, per_stage
from .layouts import LAYOUTS, STAGE_LAYOUTS
from .parts import DownsamplingAttention, norm_head


@part
class LeViT(Model):
    """Attention on the shrinking maps of a convolutional network: BatchNorm after every Linear, Hardswish, a bias for each distance.

    Initialised as the authors do: Linears and convolutions as PyTorch does, the last BatchNorm of each residual branch scaled by zero,
    biases of distances zero, the head's Linear a truncated normal of standard deviation 0.02. Every image size works: the stem rounds
    up, and the biases are resized.

    Args:
        image_size: an int or a (height, width).
        num_classes: 0 for features.
        dim, depth, heads: channels, blocks and attention heads of each stage; an int for all stages alike.
        mlp_mult: hidden width of the feed-forward over the channels.
        stages: how many.
        dropout: after the blocks' projections and both Linears of the feed-forward; the paper has none.
        channels: of the image.
        key_dim: channels of a query or key, in every head.
        attn_ratio: channels of a value over those of a key, in the blocks.
        distilled: with a second head for a teacher's labels; the output is the mean of both.
        drop_path: rate at which a sample skips a residual branch, the same at every depth as published.

    Raises:
        ValueError: ``dim``, ``depth`` or ``heads`` name another number of stages, or a ``dim`` is less than ``key_dim``.
    """

    layouts = LAYOUTS

    def __init__(
        self,
        *,
        image_size: Size,
        num_classes: int,
        dim: int | Sequence[int],
        depth: int | Sequence[int],
        heads: int | Sequence[int],
        mlp_mult: float = 2,
        stages: int = 3,
        dropout: float = 0.0,
        channels: int = 3,
        key_dim: int = 32,
        attn_ratio: float = 2,
        distilled: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        dims, depths = per_stage("dim", dim, stages), per_stage("depth", depth, stages)
        embed = ConvStem([dims[0] // 8, dims[0] // 4, dims[0] // 2, dims[0]], channels=channels)
        grid = embedded_grid(embed, image_size, channels)
        levels: list[Stage] = []
        for before, width, count, head_count in zip(
            (None, *dims[:-1]), dims, depths, per_stage("heads", heads, stages), strict=True
        ):
            stage = LeViTStage(
                width,
                count,
                head_count,
                grid,
                before=before,
                key_dim=key_dim,
                attn_ratio=attn_ratio,
                mlp_mult=mlp_mult,
                dropout=dropout,
                drop_path=drop_path,
            )
            levels.append(stage)
            grid = stage.out_grid
        classifiers = [norm_head(dims[-1], num_classes) for _ in range(1 + distilled)]
        super().__init__(
            embed=embed,
            stages=levels,
            pool=MeanPool(),
            head=AveragedHeads(classifiers) if distilled else classifiers[0],
            image_size=image_size,
        )
        self.head.apply(trunc_normal_linear)


@part
class LeViTStage(Stage):
    """A shrinking attention and its feed-forward, where another stage comes before, then blocks (Sections 4.2 and 4.4).

    Args:
        dim, depth, heads: channels, blocks, attention heads.
        grid: of the tokens that come in, which the biases are made for; ``out_grid`` is that of the tokens that go out.
        before: channels of the stage before; None for the first, which does not shrink.
        others: see :class:`LeViT`.
    """

    layouts = STAGE_LAYOUTS

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        grid: Size,
        *,
        before: int | None = None,
        key_dim: int = 32,
        attn_ratio: float = 2,
        mlp_mult: float = 2,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        shrink = None if before is None else shrinking_attention(before, dim, grid, key_dim)
        height, width = to_pair(grid, "grid")
        inner = (height, width) if before is None else (-(-height // 2), -(-width // 2))

        def mlp() -> Mlp:
            return levit_mlp(dim, mlp_mult, dropout)

        blocks = [
            Block(
                dim,
                levit_attention(dim, heads, inner, key_dim, attn_ratio, dropout),
                mlp(),
                norm=nn.Identity,
                drop_path=drop_path,
            )
            for _ in range(depth)
        ]
        after = [Residual(dim, mlp(), norm=nn.Identity, drop_path=drop_path)] if shrink else []
        super().__init__([*after, *blocks], transition=shrink)
        self.out_grid = inner


def levit_attention(
    dim: int, heads: int, grid: Size, key_dim: int, attn_ratio: float, dropout: float
) -> GlobalAttention:
    """Attention with values wider than keys, a bias for each distance, and an activation before its projection (Section 4.2)."""
    value_dim = int(attn_ratio * key_dim)
    return GlobalAttention(
        dim,
        heads,
        head_dim=key_dim,
        value_dim=value_dim,
        qkv=LinearNorm(dim, heads * (2 * key_dim + value_dim)),
        proj=nn.Sequential(nn.Hardswish(), LinearNorm(heads * value_dim, dim, init_weight=0.0)),
        position_bias=DistanceBias(heads, grid),
        dropout=dropout,
    )


def shrinking_attention(dim: int, out_dim: int, grid: Size, key_dim: int) -> DownsamplingAttention:
    """Attention of every other token to all, with as many heads as keys fit in ``dim`` and values of four keys' width (Section 4.4).

    Raises:
        ValueError: not even one fits.
    """
    heads, value_dim = dim // key_dim, 4 * key_dim
    if not heads:
        raise ValueError(
            f"key_dim must be at most dim {dim}, got {key_dim}: the attention between stages has dim / key_dim heads"
        )
    return DownsamplingAttention(
        dim,
        out_dim,
        heads,
        stride=2,
        head_dim=key_dim,
        value_dim=value_dim,
        q=LinearNorm(dim, heads * key_dim),
        kv=LinearNorm(dim, heads * (key_dim + value_dim)),
        proj=nn.Sequential(nn.Hardswish(), LinearNorm(heads * value_dim, out_dim)),
        position_bias=DistanceBias(heads, grid, stride=2),
    )


def levit_mlp(dim: int, mlp_mult: float, dropout: float) -> Mlp:
    """A feed-forward of Hardswish and BatchNorm whose last scale starts at zero."""
    mlp = Mlp(dim, int(dim * mlp_mult), activation=nn.Hardswish, dropout=dropout, linear=LinearNorm)
    assert isinstance(mlp.fc2, LinearNorm)
    nn.init.zeros_(mlp.fc2.norm.bn.weight)
    return mlp


def _variant(
    dims: Sequence[int], depths: Sequence[int], heads: Sequence[int], key_dim: int, drop_path: float = 0.0
) -> dict[str, object]:
    sizes = {"image_size": 224, "dim": dims, "depth": depths, "heads": heads}
    return {**sizes, "key_dim": key_dim, "drop_path": drop_path}


_PUBLISHED = {
    "levit_128s": _variant((128, 256, 384), (2, 3, 4), (4, 6, 8), 16),
    "levit_128": _variant((128, 256, 384), (4, 4, 4), (4, 8, 12), 16),
    "levit_192": _variant((192, 288, 384), (4, 4, 4), (3, 5, 6), 32),
    "levit_256": _variant((256, 384, 512), (4, 4, 4), (4, 6, 8), 32),
    "levit_384": _variant((384, 512, 768), (4, 4, 4), (6, 9, 12), 32, drop_path=0.1),
}

# Table 1 of the paper, with one head and with the two that distillation trains.
VARIANTS: Variants = {
    **{name: Variant(LeViT, options) for name, options in _PUBLISHED.items()},
    **{f"{name}_distilled": Variant(LeViT, {**options, "distilled": True}) for name, options in _PUBLISHED.items()},
}
