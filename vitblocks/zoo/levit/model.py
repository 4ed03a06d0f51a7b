"""LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference (arXiv:2104.01136)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ...attention import GlobalAttention
from ...block import Block
from ...checks import check_int
from ...embed import ConvStem
from ...feedforward import Activation, Mlp
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
from .configs import CONFIGS
from .layouts import LAYOUTS, STAGE_LAYOUTS
from .origins import ORIGINS
from .parts import DownsamplingAttention, Shrink, norm_head


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
        mlp_mult: hidden width of the feed-forward over the channels; a number, or one for each stage.
        stages: how many.
        dropout: after the blocks' projections and both Linears of the feed-forward; the paper has none.
        channels: of the image.
        key_dim: channels of a query or key, in every head; an int, or one for each stage.
        attn_ratio: channels of a value over those of a key, in the blocks; a number, or one for each stage.
        distilled: with a second head for a teacher's labels; the output is the mean of both.
        drop_path: rate at which a sample skips a residual branch, the same at every depth as published.
        shrinks: the attention before each stage but the first, and the feed-forward after it, as a :class:`Shrink` each; as published
            if None, with the keys of the stage before and the feed-forward of the stage after.
        activation: factory of the activation in the stem, before the attentions' projections and in the feed-forwards.

    Raises:
        ValueError: sizes name another number of stages, or a ``dim`` is less than ``key_dim``.
    """

    layouts = LAYOUTS
    origins = ORIGINS
    configs = CONFIGS

    def __init__(
        self,
        *,
        image_size: Size,
        num_classes: int,
        dim: int | Sequence[int],
        depth: int | Sequence[int],
        heads: int | Sequence[int],
        mlp_mult: float | Sequence[float] = 2,
        stages: int = 3,
        dropout: float = 0.0,
        channels: int = 3,
        key_dim: int | Sequence[int] = 32,
        attn_ratio: float | Sequence[float] = 2,
        distilled: bool = False,
        drop_path: float = 0.0,
        shrinks: Sequence[Shrink] | None = None,
        activation: Activation = nn.Hardswish,
    ) -> None:
        check_int("stages", stages)
        for i, shrink in enumerate([] if shrinks is None else shrinks):
            check_shrink(f"shrinks[{i}]", shrink)
        dims, depths, all_heads = (
            per_stage(name, value, stages) for name, value in (("dim", dim), ("depth", depth), ("heads", heads))
        )
        key_dims = per_stage("key_dim", key_dim, stages)
        ratios, mults = per_stage("attn_ratio", attn_ratio, stages), per_stage("mlp_mult", mlp_mult, stages)
        if shrinks is None:
            shrinks = [Shrink(keys, mlp_mult=mult) for keys, mult in zip(key_dims[:-1], mults[1:], strict=True)]
        if len(shrinks) != stages - 1:
            raise ValueError(f"shrinks must be {stages - 1}, one before each stage but the first, got {len(shrinks)}")
        widths = [dims[0] // 8, dims[0] // 4, dims[0] // 2, dims[0]]
        embed = ConvStem(widths, channels=channels, activation=activation)
        grid = embedded_grid(embed, image_size, channels)
        levels: list[Stage] = []
        for i in range(stages):
            stage = LeViTStage(
                dims[i],
                depths[i],
                all_heads[i],
                grid,
                before=dims[i - 1] if i else None,
                key_dim=key_dims[i],
                attn_ratio=ratios[i],
                mlp_mult=mults[i],
                dropout=dropout,
                drop_path=drop_path,
                shrink=shrinks[i - 1] if i else None,
                activation=activation,
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
        shrink: the attention that shrinks; with ``key_dim`` and ``mlp_mult`` if None.
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
        shrink: Shrink | None = None,
        activation: Activation = nn.Hardswish,
    ) -> None:
        if shrink is not None:
            check_shrink("shrink", shrink)
        sizes = Shrink(key_dim, mlp_mult=mlp_mult) if shrink is None else shrink
        transition = None if before is None else shrinking_attention(before, dim, grid, sizes, activation)
        height, width = to_pair(grid, "grid")
        step = 1 if before is None else sizes.stride
        inner = (-(-height // step), -(-width // step))

        def mlp(mult: float) -> Mlp:
            return levit_mlp(dim, mult, dropout, activation)

        blocks = [
            Block(
                dim,
                levit_attention(dim, heads, inner, key_dim, attn_ratio, dropout, activation),
                mlp(mlp_mult),
                norm=nn.Identity,
                drop_path=drop_path,
            )
            for _ in range(depth)
        ]
        after = [Residual(dim, mlp(sizes.mlp_mult), norm=nn.Identity, drop_path=drop_path)] if transition else []
        super().__init__([*after, *blocks], transition=transition)
        self.out_grid = inner


def levit_attention(
    dim: int,
    heads: int,
    grid: Size,
    key_dim: int,
    attn_ratio: float,
    dropout: float,
    activation: Activation = nn.Hardswish,
) -> GlobalAttention:
    """Attention with values wider than keys, a bias for each distance, and an activation before its projection (Section 4.2)."""
    value_dim = int(attn_ratio * key_dim)
    return GlobalAttention(
        dim,
        heads,
        head_dim=key_dim,
        value_dim=value_dim,
        qkv=LinearNorm(dim, heads * (2 * key_dim + value_dim)),
        proj=nn.Sequential(activation(), LinearNorm(heads * value_dim, dim, init_weight=0.0)),
        position_bias=DistanceBias(heads, grid),
        dropout=dropout,
    )


def check_shrink(name: str, value: object) -> None:
    """Raise TypeError unless ``value`` is a :class:`Shrink`."""
    if not isinstance(value, Shrink):
        raise TypeError(f"{name} must be a Shrink, got {value!r}")


def shrinking_attention(
    dim: int, out_dim: int, grid: Size, sizes: Shrink, activation: Activation = nn.Hardswish
) -> DownsamplingAttention:
    """Attention of every other token to all (Section 4.4).

    Raises:
        ValueError: there are as many heads as keys fit in ``dim``, and not even one does.
    """
    key_dim, stride = sizes.key_dim, sizes.stride
    heads = dim // key_dim if sizes.heads is None else sizes.heads
    value_dim = int(sizes.attn_ratio * key_dim)
    if not heads:
        raise ValueError(
            f"key_dim must be at most dim {dim}, got {key_dim}: the attention between stages has dim / key_dim heads"
        )
    return DownsamplingAttention(
        dim,
        out_dim,
        heads,
        stride=stride,
        head_dim=key_dim,
        value_dim=value_dim,
        q=LinearNorm(dim, heads * key_dim),
        kv=LinearNorm(dim, heads * (key_dim + value_dim)),
        proj=nn.Sequential(activation(), LinearNorm(heads * value_dim, out_dim)),
        position_bias=DistanceBias(heads, grid, stride=stride),
    )


def levit_mlp(dim: int, mlp_mult: float, dropout: float, activation: Activation = nn.Hardswish) -> Mlp:
    """A feed-forward with BatchNorm whose last scale starts at zero."""
    mlp = Mlp(dim, int(dim * mlp_mult), activation=activation, dropout=dropout, linear=LinearNorm)
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
