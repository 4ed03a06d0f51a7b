"""MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer (arXiv:2110.02178)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn

from ...attention import GlobalAttention, SoftmaxAttend
from ...block import Block
from ...embed import ConvUnit, Downsample, InvertedResidual, MapEmbed, OnMap
from ...feedforward import Mlp
from ...grid import Size
from ...head import linear_head
from ...init import kaiming_conv, trunc_normal_linear
from ...model import Model, Stage
from ...norm import LinearNorm, layer_norm
from ...pool import MeanPool
from ...prefix import PerToken
from ...registry import Variant, Variants, part
from ..sizes import per_stage
from .configs import CONFIGS
from .layouts import LAYOUTS
from .origins import ORIGINS
from .parts import ConvFusion, Interleaved, ResizeToMultiple


@part
class MobileViT(Model):
    """Inverted residuals, and in the last three stages transformers among the pixels that lie alike in their patches.

    Initialised as the authors do: convolutions normal by their fan out, Linears a truncated normal of standard deviation 0.02, biases
    zero. Every image size works; a map that does not divide into patches is resized for the transformer and back, as in their code.

    Args:
        image_size: an int or a (height, width) that the model is made for.
        dims: channels within the transformers of the last three stages.
        channels: of the stem, then of every inverted residual and transformer stage, then of the last 1x1 convolution: eleven.
        num_classes: 0 for features.
        expansion: hidden channels of an inverted residual over channels in; a number, or one for each of the five stages.
        kernel_size: of the convolutions around the transformers.
        patch_size: of a patch, an int or a (height, width), whose pixels attend to the pixels in their place of other patches.
        depths: transformer blocks of the last three stages.
        image_channels: of the image.
        repeats: inverted residuals of the first two stages, or of all five; one in the others if not given.
        heads: attention heads; an int, or one for each of the last three stages.
        mlp_dims: hidden widths of the feed-forwards; twice ``dims`` if None.
        dropout: after the attention's projection and both Linears of the feed-forward, and before the head.
        attn_dropout: on the attention weights.
        drop_path: of every transformer block.
        patch_sizes: of each of the last three stages, where they differ.
        head_dropout: before the head; ``dropout`` if None.

    Raises:
        ValueError: ``channels`` are not eleven, ``dims``, ``depths``, ``mlp_dims`` and ``patch_sizes`` not three each, ``repeats`` not
            two or five, or a stage that halves the map has none.
    """

    layouts = LAYOUTS
    origins = ORIGINS
    configs = CONFIGS

    def __init__(
        self,
        *,
        image_size: Size,
        dims: Sequence[int],
        channels: Sequence[int],
        num_classes: int,
        expansion: float | Sequence[float] = 4,
        kernel_size: int = 3,
        patch_size: Size = 2,
        depths: Sequence[int] = (2, 4, 3),
        image_channels: int = 3,
        repeats: Sequence[int] = (1, 3),
        heads: int | Sequence[int] = 4,
        mlp_dims: Sequence[int] | None = None,
        dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        patch_sizes: Sequence[Size] | None = None,
        head_dropout: float | None = None,
    ) -> None:
        mlp_dims = [2 * dim for dim in dims] if mlp_dims is None else mlp_dims
        patches = [patch_size] * 3 if patch_sizes is None else patch_sizes
        counts = [*repeats, 1, 1, 1] if len(repeats) == 2 else repeats
        all_heads = per_stage("heads", heads, 3)
        for name, value, count in (
            ("channels", channels, 11),
            ("dims", dims, 3),
            ("depths", depths, 3),
            ("mlp_dims", mlp_dims, 3),
            ("patch_sizes", patches, 3),
            ("repeats", counts, 5),
        ):
            if len(value) != count:
                raise ValueError(f"{name} must be {count} numbers, got {tuple(value)}")
        if min(counts[1:]) < 1:
            raise ValueError(f"repeats must be at least 1 in the stages that halve the map, got {tuple(repeats)}")
        inverted = [partial(InvertedResidual, expansion=ratio) for ratio in per_stage("expansion", expansion, 5)]

        def transformer(dim: int, depth: int, mlp_dim: int, heads: int, patch: Size) -> nn.Module:
            blocks = [
                Block(
                    dim,
                    GlobalAttention(dim, heads, attend=SoftmaxAttend(dropout=attn_dropout), dropout=dropout),
                    Mlp(dim, mlp_dim, activation=nn.SiLU, dropout=dropout),
                    norm=layer_norm(1e-5),
                    drop_path=drop_path,
                )
                for _ in range(depth)
            ]
            return ResizeToMultiple(Interleaved([*blocks, PerToken(layer_norm(1e-5)(dim))], patch), patch)

        def transformer_stage(i: int) -> Stage:
            before, between, after = channels[3 + 2 * i], channels[4 + 2 * i], channels[5 + 2 * i]
            inner = transformer(dims[i], depths[i], mlp_dims[i], all_heads[i], patches[i])
            fusion = ConvFusion(between, dims[i], inner, out_dim=after, kernel_size=kernel_size)
            kind = inverted[2 + i]
            more = _repeat(kind, between, between, counts[2 + i] - 1)
            return Stage([*more, fusion], transition=Downsample(kind(before, between, stride=2)))

        unit = partial(ConvUnit, bias=False, norm=nn.BatchNorm2d, activation=nn.SiLU)
        super().__init__(
            embed=MapEmbed(unit(image_channels, channels[0], 3, stride=2)),
            stages=[
                Stage(_repeat(inverted[0], channels[0], channels[1], counts[0])),
                Stage(
                    _repeat(inverted[1], channels[2], channels[3], counts[1] - 1),
                    transition=Downsample(inverted[1](channels[1], channels[2], stride=2)),
                ),
                *map(transformer_stage, range(3)),
            ],
            norm=nn.Sequential(LinearNorm(channels[-2], channels[-1]), nn.SiLU()),
            pool=MeanPool(),
            head=nn.Sequential(
                nn.Dropout(dropout if head_dropout is None else head_dropout), linear_head(channels[-1], num_classes)
            ),
            image_size=image_size,
        )
        self.apply(kaiming_conv)
        self.apply(trunc_normal_linear)


def _repeat(inverted: partial[InvertedResidual], before: int, after: int, count: int) -> list[nn.Module]:
    """Inverted residuals as layers, the first of which changes the channels."""
    return [OnMap(inverted(before if i == 0 else after, after)) for i in range(count)]


def _variant(dims: Sequence[int], channels: Sequence[int], expansion: int) -> Variant:
    return Variant(MobileViT, {"image_size": 256, "dims": dims, "channels": channels, "expansion": expansion})


# Table 4 of the paper's appendix.
VARIANTS: Variants = {
    "mobilevit_xxs": _variant((64, 80, 96), (16, 16, 24, 24, 48, 48, 64, 64, 80, 80, 320), 2),
    "mobilevit_xs": _variant((96, 120, 144), (16, 32, 48, 48, 64, 64, 80, 80, 96, 96, 384), 4),
    "mobilevit_s": _variant((144, 192, 240), (16, 32, 64, 64, 96, 96, 128, 128, 160, 160, 640), 4),
}
