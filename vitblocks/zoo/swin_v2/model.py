"""Swin V2: Swin Transformer V2: Scaling Up Capacity and Resolution (arXiv:2111.09883)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from ...attention import CosineAttend, QVBiasLinear, WindowAttention
from ...block import ResidualPostNormBlock
from ...checks import check_choice
from ...embed import ConvEmbed, PatchMerging
from ...feedforward import Activation, Mlp
from ...grid import Size, to_pair
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import NormFactory, layer_norm
from ...pool import MeanPool
from ...position import LogSpacedBias
from ...prefix import PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..swin.model import stage_grids
from ..swin.parts import SwinPadding
from .configs import CONFIGS
from .layouts import LAYOUTS
from .origins import ORIGINS
from .parts import swin_v2_windows


@part
class SwinV2(Model):
    """Swin with cosine attention, biases from log-spaced offsets, and norms at the ends of branches: weights fit windows of every size.

    Initialised as the authors do: Linears a truncated normal of standard deviation 0.02, biases zero, the norms that end the branches zero,
    so that every block starts as the identity. Every image size works: images are padded to whole patches, maps to whole windows, and
    before their patches merge; at the bottom and right.

    Args:
        num_classes: 0 for features.
        patch_size: an int or a (height, width).
        dim: channels of the first stage; they double from stage to stage.
        depths, heads: blocks and attention heads of each stage.
        window: an int or a (height, width).
        pretrained_windows: of each stage the window, an int or a (height, width), that its biases were trained with, or 0 for the one it
            has; None for 0 everywhere.
        mlp_ratio: hidden width of the feed-forward over the channels.
        channels: of the image.
        dropout: after the attention's projection, both Linears of the feed-forward, and the embedding.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0.
        qkv_bias: whether queries and values have a bias; keys have none.
        image_size: an int or a (height, width) whose maps no window exceeds, along neither side. None for windows of ``window`` everywhere.
        activation: factory of the feed-forward's activation.
        padding: see :class:`~vitblocks.Swin`. With ``"hf"`` windows are shifted on every map or on none, as the maps of ``image_size``
            say (:class:`~vitblocks.zoo.swin_v2.AlwaysShiftedWindows`).
        norm: factory of all norms.
        branch_weight: what the norms that end the branches multiply by at the start.

    Raises:
        ValueError: not as many ``heads`` or ``pretrained_windows`` as ``depths``, a width that does not divide into heads, or an unknown
            ``padding``.
    """

    layouts = LAYOUTS
    origins = ORIGINS
    configs = CONFIGS

    def __init__(
        self,
        *,
        num_classes: int,
        patch_size: Size = 4,
        dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: Size = 8,
        pretrained_windows: Sequence[Size] | None = None,
        mlp_ratio: float = 4.0,
        channels: int = 3,
        dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.1,
        qkv_bias: bool = True,
        image_size: Size | None = None,
        activation: Activation = nn.GELU,
        padding: SwinPadding = "masked",
        norm: NormFactory = layer_norm(1e-5),
        branch_weight: float = 0.0,
    ) -> None:
        check_choice("padding", padding, ("masked", "attended", "hf", "timm"))
        dims = [dim * 2**i for i in range(len(depths))]
        size = to_pair(window, "window")
        embed = ConvEmbed(
            patch_size, dim, channels=channels, norm=norm(dim), remainder="drop" if padding == "timm" else "pad"
        )
        grids = stage_grids(embed, image_size, channels, len(depths), patch_size if padding == "hf" else None)
        rates = iter(drop_path_schedule(drop_path, sum(depths)))

        def blocks(
            width: int, depth: int, count: int, grid: tuple[int, int] | None, pretrained: Size
        ) -> list[nn.Module]:
            return [
                ResidualPostNormBlock(
                    width,
                    WindowAttention(
                        width,
                        count,
                        windows=swin_v2_windows(size, grid, i % 2 == 1, padding),
                        qkv=QVBiasLinear(width) if qkv_bias else nn.Linear(width, 3 * width, bias=False),
                        attend=CosineAttend(count, dropout=attn_dropout),
                        position_bias=LogSpacedBias(
                            count, pretrained=None if pretrained in (0, (0, 0)) else pretrained
                        ),
                        dropout=dropout,
                    ),
                    Mlp(width, int(width * mlp_ratio), activation=activation, dropout=dropout),
                    norm=norm,
                    drop_path=next(rates),
                )
                for i in range(depth)
            ]

        trained = [
            to_pair(window, f"pretrained_windows[{i}]", minimum=0)
            for i, window in enumerate([0] * len(depths) if pretrained_windows is None else pretrained_windows)
        ]
        stages = [blocks(*sizes) for sizes in zip(dims, depths, heads, grids, trained, strict=True)]
        merges = [PatchMerging(before, after, norm=nn.Identity, out_norm=norm) for before, after in pairwise(dims)]
        super().__init__(
            embed=embed,
            stages=[
                Stage([PerToken(nn.Dropout(dropout)), *stages[0]]),
                *(Stage(layers, transition=merge) for layers, merge in zip(stages[1:], merges, strict=True)),
            ],
            norm=norm(dims[-1]),
            pool=MeanPool(),
            head=linear_head(dims[-1], num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)
        for block in self.blocks():
            for name in ("norm1", "norm2"):
                nn.init.constant_(block[1].get_parameter(f"{name}.weight"), branch_weight)


def _variant(dim: int, depth: int, heads: int, window: int, image_size: int, *, from_192: bool = False) -> Variant:
    """As timm has its weights: ``depth`` blocks in the third stage, ``heads`` in the first, perhaps trained at 192 pixels before."""
    options = {
        "image_size": image_size,
        "dim": dim,
        "depths": (2, 2, depth, 2),
        "heads": tuple(heads * 2**i for i in range(4)),
        "window": window,
        "padding": "timm",
    }
    return Variant(SwinV2, options | ({"pretrained_windows": (12, 12, 12, 6)} if from_192 else {}))


VARIANTS: Variants = {
    "swinv2_tiny_window8_256": _variant(96, 6, 3, 8, 256),
    "swinv2_tiny_window16_256": _variant(96, 6, 3, 16, 256),
    "swinv2_small_window8_256": _variant(96, 18, 3, 8, 256),
    "swinv2_small_window16_256": _variant(96, 18, 3, 16, 256),
    "swinv2_base_window8_256": _variant(128, 18, 4, 8, 256),
    "swinv2_base_window16_256": _variant(128, 18, 4, 16, 256),
    "swinv2_base_window12_192": _variant(128, 18, 4, 12, 192),
    "swinv2_base_window12to16_192to256": _variant(128, 18, 4, 16, 256, from_192=True),
    "swinv2_base_window12to24_192to384": _variant(128, 18, 4, 24, 384, from_192=True),
    "swinv2_large_window12_192": _variant(192, 18, 6, 12, 192),
    "swinv2_large_window12to16_192to256": _variant(192, 18, 6, 16, 256, from_192=True),
    "swinv2_large_window12to24_192to384": _variant(192, 18, 6, 24, 384, from_192=True),
}
