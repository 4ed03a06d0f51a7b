"""BEiT: BERT Pre-Training of Image Transformers (arXiv:2106.08254), and BEiT v2 (arXiv:2208.06366)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from typing_extensions import Unpack

from ...attention import GlobalAttention, QVBiasLinear
from ...checks import check_choice
from ...embed import ConvEmbed
from ...feedforward import Activation
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm, NormFactory
from ...pool import ClassPool, MeanPool
from ...position import ClassRelativeBias, LearnedPosition, resize_offsets_as_beit, resize_table
from ...position.resize import Resize
from ...prefix import ClassToken, MaskToken, PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import patch_grid
from ..vit import BranchOptions, vit_blocks
from .configs import CONFIGS
from .layouts import LAYOUTS
from .origins import ORIGINS

BiasFactory = Callable[[int, tuple[int, int]], nn.Module]

_AS_THE_AUTHORS = partial(ClassRelativeBias, resize=resize_offsets_as_beit)


@part
class BEiT(Model):
    """ViT as BEiT has it: relative positions in which the class token has a part, layer scale, and keys without a bias.

    Initialised as the authors do: Linears a truncated normal of standard deviation 0.02 with zero biases, those that end the branches of
    block ``l`` divided by the root of ``2 l`` (Section 2.5), biases of positions zero. Other image sizes than ``image_size`` work.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: 0 for features.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the feed-forward.
        pool: ``"mean"`` norms the mean of the patches; ``"cls"`` reads the class token after the norm.
        bias_factory: of each block's relative positions, called with heads and grid: with the offsets of other grids as the authors' code
            and timm have it, or ``partial(ClassRelativeBias, resize=resize_offsets_as_transformers)``; None for none.
        shared_bias: whether all blocks have one and the same, as in the authors' pre-training. A swap gives each its own copy.
        absolute_positions: whether class token and patches have learned positions, too.
        mask_token: whether to carry the token that stood for masked patches, which no output depends on.
        channels: of the image.
        emb_dropout: after the positions.
        drop_path: of the last block, rising linearly from 0.
        norm: factory of the norms.
        embed: a finished embedder in place of the patch convolution.
        activation: factory of the feed-forward's activation.
        layer_scale: starting value of a learned scale for each channel of every residual branch; None for none.
        resize: how absolute positions are resized for another image.
        head_dim, qk_norm, dropout, attn_dropout, feedforward: see :class:`~vitblocks.EVA`.

    Raises:
        ValueError: ``image_size`` does not divide into patches, ``dim`` not into heads, or ``pool`` is unknown.
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
        pool: Literal["cls", "mean"] = "mean",
        bias_factory: BiasFactory | None = _AS_THE_AUTHORS,
        shared_bias: bool = False,
        absolute_positions: bool = False,
        mask_token: bool = False,
        channels: int = 3,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: NormFactory = LayerNorm,
        embed: nn.Module | None = None,
        activation: Activation = nn.GELU,
        layer_scale: float | None = 0.1,
        resize: Resize = resize_table,
        **options: Unpack[BranchOptions],
    ) -> None:
        check_choice("pool", pool, ("cls", "mean"))
        grid = patch_grid(image_size, patch_size)
        shared = bias_factory(heads, grid) if shared_bias and bias_factory is not None else None

        def attention(dim: int, heads: int, *, head_dim: int | None, **others: Any) -> GlobalAttention:
            width = dim // heads if head_dim is None else head_dim
            own = None if bias_factory is None or shared is not None else bias_factory(heads, grid)
            qkv = QVBiasLinear(dim, [heads * width] * 3)
            return GlobalAttention(
                dim, heads, head_dim=head_dim, qkv=qkv, position_bias=own if shared is None else shared, **others
            )

        blocks = vit_blocks(
            dim,
            heads,
            mlp_dim,
            drop_path_schedule(drop_path, depth),
            norm=norm,
            activation=activation,
            layer_scale=layer_scale,
            attention=attention,
            qkv_bias=False,
            **options,
        )
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels) if embed is None else embed,
            stages=[
                Stage(
                    [
                        *([MaskToken(dim)] if mask_token else []),
                        ClassToken(dim),
                        *([LearnedPosition(dim, grid, num_prefix=1, resize=resize)] if absolute_positions else []),
                        PerToken(nn.Dropout(emb_dropout)),
                        *blocks,
                    ]
                )
            ],
            norm=norm(dim) if pool == "cls" else None,
            pool=ClassPool() if pool == "cls" else MeanPool(norm(dim)),
            head=linear_head(dim, num_classes),
            image_size=image_size,
        )
        self.shared_bias = shared_bias
        self.apply(trunc_normal_linear)
        self._rescale()

    @torch.no_grad()
    def _rescale(self) -> None:
        for i, (_, block) in enumerate(self.blocks(), start=1):
            for name in ("attn.proj.weight", "mlp.fc2.weight"):
                block.get_parameter(name).div_((2 * i) ** 0.5)


def _variants() -> Variants:
    base = {"dim": 768, "depth": 12, "heads": 12, "mlp_dim": 3072}
    large = {"dim": 1024, "depth": 24, "heads": 16, "mlp_dim": 4096, "layer_scale": 1e-5}
    rows: tuple[tuple[str, int, dict[str, Any]], ...] = (
        ("beit_base_patch16", 224, base),
        ("beit_base_patch16", 384, base),
        ("beit_large_patch16", 224, large),
        ("beit_large_patch16", 384, large),
        ("beit_large_patch16", 512, large),
        ("beitv2_base_patch16", 224, {**base, "layer_scale": 1e-5}),
        ("beitv2_large_patch16", 224, large),
    )
    return {
        f"{name}_{size}": Variant(BEiT, {"image_size": size, "patch_size": 16, **options})
        for name, size, options in rows
    }


# BEiT's Section 3 and BEiT v2's Section 3.1, fine-tuned.
VARIANTS: Variants = _variants()
