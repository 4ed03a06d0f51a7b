"""The image encoder of Segment Anything (arXiv:2304.02643), a ViTDet backbone (arXiv:2203.16527)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from torch import nn

from ...attention import GlobalAttention, LocalWindowAttention, SoftmaxAttend
from ...attention.windows import Padding
from ...block import Block
from ...embed import ConvEmbed, Downsample
from ...feedforward import Activation, Mlp
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm, MapNorm, NormFactory, layer_norm
from ...pool import MeanPool
from ...position import DecomposedBias, LearnedPosition, resize_table
from ...position.resize import Resize
from ...prefix import PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import patch_grid
from .configs import CONFIGS
from .layouts import LAYOUTS
from .origins import ORIGINS

BiasFactory: TypeAlias = Callable[[int, Size], nn.Module]


@part
class SAMViT(Model):
    """ViT whose blocks attend in windows, but for a few that attend globally, and a convolutional neck (SAM, Section 3 and Appendix A).

    Positions are those of the patches and, in every attention, decomposed relative ones. There is no class token; the second feature map
    is what SAM's mask decoder reads, the first what the blocks give. Other image sizes than ``image_size`` work: all positions are
    resized. Initialised as ViT, relative positions at zero.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: 0 for the mean of the last map.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the feed-forward.
        global_blocks: the numbers of the blocks that attend globally.
        window: of all others, an int or a (height, width).
        neck_dim: channels of the neck, a 1x1 and a 3x3 convolution, each with a norm; None for a norm alone.
        channels: of the image.
        dropout: after the attention's projection and both Linears of the feed-forward.
        emb_dropout: after the positions.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0.
        qkv_bias: whether the qkv projections have a bias.
        norm: factory of the blocks' norms. The authors' and transformers' have an epsilon of 1e-6, timm's 1e-5.
        neck_norm: factory of the neck's norms; an epsilon of 1e-6 in all of them.
        activation: factory of the feed-forward's activation.
        layer_scale: starting value of a learned scale for each channel of every residual branch; None for none.
        positions: whether patches have learned positions.
        bias_factory: factory ``(head_dim, grid) -> part`` of each position bias; None for none.
        padding: what becomes of the padding of maps to whole windows: ``"attended"`` as published, or ``"masked"``.
        resize: how positions are resized for another image; timm's is :func:`~vitblocks.position.resize_table_as_timm`.

    Raises:
        ValueError: ``image_size`` does not divide into patches, ``dim`` not into heads, or there is no block of a number.
    """

    layouts = LAYOUTS
    origins = ORIGINS
    configs = CONFIGS

    def __init__(
        self,
        *,
        image_size: Size,
        patch_size: Size,
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        global_blocks: Sequence[int] = (),
        window: Size = 14,
        neck_dim: int | None = 256,
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        qkv_bias: bool = True,
        norm: NormFactory = LayerNorm,
        neck_norm: NormFactory = LayerNorm,
        activation: Activation = nn.GELU,
        layer_scale: float | None = None,
        positions: bool = True,
        bias_factory: BiasFactory | None = DecomposedBias,
        padding: Padding = "attended",
        resize: Resize = resize_table,
    ) -> None:
        if unknown := set(global_blocks) - set(range(depth)):
            raise ValueError(f"global_blocks must number blocks of {depth}, from 0, got {sorted(unknown)[0]}")
        grid = patch_grid(image_size, patch_size)

        def block(number: int, rate: float) -> Block:
            everywhere = number in global_blocks
            kind = GlobalAttention if everywhere else partial(LocalWindowAttention, window=window, padding=padding)
            attn = kind(
                dim,
                heads,
                qkv_bias=qkv_bias,
                attend=SoftmaxAttend(dropout=attn_dropout),
                position_bias=None
                if bias_factory is None
                else bias_factory(dim // heads, grid if everywhere else window),
                dropout=dropout,
            )
            mlp = Mlp(dim, mlp_dim, activation=activation, dropout=dropout)
            return Block(dim, attn, mlp, norm=norm, layer_scale=layer_scale, drop_path=rate)

        first = Stage(
            [
                *([LearnedPosition(dim, grid, resize=resize)] if positions else []),
                PerToken(nn.Dropout(emb_dropout)),
                *(block(*numbered) for numbered in enumerate(drop_path_schedule(drop_path, depth))),
            ]
        )
        necks = [] if neck_dim is None else [Stage(transition=Downsample(neck(dim, neck_dim, neck_norm)))]
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels),
            stages=[first, *necks],
            norm=neck_norm(dim) if neck_dim is None else None,
            pool=MeanPool(),
            head=linear_head(neck_dim or dim, num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


def neck(dim: int, out_dim: int, norm: NormFactory = LayerNorm) -> nn.Sequential:
    """SAM's neck, a map -> map module: convolutions of one and of 3x3 places without biases, each with a norm of the channels."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(dim, out_dim, 1, bias=False),
            norm1=MapNorm(norm(out_dim)),
            conv2=nn.Conv2d(out_dim, out_dim, 3, padding=1, bias=False),
            norm2=MapNorm(norm(out_dim)),
        )
    )


def _sizes(dim: int, depth: int, heads: int) -> dict[str, object]:
    """The widths of ViT; every quarter of the blocks ends with one that attends globally."""
    last = tuple(depth // 4 * (i + 1) - 1 for i in range(4))
    return {"patch_size": 16, "dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim, "global_blocks": last}


# Appendix A of the paper, and a classifier of timm that nobody published weights of.
VARIANTS: Variants = {
    **{
        f"samvit_{width}_patch16": Variant(SAMViT, {"image_size": 1024, "num_classes": 0, **_sizes(*sizes)})
        for width, sizes in {"base": (768, 12, 12), "large": (1024, 24, 16), "huge": (1280, 32, 16)}.items()
    },
    "samvit_base_patch16_224": Variant(
        SAMViT,
        {
            "image_size": 224,
            **_sizes(768, 12, 12),
            "positions": False,
            "neck_dim": None,
            "norm": layer_norm(1e-5),
        },
    ),
}
