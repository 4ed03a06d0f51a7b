"""DINOv2: Learning Robust Visual Features without Supervision (arXiv:2304.07193)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from torch import nn
from typing_extensions import Unpack

from ...checks import check_choice
from ...embed import ConvEmbed
from ...feedforward import Activation, GatedMlp
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm, NormFactory
from ...pool import ClassMeanPool, ClassPool, MeanPool
from ...position import LearnedPosition, resize_table, resize_table_as_dino
from ...position.resize import Resize
from ...prefix import ClassToken, MaskToken, PerToken, RegisterToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import patch_grid
from ..vit import BlockOptions, vit_blocks
from ..vit.hub_origins import DINOV2_ORIGINS
from .configs import CONFIGS
from .layouts import LAYOUTS
from .origins import ORIGINS


@part
class DINOv2(Model):
    """ViT as DINOv2 trains it: layer scale, and registers between class token and patches (arXiv:2309.16588) if asked for.

    Registers have no position. Other image sizes than ``image_size`` work: positions are resized.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: 0 for features.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the feed-forward.
        pool: ``"cls"`` reads the class token after the norm; ``"cls+mean"`` the class token beside the mean of the patches, as
            transformers' classifier does; ``"mean"`` norms the mean of the patches.
        registers: how many.
        class_position: whether the class token has a position. Where weights were converted for timm, those with registers have it
            added to the token itself.
        mask_token: whether to carry the token that stood for masked patches, which no output depends on.
        channels: of the image.
        emb_dropout: after the positions.
        drop_path: of the last block, rising linearly from 0.
        norm: factory of the norms.
        embed: a finished embedder in place of the patch convolution.
        layer_scale: starting value of a learned scale for each channel of every residual branch; None for none.
        resize: how positions are resized for another image. The paper's code does it as that of DINO did, and with registers antialiased:
            ``partial(resize_table, antialias=True)``.
        head_dim, qk_norm, qkv_bias, dropout, attn_dropout, activation: see :class:`~vitblocks.ViT`.
        feedforward: class of the feed-forward: :class:`~vitblocks.Mlp`, or for SwiGLU (the giant one) :class:`~vitblocks.GatedMlp` with
            ``activation=nn.SiLU``.

    Raises:
        ValueError: ``image_size`` does not divide into patches, ``dim`` not into heads, ``pool`` is unknown, or ``registers`` negative.
    """

    layouts = LAYOUTS
    origins = ORIGINS | DINOV2_ORIGINS
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
        pool: Literal["cls", "cls+mean", "mean"] = "cls",
        registers: int = 0,
        class_position: bool = True,
        mask_token: bool = False,
        channels: int = 3,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: NormFactory = LayerNorm,
        embed: nn.Module | None = None,
        activation: Activation = nn.GELU,
        layer_scale: float | None = 1e-5,
        resize: Resize = resize_table_as_dino,
        **options: Unpack[BlockOptions],
    ) -> None:
        check_choice("pool", pool, ("cls", "cls+mean", "mean"))
        positions = LearnedPosition(
            dim, patch_grid(image_size, patch_size), num_prefix=int(class_position), resize=resize
        )
        token = ClassToken(dim)
        pools: dict[str, Callable[[], nn.Module]] = {
            "cls": ClassPool,
            "cls+mean": ClassMeanPool,
            "mean": lambda: MeanPool(norm(dim)),
        }
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels) if embed is None else embed,
            stages=[
                Stage(
                    [
                        *([MaskToken(dim)] if mask_token else []),
                        *([token, positions] if class_position else [positions, token]),
                        *([RegisterToken(dim, registers)] if registers else []),
                        PerToken(nn.Dropout(emb_dropout)),
                        *vit_blocks(
                            dim,
                            heads,
                            mlp_dim,
                            drop_path_schedule(drop_path, depth),
                            norm=norm,
                            activation=activation,
                            layer_scale=layer_scale,
                            **options,
                        ),
                    ]
                )
            ],
            norm=None if pool == "mean" else norm(dim),
            pool=pools[pool](),
            head=linear_head(2 * dim if pool == "cls+mean" else dim, num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


def _variants() -> Variants:
    sizes: dict[str, dict[str, Any]] = {
        "small": {"dim": 384, "depth": 12, "heads": 6, "mlp_dim": 1536},
        "base": {"dim": 768, "depth": 12, "heads": 12, "mlp_dim": 3072},
        "large": {"dim": 1024, "depth": 24, "heads": 16, "mlp_dim": 4096},
        "giant": {
            "dim": 1536,
            "depth": 40,
            "heads": 24,
            "mlp_dim": 4096,
            "feedforward": GatedMlp,
            "activation": nn.SiLU,
        },
    }
    registers = {"registers": 4, "class_position": False, "resize": partial(resize_table, antialias=True)}
    table: Variants = {}
    for width, options in sizes.items():
        options = {"image_size": 518, "patch_size": 14, "num_classes": 0, **options}
        table[f"vit_{width}_patch14_dinov2"] = Variant(DINOv2, options)
        table[f"vit_{width}_patch14_reg4_dinov2"] = Variant(DINOv2, options | registers)
    return table


# Table 15 of the paper, at the resolution that training ended with (Section 6.1); with registers as timm holds them.
VARIANTS: Variants = _variants()
