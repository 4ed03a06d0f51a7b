"""PiT: Rethinking Spatial Dimensions of Vision Transformers (arXiv:2103.16302)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypedDict

from torch import nn
from typing_extensions import Required

from ...embed import ConvEmbed
from ...embed.adaptors import sliding_grid
from ...feedforward import Activation
from ...grid import Size, to_pair
from ...head import linear_head
from ...model import Model, Stage
from ...norm import LayerNorm, NormFactory
from ...pool import ClassPool
from ...position import LearnedPosition
from ...prefix import ClassToken, PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import per_level, prefix_count
from ..vit import vit_blocks
from .layouts import LAYOUTS
from .parts import PoolingDownsample


class PiTOptions(TypedDict, total=False):
    """Keywords of :class:`PiT` that its distilled student passes on."""

    image_size: Required[Size]
    patch_size: Required[Size]
    heads: Required[int | Sequence[int]]
    mlp_dim: Required[int | Sequence[int]]
    dropout: float
    emb_dropout: float
    channels: int
    attn_dropout: float
    drop_path: float
    stride: Size | None
    norm: NormFactory
    activation: Activation


@part
class PiT(Model):
    """ViT whose map is halved and whose channels double between stages, by a depthwise convolution; the class token goes along.

    Patches overlap by half. Positions are added to the patches alone, before the class token joins. As published heads and the
    feed-forward double from stage to stage along with ``dim``, so that the channels of a head stay. Initialised as the authors do: tokens
    and positions a truncated normal of standard deviation 0.02, Linears and convolutions PyTorch's default. Every image size works that
    holds a patch: positions are resized.

    Args:
        image_size, patch_size: an int or a (height, width).
        dim, heads, mlp_dim: width, attention heads and hidden width of the feed-forward of the first stage, which double from stage to
            stage; or one for each stage, every ``dim`` a multiple of the one before.
        num_classes: 0 for features.
        depth: blocks of each stage.
        dropout: after the attention's projection and both Linears of the feed-forward.
        emb_dropout: after the positions.
        channels: of the image.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0.
        stride: pixels between patches; half of ``patch_size`` if None.
        prefix_tokens: learned tokens before the patches, the class token first.
        norm: factory of the norms.
        activation: factory of the feed-forward's activation.

    Raises:
        ValueError: ``image_size`` is smaller than a patch, ``depth`` is empty, sizes are not one for each stage, or a ``dim`` does not
            divide into heads or the ``dim`` after it.
    """

    layouts = LAYOUTS

    def __init__(
        self,
        *,
        image_size: Size,
        patch_size: Size,
        dim: int | Sequence[int],
        num_classes: int,
        depth: Sequence[int],
        heads: int | Sequence[int],
        mlp_dim: int | Sequence[int],
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        channels: int = 3,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        stride: Size | None = None,
        prefix_tokens: int = 1,
        norm: NormFactory = LayerNorm,
        activation: Activation = nn.GELU,
    ) -> None:
        if not depth:
            raise ValueError("depth must name the blocks of at least one stage, got none")
        patch = to_pair(patch_size, "patch_size")
        step = (max(patch[0] // 2, 1), max(patch[1] // 2, 1)) if stride is None else to_pair(stride, "stride")
        grid = sliding_grid(to_pair(image_size, "image_size"), patch, step)
        rates = iter(drop_path_schedule(drop_path, sum(depth)))
        dims, all_heads, mlp_dims = (
            per_level(name, value, len(depth), growth=2)
            for name, value in (("dim", dim), ("heads", heads), ("mlp_dim", mlp_dim))
        )
        stages = [
            vit_blocks(
                dims[i],
                all_heads[i],
                mlp_dims[i],
                [next(rates) for _ in range(blocks)],
                dropout=dropout,
                attn_dropout=attn_dropout,
                norm=norm,
                activation=activation,
            )
            for i, blocks in enumerate(depth)
        ]
        super().__init__(
            embed=ConvEmbed(patch, dims[0], channels=channels, stride=step),
            stages=[
                Stage(
                    [
                        LearnedPosition(dims[0], grid),
                        PerToken(nn.Dropout(emb_dropout)),
                        ClassToken(dims[0], prefix_count("cls", prefix_tokens)),
                        *stages[0],
                    ]
                ),
                *(
                    Stage(blocks, transition=PoolingDownsample(before, after))
                    for blocks, (before, after) in zip(stages[1:], pairwise(dims), strict=True)
                ),
            ],
            norm=norm(dims[-1]),
            pool=ClassPool(),
            head=linear_head(dims[-1], num_classes),
            image_size=image_size,
        )


def _variant(patch_size: int, dim: int, heads: int, depth: tuple[int, int, int]) -> Variant:
    sizes = {"image_size": 224, "patch_size": patch_size, "dim": dim, "heads": heads, "mlp_dim": 4 * dim}
    return Variant(PiT, {**sizes, "depth": depth})


# Table 1 of the paper.
VARIANTS: Variants = {
    "pit_ti_224": _variant(16, 64, 2, (2, 6, 4)),
    "pit_xs_224": _variant(16, 96, 2, (2, 6, 4)),
    "pit_s_224": _variant(16, 144, 3, (2, 6, 4)),
    "pit_b_224": _variant(14, 256, 4, (3, 6, 4)),
}
