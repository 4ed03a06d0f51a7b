"""T2T-ViT: Tokens-to-Token ViT, Training Vision Transformers from Scratch on ImageNet (arXiv:2101.11986)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

from torch import nn
from typing_extensions import Required

from ...grid import Size, to_pair
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import layer_norm
from ...pool import ClassPool
from ...position import SinePosition1d
from ...prefix import ClassToken, PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import prefix_count
from ..vit import vit_blocks
from .layouts import LAYOUTS
from .parts import TokenTransformer, Unfold, UnfoldEmbed, token_performer


class T2TViTOptions(TypedDict, total=False):
    """Keywords of :class:`T2TViT` that its distilled student passes on."""

    image_size: Required[Size]
    depth: Required[int]
    heads: Required[int]
    mlp_dim: Required[int]
    t2t_layers: Sequence[tuple[int, int]]
    channels: int
    dropout: float
    emb_dropout: float
    attn_dropout: float
    drop_path: float
    token_dim: int
    token_layer: Callable[[int, int], nn.Module]
    qkv_bias: bool
    attn_scale: float | None


@part
class T2TViT(Model):
    """Soft splits with a token transformer between them, then a deep and narrow ViT with fixed sine positions.

    Initialised as the authors do: Linears and the class token a truncated normal of standard deviation 0.02, biases zero. Every image
    size works that is no smaller than the first kernel: positions are computed for it.

    Args:
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the feed-forward, all of the part after the soft splits.
        image_size: an int or a (height, width).
        num_classes: 0 for features.
        t2t_layers: kernel size and stride of each soft split.
        channels: of the image.
        dropout: after the attention's projection and both Linears of the feed-forward.
        emb_dropout: after the positions.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0.
        token_dim: channels between the soft splits.
        token_layer: what stands between them, a factory ``(dim, token_dim) -> layer``: :class:`TokenTransformer` (the paper's
            T2T-ViT_t) or :func:`token_performer` (its T2T-ViT, for less memory).
        prefix_tokens: learned tokens before the patches, the class token first.
        qkv_bias: whether the qkv projections after the soft splits have a bias; not so as published.
        attn_scale: factor of the logits there, ``(dim / heads) ** -0.5`` if None. The authors' code takes ``dim ** -0.5`` where it loads
            their weights by name.

    Raises:
        ValueError: ``image_size`` is smaller than a kernel, ``t2t_layers`` is empty, or ``dim`` does not divide into heads.
    """

    layouts = LAYOUTS

    def __init__(
        self,
        *,
        dim: int,
        image_size: Size,
        depth: int,
        heads: int,
        mlp_dim: int,
        num_classes: int,
        t2t_layers: Sequence[tuple[int, int]] = ((7, 4), (3, 2), (3, 2)),
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        token_dim: int = 64,
        token_layer: Callable[[int, int], nn.Module] = TokenTransformer,
        prefix_tokens: int = 1,
        qkv_bias: bool = False,
        attn_scale: float | None = None,
    ) -> None:
        if not t2t_layers:
            raise ValueError("t2t_layers must name the kernel size and stride of at least one soft split, got none")
        embed, *splits = UnfoldEmbed(*t2t_layers[0]), *(Unfold(*sizes) for sizes in t2t_layers[1:])
        grid = to_pair(image_size, "image_size")
        for split in (embed, *splits):
            grid = split.grid(grid)
        prefix = prefix_count("cls", prefix_tokens)
        norm = layer_norm(1e-5)
        widths = [
            before * kernel**2
            for before, (kernel, _) in zip((channels, *[token_dim] * len(splits)), t2t_layers, strict=True)
        ]
        backbone = [
            PerToken(nn.Linear(widths[-1], dim)),
            ClassToken(dim, prefix),
            SinePosition1d(dim, grid, num_prefix=prefix),
            PerToken(nn.Dropout(emb_dropout)),
            *vit_blocks(
                dim,
                heads,
                mlp_dim,
                drop_path_schedule(drop_path, depth),
                qkv_bias=qkv_bias,
                dropout=dropout,
                attn_dropout=attn_dropout,
                norm=norm,
                attn_scale=attn_scale,
            ),
        ]
        layers = [*([token_layer(width, token_dim)] for width in widths[:-1]), backbone]
        super().__init__(
            embed=embed,
            stages=[Stage(stage, transition=split) for stage, split in zip(layers, (None, *splits), strict=True)],
            norm=norm(dim),
            pool=ClassPool(),
            head=linear_head(dim, num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


def _variant(
    dim: int,
    depth: int,
    mlp_ratio: int,
    token_layer: Callable[[int, int], nn.Module] = token_performer,
    size: int = 224,
) -> Variant:
    sizes = {"image_size": size, "dim": dim, "depth": depth, "heads": dim // 64, "mlp_dim": mlp_ratio * dim}
    return Variant(T2TViT, {**sizes, "token_layer": token_layer})


# Table 1 of the paper and the authors' code; "t" is for the softmax transformer between the soft splits, the others have the performer.
VARIANTS: Variants = {
    "t2t_vit_7": _variant(256, 7, 2),
    "t2t_vit_10": _variant(256, 10, 2),
    "t2t_vit_12": _variant(256, 12, 2),
    "t2t_vit_14": _variant(384, 14, 3),
    "t2t_vit_19": _variant(448, 19, 3),
    "t2t_vit_24": _variant(512, 24, 3),
    "t2t_vit_t_14": _variant(384, 14, 3, TokenTransformer),
    "t2t_vit_t_19": _variant(448, 19, 3, TokenTransformer),
    "t2t_vit_t_24": _variant(512, 24, 3, TokenTransformer),
    "t2t_vit_14_384": _variant(384, 14, 3, size=384),
}
