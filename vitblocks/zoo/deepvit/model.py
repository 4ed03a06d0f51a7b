"""DeepViT: Towards Deeper Vision Transformer (arXiv:2103.11886)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypedDict

from torch import nn
from typing_extensions import Required, Unpack

from ...attention import GlobalAttention, ReAttention, SoftmaxAttend
from ...block import Block
from ...embed import ConvEmbed
from ...feedforward import Mlp
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm
from ...pool import ClassPool
from ...position import LearnedPosition
from ...prefix import ClassToken, PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import patch_grid
from .layouts import LAYOUTS
from .parts import PatchStem, RescaledBlock


class DeepViTOptions(TypedDict, total=False):
    """Keywords of :class:`DeepViT` that do not bear on its embedder."""

    image_size: Required[Size]
    num_classes: Required[int]
    depth: Required[int]
    heads: Required[int]
    mlp_dim: Required[int]
    dropout: float
    emb_dropout: float
    attn_dropout: float
    drop_path: float
    qkv_bias: bool
    re_attention_depth: int | Sequence[bool] | None
    weight_scale: float
    rescale: float | None


@part
class DeepViT(Model):
    """ViT with re-attention: the heads' weights are mixed and normalised, so that deep layers keep attending differently.

    Initialised as the authors do: Linears, class token and positions a truncated normal of standard deviation 0.02, biases zero; the
    mixes of the heads and all convolutions as PyTorch's convolutions. Other image sizes than ``image_size`` work: positions are resized.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: 0 for features.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the feed-forward.
        dropout: after the attention's projection and both Linears of the feed-forward.
        emb_dropout: after the positions.
        channels: of the image.
        attn_dropout: on the attention weights, after their norm.
        drop_path: of the last block, rising linearly from 0.
        qkv_bias: whether the qkv projection has a bias.
        re_attention_depth: how many of the last blocks re-attend, or whether each block does; the others attend plainly. All if None.
        weight_scale: factor of the re-attention weights after their norm.
        rescale: s in the residual branches ``x + layer(norm(s * x)) / s``; None for plain ones.
        embed: a finished embedder in place of the patch convolution, such as :class:`PatchStem`.

    Raises:
        ValueError: ``image_size`` does not divide into patches, ``dim`` not into heads, or ``re_attention_depth`` exceeds ``depth`` or
            does not name each block.
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
        heads: int,
        mlp_dim: int,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        channels: int = 3,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        qkv_bias: bool = True,
        re_attention_depth: int | Sequence[bool] | None = None,
        weight_scale: float = 1.0,
        rescale: float | None = None,
        embed: nn.Module | None = None,
    ) -> None:
        re_attends = re_attending(depth, re_attention_depth)
        block = Block if rescale is None else partial(RescaledBlock, scale=rescale)
        attention = partial(GlobalAttention, dim, heads, qkv_bias=qkv_bias, dropout=dropout)
        re_attention = partial(
            ReAttention,
            dim,
            heads,
            qkv_bias=qkv_bias,
            dropout=dropout,
            attn_dropout=attn_dropout,
            weight_scale=weight_scale,
        )
        blocks = [
            block(
                dim,
                re_attention() if re_attends[i] else attention(attend=SoftmaxAttend(dropout=attn_dropout)),
                Mlp(dim, mlp_dim, dropout=dropout),
                drop_path=rate,
            )
            for i, rate in enumerate(drop_path_schedule(drop_path, depth))
        ]
        position = LearnedPosition(dim, patch_grid(image_size, patch_size), num_prefix=1)
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels) if embed is None else embed,
            stages=[Stage([ClassToken(dim), position, PerToken(nn.Dropout(emb_dropout)), *blocks])],
            norm=LayerNorm(dim),
            pool=ClassPool(),
            head=linear_head(dim, num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


def re_attending(depth: int, wanted: int | Sequence[bool] | None) -> tuple[bool, ...]:
    """Whether each block re-attends.

    Raises:
        ValueError: more than there are, or not one for each.
    """
    if not isinstance(wanted, Sequence):
        last = depth if wanted is None else wanted
        if not 0 <= last <= depth:
            raise ValueError(f"re_attention_depth must lie between 0 and depth {depth}, got {wanted}")
        return (False,) * (depth - last) + (True,) * last
    if len(wanted) != depth:
        raise ValueError(f"re_attention_depth must name each of {depth} blocks, got {tuple(wanted)}")
    return tuple(wanted)


def deepvit_with_stem(*, patch_size: int, dim: int, channels: int = 3, **options: Unpack[DeepViTOptions]) -> DeepViT:
    """DeepViT on a stem of three convolutions, as DeepViT-S and -L are.

    Args:
        patch_size, dim, channels: see :class:`~vitblocks.zoo.deepvit.PatchStem`.
        image_size, num_classes, depth, heads, mlp_dim, dropout, emb_dropout, attn_dropout, drop_path, qkv_bias, re_attention_depth,
            weight_scale, rescale: see :class:`DeepViT`.
    """
    stem = PatchStem(patch_size, dim, channels=channels)
    return DeepViT(patch_size=patch_size, dim=dim, embed=stem, **options)


def _variant(depth: int) -> Variant:
    sizes = {"image_size": 224, "patch_size": 16, "dim": 384, "depth": depth, "heads": 12, "mlp_dim": 3 * 384}
    return Variant(DeepViT, sizes)


def _variant_with_stem(size: int, dim: int, depth: int, re_attention_depth: int, weight_scale: float) -> Variant:
    sizes = {"image_size": size, "patch_size": 16, "dim": dim, "depth": depth, "heads": 12, "mlp_dim": 3 * dim}
    extras = {"re_attention_depth": re_attention_depth, "weight_scale": weight_scale, "rescale": 0.5}
    return Variant(deepvit_with_stem, {**sizes, **extras})


# The models of the authors' code: re-attention everywhere, or on the stem and in the last blocks alone.
VARIANTS: Variants = {
    "deepvit_16b": _variant(16),
    "deepvit_24b": _variant(24),
    "deepvit_32b": _variant(32),
    "deepvit_s": _variant_with_stem(224, 396, 16, 5, 33**-0.5),
    "deepvit_l": _variant_with_stem(224, 420, 32, 12, 1.0),
    "deepvit_l_384": _variant_with_stem(384, 420, 32, 12, 1.0),
}
