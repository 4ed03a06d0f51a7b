"""A model of one's own: parts of five papers in one list."""

from __future__ import annotations

from torch import nn

from .. import (
    PEG,
    Block,
    CompactStem,
    GlobalAttention,
    LayerNorm,
    LocalWindowAttention,
    Mlp,
    Model,
    RelativeBias,
    SequencePool,
    Stage,
    TalkingHeadsAttention,
)


def hybrid(num_classes: int = 10, *, dim: int = 64, heads: int = 4, window: int = 4) -> Model:
    """``image (B, 1, H, W) -> logits (B, num_classes)``: a convolutional stem, windows, then attention among all patches.

    The stem is CCT's (arXiv:2104.05704), the windows with their relative bias Swin's (arXiv:2103.14030), the convolution between them
    that tells positions CPVT's (arXiv:2102.10882), the talking heads CaiT's (arXiv:2103.17239). Every layer is called as
    ``layer(x, grid)``, so each line can be swapped for another, moved or left out.
    """

    def windows(shift: int) -> nn.Module:
        return LocalWindowAttention(dim, heads, window=window, shift=shift, position_bias=RelativeBias(heads, window))

    def block(attn: nn.Module) -> nn.Module:
        return Block(dim, attn, Mlp(dim, 2 * dim))

    return Model(
        embed=CompactStem(dim, channels=1, kernel_size=3, stride=1, padding=1),
        stages=[
            Stage([block(windows(shift=0)), PEG(dim), block(windows(shift=window // 2))]),
            Stage([block(TalkingHeadsAttention(dim, heads)), block(GlobalAttention(dim, heads))]),
        ],
        norm=LayerNorm(dim),
        pool=SequencePool(dim),
        head=nn.Linear(dim, num_classes),
    )
