"""ViT around a transformer that you bring: efficient attention from other packages, plugged in as it is."""

from __future__ import annotations

from typing import Literal, TypedDict

from torch import nn
from typing_extensions import Required

from ..embed import ConvEmbed, OnSequence
from ..grid import Size
from ..head import linear_head
from ..init import trunc_normal_linear
from ..model import Model, Stage
from ..norm import LayerNorm
from ..pool import ClassPool, MeanPool
from ..position import LearnedPosition
from ..prefix import ClassToken, PerToken
from ..registry import part
from .sizes import patch_grid, prefix_count


class EfficientViTOptions(TypedDict, total=False):
    """Keywords of :class:`EfficientViT` that its distilled student passes on."""

    image_size: Required[Size]
    patch_size: Required[Size]
    transformer: Required[nn.Module]
    pool: Literal["cls"]
    channels: int
    emb_dropout: float


@part
class EfficientViT(Model):
    """ViT (arXiv:2010.11929) whose blocks are any module ``(B, N, dim) -> (B, N, dim)``, such as a Nystromformer (arXiv:2102.03902).

    The transformer keeps the weights that it comes with, the rest is initialised as :class:`vitblocks.ViT` is. Other image sizes
    than ``image_size`` work as far as the transformer takes other lengths: positions are resized.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: 0 for features.
        dim: channels of a token, those that the transformer takes.
        transformer: the finished module, called with all tokens, prefix tokens first.
        pool: ``"cls"`` reads the class token after a last norm; ``"mean"`` has no class token and norms the mean of the patches.
        channels: of the image.
        emb_dropout: after the positions.
        prefix_tokens: learned tokens before the patches, each with a position; 1 with ``pool="cls"`` and 0 with ``"mean"`` if None.

    Raises:
        ValueError: ``image_size`` does not divide into patches, or ``pool`` is unknown or has no token to read; in ``forward``, where the
            transformer changes the shape.
    """

    def __init__(
        self,
        *,
        image_size: Size,
        patch_size: Size,
        num_classes: int,
        dim: int,
        transformer: nn.Module,
        pool: Literal["cls", "mean"] = "cls",
        channels: int = 3,
        emb_dropout: float = 0.0,
        prefix_tokens: int | None = None,
    ) -> None:
        prefix = prefix_count(pool, prefix_tokens)
        head = linear_head(dim, num_classes)
        trunc_normal_linear(head)
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels),
            stages=[
                Stage(
                    [
                        *([ClassToken(dim, prefix)] if prefix else []),
                        LearnedPosition(dim, patch_grid(image_size, patch_size), num_prefix=prefix),
                        PerToken(nn.Dropout(emb_dropout)),
                        OnSequence(transformer),
                    ]
                )
            ],
            norm=LayerNorm(dim) if pool == "cls" else None,
            pool=ClassPool() if pool == "cls" else MeanPool(LayerNorm(dim)),
            head=head,
            image_size=image_size,
        )


ViT = EfficientViT  # under the name that vit-pytorch gave it
