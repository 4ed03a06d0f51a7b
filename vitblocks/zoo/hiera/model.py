"""Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles (arXiv:2306.00989), and its abswin (arXiv:2311.05613)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from ...attention import GlobalAttention, LocalWindowAttention
from ...block import Block
from ...embed import ConvEmbed
from ...feedforward import Activation, Mlp
from ...grid import Size, to_pair
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm, NormFactory
from ...pool import MeanPool
from ...position import LearnedPosition, TiledPosition, resize_table
from ...position.resize import Resize
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import embedded_grid
from .configs import CONFIGS
from .layouts import LAYOUTS
from .origins import ORIGINS
from .parts import DoublingBlock, ExpandingBlock, PoolingBlock, QueryPoolingAttention


@part
class Hiera(Model):
    """A plain pyramid: attention in mask units, which get smaller with the map, then globally; queries are pooled between stages.

    Mask units are windows that cover the same part of the image in all stages (Section 3.1). The first block of a stage pools, and
    attends as the stage before did. Initialised as timm does: Linears a truncated normal of standard deviation 0.02 with zero biases, those
    that end the branches of block number ``n`` divided by ``sqrt(2 n)``, the head times 0.001. Every image size works: positions are
    resized, and the last windows hold what is there.

    Args:
        image_size: an int or a (height, width), for which the positions are.
        num_classes: 0 for features.
        dims, depths, heads: channels, blocks and attention heads of each stage.
        window: tokens of a mask unit in the first stage, an int or a (height, width).
        in_units: of each stage whether it attends in mask units.
        query_pools: how many stages after the first begin with pooling; those after them only widen.
        query_stride: rows and columns that are pooled to one, an int or a (height, width).
        patch_size, patch_stride, patch_padding: of the convolution that embeds overlapping patches.
        mlp_ratio: hidden width of the feed-forward over the channels.
        channels: of the image.
        drop_path: of the last block, rising linearly from 0.
        norm: factory of all norms.
        activation: factory of the feed-forward's activation.
        layer_scale: starting value of a learned scale for each channel of every residual branch; None for none.
        position_grid: None for a position of each patch. With abswin positions are a table of this (height, width), resized to the image,
            and one of a mask unit, repeated (:class:`~vitblocks.TiledPosition`).
        resize: how the first table is resized; abswin's are antialiased: ``partial(resize_table, antialias=True)``.
        pooling_block: what stages begin with, :class:`~vitblocks.zoo.hiera.ExpandingBlock` or
            :class:`~vitblocks.zoo.hiera.DoublingBlock`.

    Attributes:
        mask_unit: rows and columns of a mask unit's tokens in the first stage.

    Raises:
        ValueError: not as many ``dims``, ``heads`` or ``in_units`` as ``depths``, a stage without blocks, a width that does not divide into
            heads, or ``query_stride`` does not divide the mask units of a stage that attends in them.
    """

    layouts = LAYOUTS
    origins = ORIGINS
    configs = CONFIGS

    def __init__(
        self,
        *,
        image_size: Size,
        num_classes: int,
        dims: Sequence[int] = (96, 192, 384, 768),
        depths: Sequence[int] = (2, 3, 16, 3),
        heads: Sequence[int] = (1, 2, 4, 8),
        window: Size = 8,
        in_units: Sequence[bool] = (True, True, False, False),
        query_pools: int = 3,
        query_stride: Size = 2,
        patch_size: Size = 7,
        patch_stride: Size = 4,
        patch_padding: Size = 3,
        mlp_ratio: float = 4.0,
        channels: int = 3,
        drop_path: float = 0.0,
        norm: NormFactory = LayerNorm,
        activation: Activation = nn.GELU,
        layer_scale: float | None = None,
        position_grid: Size | None = None,
        resize: Resize = resize_table,
        pooling_block: type[PoolingBlock] = ExpandingBlock,
    ) -> None:
        if any(depth < 1 for depth in depths):
            raise ValueError(f"every stage must have a block, got depths {tuple(depths)}")
        embed = ConvEmbed(patch_size, dims[0], channels=channels, stride=patch_stride, padding=patch_padding)
        stride = to_pair(query_stride, "query_stride")
        units = mask_units(to_pair(window, "window"), stride, len(depths), query_pools)
        windows = [unit if inside else None for unit, inside in zip(units, in_units, strict=True)]
        rates = iter(drop_path_schedule(drop_path, sum(depths)))

        def mlp(dim: int) -> Mlp:
            return Mlp(dim, int(dim * mlp_ratio), activation=activation)

        def block(dim: int, count: int, unit: Size | None) -> nn.Module:
            attn = GlobalAttention(dim, count) if unit is None else LocalWindowAttention(dim, count, window=unit)
            return Block(dim, attn, mlp(dim), norm=norm, layer_scale=layer_scale, drop_path=next(rates))

        def first(stage: int) -> nn.Module:
            dim, out_dim = dims[stage - 1], dims[stage]
            attn = QueryPoolingAttention(
                dim,
                out_dim,
                heads[stage],
                window=windows[stage - 1],
                stride=stride if stage <= query_pools else 1,
            )
            return pooling_block(attn, mlp(out_dim), norm=norm, layer_scale=layer_scale, drop_path=next(rates))

        grid = embedded_grid(embed, image_size, channels)
        absolute = LearnedPosition(dims[0], position_grid or grid, resize=resize)
        positions = [absolute] if position_grid is None else [absolute, TiledPosition(dims[0], window)]
        stages = []
        for s, (dim, depth, count, unit) in enumerate(zip(dims, depths, heads, windows, strict=True)):
            transition = first(s) if s else None
            blocks = [block(dim, count, unit) for _ in range(depth - (s > 0))]
            stages.append(Stage(blocks if s else [*positions, *blocks], transition=transition))
        super().__init__(
            embed=embed,
            stages=stages,
            pool=MeanPool(norm(dims[-1])),
            head=linear_head(dims[-1], num_classes),
            image_size=image_size,
        )
        self.mask_unit = units[0]
        self.apply(trunc_normal_linear)
        self._scale_branches()

    @torch.no_grad()
    def _scale_branches(self) -> None:
        for number, (_, layer) in enumerate(self.blocks(), start=1):
            for name in ("attn.proj.weight", "mlp.fc2.weight"):
                layer.get_parameter(name).div_((2 * number) ** 0.5)
        for parameter in self.head.parameters():
            parameter.mul_(0.001)


def mask_units(window: tuple[int, int], stride: tuple[int, int], stages: int, pools: int) -> list[tuple[int, int]]:
    """The tokens of a mask unit in each stage: fewer after each pooling.

    Raises:
        ValueError: there are more poolings than stages to begin with one.
    """
    if pools >= stages:
        raise ValueError(f"query_pools must be less than the {stages} stages, got {pools}")
    sizes = [window]
    for stage in range(1, stages):
        (rows, columns), (down, right) = sizes[-1], stride if stage <= pools else (1, 1)
        sizes.append((max(rows // down, 1), max(columns // right, 1)))
    return sizes


def _variant(dim: int, heads: int, depths: tuple[int, ...]) -> Variant:
    widths = {"dims": tuple(dim * 2**s for s in range(4)), "heads": tuple(heads * 2**s for s in range(4))}
    return Variant(Hiera, {"image_size": 224, "depths": depths, **widths})


_SMALL = _variant(96, 1, (1, 2, 11, 2))

# Table 2 of the paper, and timm's Hiera of absolute window positions.
VARIANTS: Variants = {
    "hiera_tiny_224": _variant(96, 1, (1, 2, 7, 2)),
    "hiera_small_224": _SMALL,
    "hiera_base_224": _variant(96, 1, (2, 3, 16, 3)),
    "hiera_base_plus_224": _variant(112, 2, (2, 3, 16, 3)),
    "hiera_large_224": _variant(144, 2, (2, 6, 36, 4)),
    "hiera_huge_224": _variant(256, 4, (2, 6, 36, 4)),
    "hiera_small_abswin_256": Variant(
        Hiera,
        {
            **_SMALL.options,
            "image_size": 256,
            "position_grid": 16,
            "resize": partial(resize_table, antialias=True),
            "pooling_block": DoublingBlock,
            "layer_scale": 1e-5,
        },
    ),
}
