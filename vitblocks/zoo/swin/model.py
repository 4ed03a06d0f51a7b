"""Swin: Hierarchical Vision Transformer using Shifted Windows (arXiv:2103.14030)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from ...attention import SoftmaxAttend, WindowAttention
from ...block import Block
from ...checks import check_choice
from ...embed import ConvEmbed, PatchMerging
from ...feedforward import Activation, Mlp
from ...grid import Size, to_pair
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import NormFactory, layer_norm
from ...pool import MeanPool
from ...position import RelativeBias
from ...prefix import PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import embedded_grid
from .configs import CONFIGS
from .layouts import LAYOUTS
from .origins import ORIGINS
from .parts import SwinPadding, stage_windows, swin_windows


@part
class Swin(Model):
    """Windows, shifted by half in every other block, with relative position bias; patches merge between stages.

    Initialised as the authors do: Linears and bias tables a truncated normal of standard deviation 0.02, biases zero. Every image size
    works: images are padded to whole patches, maps to whole windows, and before their patches merge; at the bottom and right.

    Args:
        num_classes: 0 for features.
        patch_size: an int or a (height, width).
        dim: channels of the first stage; they double from stage to stage.
        depths, heads: blocks and attention heads of each stage.
        window: an int or a (height, width), or a list of these, one for each stage.
        mlp_ratio: hidden width of the feed-forward over the channels.
        channels: of the image.
        dropout: after the attention's projection, both Linears of the feed-forward, and the embedding.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0.
        qkv_bias: whether the qkv projection has a bias.
        image_size: an int or a (height, width) whose maps no window exceeds, along neither side: their bias tables are smaller, as in
            published models whose last maps are. None for tables of ``window`` everywhere.
        activation: factory of the feed-forward's activation.
        padding: what the padding of windows is to those that compute beside it. ``"masked"``: nothing, nobody attends to it.
            ``"attended"``: zeros among the keys, as in the authors' code for detection and torchvision's. ``"hf"``: that too, as in
            transformers, where windows are shifted along both sides or, on a map with a side that one covers, along neither. ``"timm"``:
            attended, too, but shifted windows are rolled before they are padded (:class:`~vitblocks.zoo.swin.RolledWindows`), maps of
            ``image_size`` that one window covers are shifted at no size, and what fills no whole patch of the image is left out. Where
            patches and windows divide the image, and windows cover no map, all are the same.

    Raises:
        ValueError: not as many ``heads`` or windows as ``depths``, a width that does not divide into heads, or an unknown ``padding``.
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
        window: Size | list[Size] = 7,
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
        emb_dropout: float | None = None,
        full_windows: bool = False,
    ) -> None:
        check_choice("padding", padding, ("masked", "attended", "hf", "timm"))
        dims = [dim * 2**i for i in range(len(depths))]
        windows = stage_windows(window, len(depths))
        embed = ConvEmbed(
            patch_size, dim, channels=channels, norm=norm(dim), remainder="drop" if padding == "timm" else "pad"
        )
        grids = stage_grids(embed, None if full_windows else image_size, channels, len(depths))
        rates = iter(drop_path_schedule(drop_path, sum(depths)))

        def blocks(
            width: int, depth: int, count: int, size: tuple[int, int], grid: tuple[int, int] | None
        ) -> list[nn.Module]:
            window = size if grid is None else (min(size[0], grid[0]), min(size[1], grid[1]))
            return [
                Block(
                    width,
                    WindowAttention(
                        width,
                        count,
                        windows=swin_windows(window, grid, i % 2 == 1, padding),
                        qkv_bias=qkv_bias,
                        attend=SoftmaxAttend(dropout=attn_dropout),
                        position_bias=RelativeBias(count, window),
                        dropout=dropout,
                    ),
                    Mlp(width, int(width * mlp_ratio), activation=activation, dropout=dropout),
                    norm=norm,
                    drop_path=next(rates),
                )
                for i in range(depth)
            ]

        stages = [blocks(*sizes) for sizes in zip(dims, depths, heads, windows, grids, strict=True)]
        merges = [PatchMerging(before, after, norm=norm) for before, after in pairwise(dims)]
        super().__init__(
            embed=embed,
            stages=[
                Stage([PerToken(nn.Dropout(dropout if emb_dropout is None else emb_dropout)), *stages[0]]),
                *(Stage(layers, transition=merge) for layers, merge in zip(stages[1:], merges, strict=True)),
            ],
            norm=norm(dims[-1]),
            pool=MeanPool(),
            head=linear_head(dims[-1], num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


def merged(grid: tuple[int, int], times: int) -> tuple[int, int]:
    """The grid after its patches were merged, so many to one along each side, rounding up."""
    return -(-grid[0] // times), -(-grid[1] // times)


def stage_grids(
    embed: nn.Module, image_size: Size | None, channels: int, stages: int, cut: Size | None = None
) -> list[tuple[int, int] | None]:
    """The maps of an image size that a model is made for, stage by stage; with patches to ``cut`` it into, what fills none is left out."""
    if image_size is None:
        return [None] * stages
    if cut is None:
        grid = embedded_grid(embed, image_size, channels)
        return [merged(grid, 2**i) for i in range(stages)]
    (height, width), (rows, columns) = to_pair(image_size, "image_size"), to_pair(cut, "patch_size")
    return [(height // rows // 2**i, width // columns // 2**i) for i in range(stages)]


def _variant(dim: int, depth: int, heads: int, window: int, image_size: int) -> Variant:
    """As timm has its weights: ``depth`` blocks in the third stage, ``heads`` in the first."""
    return Variant(
        Swin,
        {
            "image_size": image_size,
            "dim": dim,
            "depths": (2, 2, depth, 2),
            "heads": tuple(heads * 2**i for i in range(4)),
            "window": window,
            "padding": "timm",
        },
    )


VARIANTS: Variants = {
    "swin_tiny_patch4_window7_224": _variant(96, 6, 3, 7, 224),
    "swin_small_patch4_window7_224": _variant(96, 18, 3, 7, 224),
    "swin_base_patch4_window7_224": _variant(128, 18, 4, 7, 224),
    "swin_base_patch4_window12_384": _variant(128, 18, 4, 12, 384),
    "swin_large_patch4_window7_224": _variant(192, 18, 6, 7, 224),
    "swin_large_patch4_window12_384": _variant(192, 18, 6, 12, 384),
}
