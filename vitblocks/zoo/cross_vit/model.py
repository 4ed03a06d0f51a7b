"""CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification (arXiv:2103.14899)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from ...attention import ClassAttention, GlobalAttention, SoftmaxAttend
from ...block import Block
from ...embed import ConvEmbed
from ...feedforward import Mlp
from ...grid import Size, to_pair
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Stage
from ...norm import LayerNorm, NormFactory
from ...pool import ClassPool
from ...position import LearnedPosition
from ...prefix import ClassToken, PerToken
from ...recipe import Pretrained
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import patch_grid, per_stage
from .layouts import LAYOUTS
from .origins import ORIGINS, as_timm
from .parts import Branch, ClassFusion, MultiScaleBlock, Rescale, ThreeConvStem

Stem: TypeAlias = Callable[..., nn.Module]
"""A factory ``(patch_size, dim, channels=) -> embedder``."""


@dataclass(frozen=True)
class BranchSizes:
    """The sizes of one branch; ``cross_heads`` are those with which its class token asks the other branch."""

    dim: int
    patch_size: tuple[int, int]
    image_size: tuple[int, int]
    depths: tuple[int, ...]
    heads: int
    mlp_dim: int
    cross_heads: int


@part
class BranchHeads(nn.Module):
    """A Linear for each branch, whose logits are averaged (Section 3.2): ``(B, sum of dims) -> (B, num_classes)``."""

    def __init__(self, dims: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.dims = list(dims)
        self.heads = nn.ModuleList(linear_head(dim, num_classes) for dim in dims)

    def branches(self, features: Tensor) -> tuple[Tensor, ...]:
        """The logits of each branch."""
        parts = features.split(self.dims, dim=1)
        return tuple(head(part) for head, part in zip(self.heads, parts, strict=True))

    def forward(self, features: Tensor) -> Tensor:
        return torch.stack(self.branches(features)).mean(dim=0)


@part
class CrossViT(Pretrained, nn.Module):
    """Two vision transformers, for small and for large patches, whose class tokens read the other's patches now and then.

    Not a :class:`~vitblocks.Model`: it has two grids, so ``encode`` gives two sets of tokens and there are no feature maps. Initialised
    as the authors do: Linears, class tokens and positions a truncated normal of standard deviation 0.02, biases of Linears zero,
    convolutions as PyTorch does. Other image sizes than ``image_size`` work: positions are resized.

    Args:
        image_size: of the image that comes in, an int or a (height, width).
        num_classes: 0 for features.
        depth: multi-scale blocks.
        sm_dim, lg_dim: channels of the branch of small patches and of that of large ones.
        sm_patch_size, lg_patch_size: an int or a (height, width).
        sm_enc_depth, lg_enc_depth: transformer blocks of a branch in each multi-scale block; an int, or one for each of these.
        sm_enc_heads, lg_enc_heads: attention heads.
        sm_enc_mlp_dim, lg_enc_mlp_dim: hidden width of the feed-forward.
        cross_attn_depth: how often a class token attends to the other branch in each multi-scale block; once as published.
        cross_attn_heads: heads of that attention; a pair for (small asks large, large asks small). Published models have as many as
            the branch that is asked.
        dropout: after the attentions' projections and both Linears of the feed-forward.
        emb_dropout: after the positions.
        channels: of the image.
        sm_image_size, lg_image_size: at which a branch sees the image, which it resizes in that proportion; ``image_size`` if None.
        stem: factory ``(patch_size, dim, channels=) -> embedder``; :class:`~vitblocks.zoo.cross_vit.ThreeConvStem` makes the dagger models.
        qkv_bias: whether the projections of queries, keys and values have a bias.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0; a fusion has the rate of the last block before it.
        norm: factory of the norms.

    Raises:
        ValueError: a branch's image does not divide into its patches, a dim not into its heads, or depths are not one for each block.
    """

    layouts = LAYOUTS
    origins = ORIGINS
    as_timm = staticmethod(as_timm)

    def __init__(
        self,
        *,
        image_size: Size,
        num_classes: int,
        depth: int,
        sm_dim: int,
        sm_patch_size: Size,
        sm_enc_depth: int | Sequence[int],
        sm_enc_heads: int,
        sm_enc_mlp_dim: int,
        lg_dim: int,
        lg_patch_size: Size,
        lg_enc_depth: int | Sequence[int],
        lg_enc_heads: int,
        lg_enc_mlp_dim: int,
        cross_attn_heads: int | tuple[int, int],
        cross_attn_depth: int = 1,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        channels: int = 3,
        sm_image_size: Size | None = None,
        lg_image_size: Size | None = None,
        stem: Stem = ConvEmbed,
        qkv_bias: bool = True,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: NormFactory = LayerNorm,
    ) -> None:
        super().__init__()
        size = to_pair(image_size, "image_size")
        sm_heads, lg_heads = per_stage("cross_attn_heads", cross_attn_heads, 2)
        small = BranchSizes(
            sm_dim,
            to_pair(sm_patch_size, "sm_patch_size"),
            size if sm_image_size is None else to_pair(sm_image_size, "sm_image_size"),
            per_stage("sm_enc_depth", sm_enc_depth, depth),
            sm_enc_heads,
            sm_enc_mlp_dim,
            sm_heads,
        )
        large = BranchSizes(
            lg_dim,
            to_pair(lg_patch_size, "lg_patch_size"),
            size if lg_image_size is None else to_pair(lg_image_size, "lg_image_size"),
            per_stage("lg_enc_depth", lg_enc_depth, depth),
            lg_enc_heads,
            lg_enc_mlp_dim,
            lg_heads,
        )
        attention: dict[str, Any] = {"qkv_bias": qkv_bias, "dropout": dropout}

        def blocks(branch: BranchSizes, rates: Sequence[float]) -> list[nn.Module]:
            return [
                Block(
                    branch.dim,
                    GlobalAttention(branch.dim, branch.heads, attend=SoftmaxAttend(dropout=attn_dropout), **attention),
                    Mlp(branch.dim, branch.mlp_dim, dropout=dropout),
                    norm=norm,
                    drop_path=rate,
                )
                for rate in rates
            ]

        def fusion(branch: BranchSizes, other: BranchSizes, rate: float) -> ClassFusion:
            rounds = [
                ClassAttention(other.dim, branch.cross_heads, attend=SoftmaxAttend(dropout=attn_dropout), **attention)
                for _ in range(cross_attn_depth)
            ]
            return ClassFusion(branch.dim, other.dim, rounds, norm=norm, drop_path=rate)

        spans = [max(*pair, 1) for pair in zip(small.depths, large.depths, strict=True)]
        schedule = drop_path_schedule(drop_path, sum(spans))
        rates = [schedule[start:end] for start, end in pairwise((0, *accumulate(spans)))]

        self.image_size = size
        self.embeds = nn.ModuleList(branch_embed(branch, size, stem, channels) for branch in (small, large))
        self.starts = nn.ModuleList(branch_start(branch, emb_dropout) for branch in (small, large))
        self.stages = nn.ModuleList(
            MultiScaleBlock(
                blocks(small, rates[k][: small.depths[k]]),
                blocks(large, rates[k][: large.depths[k]]),
                fusion(small, large, rates[k][-1]),
                fusion(large, small, rates[k][-1]),
            )
            for k in range(depth)
        )
        self.norms = nn.ModuleList([norm(small.dim), norm(large.dim)])
        self.pool: nn.Module = ClassPool()
        self.head = BranchHeads([small.dim, large.dim], num_classes) if num_classes else nn.Identity()
        self.apply(trunc_normal_linear)

    def encode(self, image: Tensor) -> tuple[Branch, Branch]:
        """All tokens after the last norm and their grid, of the small and the large patches: ``(x (B, 1 + H*W, dim), (H, W))`` each."""
        small, large = (start(*embed(image)) for embed, start in zip(self.embeds, self.starts, strict=True))
        for block in self.stages:
            small, large = block(small, large)
        return (self.norms[0](small[0]), small[1]), (self.norms[1](large[0]), large[1])

    def forward_features(self, image: Tensor) -> Tensor:
        """Both class tokens, or what the pool makes of each branch, side by side, as the head reads them: ``(B, sm_dim + lg_dim)``."""
        return torch.cat([self.pool(x, grid) for x, grid in self.encode(image)], dim=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.forward_features(image))

    def blocks(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts that hold an Attend, in order, with their names: transformer blocks of the small and large branch, then fusions."""
        for k, block in enumerate(self.stages):
            assert isinstance(block, MultiScaleBlock)
            for i, tower in enumerate(block.towers):
                for j, layer in enumerate(cast(Stage, tower).layers):
                    yield f"stages.{k}.towers.{i}.layers.{j}", layer
            for i, fusion in enumerate(block.fusions):
                yield f"stages.{k}.fusions.{i}", fusion

    def gradient_checkpointing(self, enabled: bool = True) -> CrossViT:
        """Recompute each transformer block in the backward pass rather than keep its activations. Returns the model."""
        for module in self.modules():
            if isinstance(module, Stage):
                module.checkpointing = enabled
        return self


def branch_embed(branch: BranchSizes, image_size: tuple[int, int], stem: Stem, channels: int) -> nn.Module:
    """The embedder of a branch, which resizes the image first where it sees it at a size of its own."""
    patches = stem(branch.patch_size, branch.dim, channels=channels)
    if branch.image_size == image_size:
        return patches
    return nn.Sequential(Rescale(image_size, branch.image_size, multiple=branch.patch_size), patches)


def branch_start(branch: BranchSizes, emb_dropout: float) -> Stage:
    """The layers of a branch before its first block: class token and positions."""
    position = LearnedPosition(branch.dim, patch_grid(branch.image_size, branch.patch_size), num_prefix=1)
    return Stage([ClassToken(branch.dim), position, PerToken(nn.Dropout(emb_dropout))])


def _variant(
    image_sizes: tuple[int, int], dim: int, depth: int, heads: int, mlp_ratio: int, stem: Stem = ConvEmbed
) -> Variant:
    small, large = image_sizes
    options: dict[str, object] = {"image_size": small, "depth": 3, "cross_attn_heads": heads, "stem": stem}
    for branch, width, size, patch, blocks in (("sm", dim, small, 12, 1), ("lg", 2 * dim, large, 16, depth)):
        options |= {f"{branch}_dim": width, f"{branch}_image_size": size, f"{branch}_patch_size": patch}
        options |= {
            f"{branch}_enc_depth": blocks,
            f"{branch}_enc_heads": heads,
            f"{branch}_enc_mlp_dim": mlp_ratio * width,
        }
    return Variant(CrossViT, options)


_AT_240, _AT_408 = (240, 224), (408, 384)

# Table 1 of the paper. It names the sizes after the image that the large patches see, 224 and 384; the names here have that of the small.
VARIANTS: Variants = {
    "crossvit_tiny_240": _variant(_AT_240, 96, 4, 3, 4),
    "crossvit_small_240": _variant(_AT_240, 192, 4, 6, 4),
    "crossvit_base_240": _variant(_AT_240, 384, 4, 12, 4),
    "crossvit_9_240": _variant(_AT_240, 128, 3, 4, 3),
    "crossvit_15_240": _variant(_AT_240, 192, 5, 6, 3),
    "crossvit_18_240": _variant(_AT_240, 224, 6, 7, 3),
    "crossvit_9_dagger_240": _variant(_AT_240, 128, 3, 4, 3, ThreeConvStem),
    "crossvit_15_dagger_240": _variant(_AT_240, 192, 5, 6, 3, ThreeConvStem),
    "crossvit_18_dagger_240": _variant(_AT_240, 224, 6, 7, 3, ThreeConvStem),
    "crossvit_15_dagger_408": _variant(_AT_408, 192, 5, 6, 3, ThreeConvStem),
    "crossvit_18_dagger_408": _variant(_AT_408, 224, 6, 7, 3, ThreeConvStem),
}
