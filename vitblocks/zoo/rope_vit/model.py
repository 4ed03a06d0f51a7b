"""RoPE-ViT: Rotary Position Embedding for Vision Transformer (arXiv:2403.13298)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

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
from ...position import LearnedPosition, Rotary2d, resize_table
from ...position.resize import Resize
from ...prefix import ClassToken, PerToken, RegisterToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import patch_grid
from ..vit import BlockOptions, vit_blocks
from .layouts import LAYOUTS

_AXIAL = partial(Rotary2d, first="column")


@part
class RoPEViT(Model):
    """ViT whose queries and keys turn with the place they stand at, in place of learned positions or with them (Section 3).

    Trained as DeiT III is, with layer scale; timm's own have registers in place of a class token. Other image sizes than ``image_size``
    work.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: 0 for features.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the feed-forward.
        pool: ``"cls"`` reads the class token after the norm; ``"mean"`` has no class token and norms the mean of the patches.
        positions_rotary: factory from a head's channels to rotary positions, of each block by itself: axial ones with the column first;
            mixed ones are ``partial(Rotary2d, base=10.0, first="column", mixed_heads=heads)``.
        absolute_positions: whether patches have learned positions, too.
        registers: how many, behind the class token or alone.
        key_bias: whether keys have a bias where queries and values have one.
        channels: of the image.
        emb_dropout: before the blocks.
        drop_path: of the last block, rising linearly from 0.
        norm: factory of the norms.
        embed: a finished embedder in place of the patch convolution.
        activation: factory of the feed-forward's activation.
        layer_scale: starting value of a learned scale for each channel of every residual branch; None for none.
        resize: how absolute positions are resized for another image.
        head_dim, qk_norm, dropout, attn_dropout, qkv_bias: see :class:`~vitblocks.ViT`.
        feedforward: class of the feed-forward.

    Raises:
        ValueError: ``image_size`` does not divide into patches, ``dim`` not into heads, or ``pool`` is unknown.
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
        pool: Literal["cls", "mean"] = "cls",
        positions_rotary: Callable[[int], nn.Module] = _AXIAL,
        absolute_positions: bool = False,
        registers: int = 0,
        key_bias: bool = True,
        channels: int = 3,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: NormFactory = LayerNorm,
        embed: nn.Module | None = None,
        activation: Activation = nn.GELU,
        layer_scale: float | None = 1e-5,
        resize: Resize = resize_table,
        **options: Unpack[BlockOptions],
    ) -> None:
        check_choice("pool", pool, ("cls", "mean"))

        def attention(dim: int, heads: int, *, head_dim: int | None, qkv_bias: bool, **others: Any) -> GlobalAttention:
            width = dim // heads if head_dim is None else head_dim
            qkv = QVBiasLinear(dim, [heads * width] * 3) if qkv_bias and not key_bias else None
            rotary = positions_rotary(width)
            return GlobalAttention(dim, heads, head_dim=head_dim, qkv=qkv, qkv_bias=qkv_bias, rotary=rotary, **others)

        blocks = vit_blocks(
            dim,
            heads,
            mlp_dim,
            drop_path_schedule(drop_path, depth),
            norm=norm,
            activation=activation,
            layer_scale=layer_scale,
            attention=attention,
            **options,
        )
        grid = patch_grid(image_size, patch_size)
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels) if embed is None else embed,
            stages=[
                Stage(
                    [
                        *([LearnedPosition(dim, grid, resize=resize)] if absolute_positions else []),
                        *([ClassToken(dim)] if pool == "cls" else []),
                        *([RegisterToken(dim, registers)] if registers else []),
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
        self.apply(trunc_normal_linear)


def _variants() -> Variants:
    widths: dict[str, dict[str, int]] = {
        "small": {"dim": 384, "depth": 12, "heads": 6, "mlp_dim": 1536},
        "medium": {"dim": 512, "depth": 12, "heads": 8, "mlp_dim": 2048},
        "mediumd": {"dim": 512, "depth": 20, "heads": 8, "mlp_dim": 2048},
        "betwixt": {"dim": 640, "depth": 12, "heads": 10, "mlp_dim": 2560},
        "base": {"dim": 768, "depth": 12, "heads": 12, "mlp_dim": 3072},
        "large": {"dim": 1024, "depth": 24, "heads": 16, "mlp_dim": 4096},
    }
    table: Variants = {}
    for width in ("small", "base", "large"):
        mixed = partial(Rotary2d, base=10.0, first="column", mixed_heads=widths[width]["heads"])
        for kind, options in (("rope", {}), ("rope_mixed", {"positions_rotary": mixed})):
            sizes: dict[str, Any] = {"image_size": 224, "patch_size": 16, **widths[width], **options}
            table[f"vit_{width}_patch16_{kind}_224"] = Variant(RoPEViT, sizes)
            table[f"vit_{width}_patch16_{kind}_ape_224"] = Variant(RoPEViT, {**sizes, "absolute_positions": True})
    own: dict[str, Any] = {
        "image_size": 256,
        "patch_size": 16,
        "pool": "mean",
        "positions_rotary": partial(Rotary2d, base=10000.0, grid=16),
    }
    for width, registers, bias in (
        ("medium", 1, {"key_bias": False}),
        ("mediumd", 1, {"qkv_bias": False}),
        ("betwixt", 4, {"key_bias": False}),
        ("base", 1, {"key_bias": False}),
    ):
        name = f"vit_{width}_patch16_rope_reg{registers}_gap_256"
        table[name] = Variant(RoPEViT, {**own, **widths[width], "registers": registers, **bias})
    return table


# The authors' of 224 pixels, and timm's own with registers.
VARIANTS: Variants = _variants()
