"""NesT: Nested Hierarchical Transformer (arXiv:2105.12723)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from torch import nn

from ...attention import LocalWindowAttention, SoftmaxAttend
from ...block import Block
from ...embed import ConvEmbed
from ...feedforward import Activation, Mlp, TanhGELU
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_conv, trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm, NormFactory
from ...pool import MeanPool
from ...position import LearnedPosition
from ...prefix import PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import check_levels, patch_grid, per_level
from .layouts import LAYOUTS
from .origins import ORIGINS
from .parts import BlockAggregation, SameMaxPool2d


@part
class NesT(Model):
    """Attention within the blocks of an image, which merge four to one from level to level.

    Every level attends in blocks of the same size; their number is divided by four each time. Initialised as the published code:
    Linears, convolutions and positions a truncated normal of standard deviation 0.02, biases zero. Other image sizes than
    ``image_size`` work: positions are resized, and blocks keep their size.

    Args:
        image_size, patch_size: an int or a (height, width).
        dim, heads: of the first level; both double from level to level unless given one by one.
        num_hierarchies: levels.
        block_repeats: transformer blocks of each level, the finest first.
        num_classes: 0 for features.
        mlp_mult: hidden width of the feed-forward over the channels.
        channels: of the image.
        dropout: after the attention's projection, both Linears of the feed-forward, and the positions.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0.
        activation: factory of the feed-forward's activation: GELU by its tanh approximation, as in the authors' code.
        pool: factory of the pooling between levels: 3x3 with SAME padding, as in the authors' code.
        qkv_bias: whether the qkv projection has a bias.
        norm: factory of the norms.
        emb_dropout: after the positions; ``dropout`` if None.

    Raises:
        ValueError: the patches do not divide into ``2 ** (num_hierarchies - 1)`` blocks along each side.
    """

    layouts = LAYOUTS
    origins = ORIGINS

    def __init__(
        self,
        *,
        image_size: Size,
        patch_size: Size,
        dim: int | Sequence[int],
        heads: int | Sequence[int],
        num_hierarchies: int,
        block_repeats: int | Sequence[int],
        num_classes: int,
        mlp_mult: float = 4,
        channels: int = 3,
        dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        activation: Activation = TanhGELU,
        pool: Callable[[], nn.Module] = SameMaxPool2d,
        qkv_bias: bool = True,
        norm: NormFactory = LayerNorm,
        emb_dropout: float | None = None,
    ) -> None:
        grid = patch_grid(image_size, patch_size)
        window = check_levels(grid, num_hierarchies)
        dims = per_level("dim", dim, num_hierarchies, growth=2)
        all_heads = per_level("heads", heads, num_hierarchies, growth=2)
        depths = per_level("block_repeats", block_repeats, num_hierarchies, growth=1)
        rates = iter(drop_path_schedule(drop_path, sum(depths)))

        def level(i: int) -> list[nn.Module]:
            blocks = [
                Block(
                    dims[i],
                    LocalWindowAttention(
                        dims[i],
                        all_heads[i],
                        window=window,
                        qkv_bias=qkv_bias,
                        attend=SoftmaxAttend(dropout=attn_dropout),
                        dropout=dropout,
                    ),
                    Mlp(dims[i], int(dims[i] * mlp_mult), activation=activation, dropout=dropout),
                    norm=norm,
                    drop_path=next(rates),
                )
                for _ in range(depths[i])
            ]
            position = LearnedPosition(dims[i], (grid[0] >> i, grid[1] >> i))
            rate = dropout if emb_dropout is None else emb_dropout
            return [position, PerToken(nn.Dropout(rate)), *blocks]

        super().__init__(
            embed=ConvEmbed(patch_size, dims[0], channels=channels),
            stages=[
                Stage(level(0)),
                *(
                    Stage(level(i), transition=BlockAggregation(before, after, norm=norm, pool=pool()))
                    for i, (before, after) in enumerate(pairwise(dims), start=1)
                ),
            ],
            norm=norm(dims[-1]),
            pool=MeanPool(),
            head=linear_head(dims[-1], num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)
        self.apply(trunc_normal_conv)


def _sizes(dim: int, heads: int, depths: tuple[int, int, int], drop_path: float) -> dict[str, object]:
    sizes = {"image_size": 224, "patch_size": 4, "dim": dim, "heads": heads, "num_hierarchies": 3}
    return {**sizes, "block_repeats": depths, "drop_path": drop_path}


# Section 4.1 of the paper, with the stochastic depth of the authors' configurations.
_PUBLISHED = {
    "tiny": _sizes(96, 3, (2, 2, 8), 0.2),
    "small": _sizes(96, 3, (2, 2, 20), 0.3),
    "base": _sizes(128, 4, (2, 2, 20), 0.5),
}

# One paper, three models that the same weights fit: timm's own, timm's for the authors' weights, and what the authors' JAX code computes.
VARIANTS: Variants = {
    **{
        f"nest_{size}": Variant(NesT, {**sizes, "activation": nn.GELU, "pool": partial(nn.MaxPool2d, 3, 2, 1)})
        for size, sizes in _PUBLISHED.items()
    },
    **{f"nest_{size}_jx": Variant(NesT, {**sizes, "activation": nn.GELU}) for size, sizes in _PUBLISHED.items()},
    **{f"jx_nest_{size}": Variant(NesT, sizes) for size, sizes in _PUBLISHED.items()},
}
