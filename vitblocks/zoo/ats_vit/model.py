"""ATS: Adaptive Token Sampling for Efficient Vision Transformers (arXiv:2111.15667)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor, nn

from ...attention import GlobalAttention
from ...block import Block
from ...embed import ConvEmbed
from ...feedforward import Mlp
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...inspect.capture import capture
from ...inspect.kept import original_ids
from ...model import Model, Stage
from ...norm import LayerNorm
from ...pool import ClassPool
from ...position import LearnedPosition
from ...prefix import ClassToken, PerToken
from ...registry import part
from ...residual import Residual, drop_path_schedule
from ..sizes import patch_grid
from .layouts import LAYOUTS
from .parts import (
    AdaptiveSampling,
    KeepPadding,
    SampledBlock,
    SmoothedSoftmaxAttend,
    TokenSampler,
    TrimPadding,
)


@part
class ATSViT(Model):
    """ViT that keeps only the patches its class token looks at, as many as each image needs.

    Sampling is deterministic, as published. At a depth that samples, the scores of the patches are read at a fixed number of points and
    each patch is kept once, so fewer are left than there are points. Every block has the smoothed softmax of the authors' code.
    Initialised as the authors do: Linears, class token and positions a truncated normal of standard deviation 0.02, biases zero. Other
    image sizes than ``image_size`` work: positions are resized.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: 0 for features.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the feed-forward.
        max_tokens_per_depth: sampling points of each block, the most patches that it keeps; None where it does not sample. The authors
            sample at as many points as the image has patches, from the fourth block on.
        dropout: after the attention's projection and both Linears of the feed-forward.
        emb_dropout: after the positions.
        channels: of the image.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0.
        qkv_bias: whether the qkv projection has a bias.
        drop_tokens: cut the tokens down to the image of the batch that keeps most. Faster, but the model cannot be exported, and the
            logits of an image depend a little on the others of its batch (see :class:`~vitblocks.zoo.ats_vit.TrimPadding`).

    Raises:
        ValueError: ``image_size`` does not divide into patches, ``dim`` not into heads, or ``max_tokens_per_depth`` does not name each
            block or names none that samples.
    """

    layouts = LAYOUTS

    def __init__(
        self,
        *,
        image_size: Size,
        patch_size: Size,
        num_classes: int,
        dim: int,
        depth: int,
        max_tokens_per_depth: Sequence[int | None],
        heads: int,
        mlp_dim: int,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        channels: int = 3,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        qkv_bias: bool = True,
        drop_tokens: bool = False,
    ) -> None:
        if len(max_tokens_per_depth) != depth or not any(max_tokens_per_depth):
            raise ValueError(
                f"max_tokens_per_depth must be {depth} numbers or None, one for each block and not all None, "
                f"got {tuple(max_tokens_per_depth)}"
            )
        position = LearnedPosition(dim, patch_grid(image_size, patch_size), num_prefix=1)
        layers: list[nn.Module] = [ClassToken(dim), position, PerToken(nn.Dropout(emb_dropout))]
        stages = [Stage(layers)]
        for samples, rate in zip(max_tokens_per_depth, drop_path_schedule(drop_path, depth), strict=True):
            attend = SmoothedSoftmaxAttend(dropout=attn_dropout)
            attn = GlobalAttention(dim, heads, qkv_bias=qkv_bias, attend=attend, dropout=dropout)
            mlp = Mlp(dim, mlp_dim, dropout=dropout)
            if samples is None:
                # Before the first sampling there is no padding to leave out.
                block = Block if len(stages) == 1 else SampledBlock
                stages[-1].layers.append(block(dim, attn, mlp, drop_path=rate))
            else:
                stages += [
                    Stage(transition=AdaptiveSampling(dim, attn, samples, drop_path=rate)),
                    Stage(
                        [KeepPadding(Residual(dim, mlp, drop_path=rate))],
                        transition=TrimPadding() if drop_tokens else None,
                    ),
                ]
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels),
            stages=stages,
            norm=LayerNorm(dim),
            pool=ClassPool(),
            head=linear_head(dim, num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)

    @overload
    def forward(self, image: Tensor, return_sampled_token_ids: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, image: Tensor, return_sampled_token_ids: Literal[True]) -> tuple[Tensor, Tensor]: ...

    def forward(self, image: Tensor, return_sampled_token_ids: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits, and the ids of the kept patches if asked for (see :meth:`forward_with_ids`)."""
        return self.forward_with_ids(image) if return_sampled_token_ids else super().forward(image)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward_with_ids(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the ids ``(B, K)`` of the patches left at the end, counted row-major in the image; -1 is padding, and comes last.

        Always run uncompiled, because compiled code calls no hooks.
        """
        with capture(self, TokenSampler) as picks:
            logits = super().forward(image)
        return logits, original_ids(picks)


# The class as vit-pytorch calls it.
ViT = ATSViT
