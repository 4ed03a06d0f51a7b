"""CLIP: Learning Transferable Visual Models From Natural Language Supervision (arXiv:2103.00020)."""

from __future__ import annotations

from torch import nn
from typing_extensions import Unpack

from ...embed import ConvEmbed
from ...feedforward import Activation, QuickGELU
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import NormFactory, layer_norm
from ...pool import ClassPool
from ...position import LearnedPosition, resize_table
from ...position.resize import Resize
from ...prefix import ClassToken, PerToken
from ...registry import part
from ...residual import drop_path_schedule
from ..sizes import patch_grid
from ..vit import BlockOptions, vit_blocks
from .configs import CONFIGS
from .layouts import LAYOUTS
from .origins import ORIGINS


@part
class CLIP(Model):
    """CLIP's tower of images (Section 2.4): ViT with a norm before its blocks, and patches embedded without a bias.

    Its head is the projection into the space that images and texts share; what it gives is not normed to length 1. Other image sizes
    than ``image_size`` work: positions are resized.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: channels of the projection, or classes after fine-tuning; 0 for features.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the feed-forward.
        head_bias: whether the projection has a bias. The authors' has none; timm's has one, so that it is a classifier's.
        channels: of the image.
        emb_dropout: after the positions.
        drop_path: of the last block, rising linearly from 0.
        norm: factory of the norms.
        embed: a finished embedder in place of the patch convolution.
        activation: QuickGELU for the weights of OpenAI and MetaCLIP, nn.GELU for those of LAION.
        layer_scale: starting value of a learned scale for each channel of every residual branch; None for none.
        resize: how positions are resized for another image.
        head_dim, qk_norm, qkv_bias, dropout, attn_dropout, feedforward: see :class:`~vitblocks.ViT` and
            :func:`~vitblocks.zoo.vit.vit_blocks`.

    Raises:
        ValueError: ``image_size`` does not divide into patches, or ``dim`` not into heads.
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
        head_bias: bool = False,
        channels: int = 3,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: NormFactory = layer_norm(1e-5),
        embed: nn.Module | None = None,
        activation: Activation = QuickGELU,
        layer_scale: float | None = None,
        resize: Resize = resize_table,
        **options: Unpack[BlockOptions],
    ) -> None:
        rates = drop_path_schedule(drop_path, depth)
        blocks = vit_blocks(
            dim, heads, mlp_dim, rates, norm=norm, activation=activation, layer_scale=layer_scale, **options
        )
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels, bias=False) if embed is None else embed,
            stages=[
                Stage(
                    [
                        ClassToken(dim),
                        LearnedPosition(dim, patch_grid(image_size, patch_size), num_prefix=1, resize=resize),
                        PerToken(nn.Dropout(emb_dropout)),
                        PerToken(norm(dim)),
                        *blocks,
                    ]
                )
            ],
            norm=norm(dim),
            pool=ClassPool(),
            head=linear_head(dim, num_classes, bias=head_bias),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)
