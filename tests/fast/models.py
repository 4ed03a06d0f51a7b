"""Models as other libraries write them: plain modules that know nothing of this package."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OwnLayerNorm(nn.LayerNorm):
    """A subclass with a ``forward`` of its own, as timm has one."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class PlainAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))


class PlainBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = OwnLayerNorm(dim)
        self.attn = PlainAttention(dim, heads)
        self.norm2 = OwnLayerNorm(dim)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


class PlainViT(nn.Module):
    """Patches by a convolution, one depthwise convolution that makes two channels of each, blocks, a head."""

    def __init__(self, dim: int = 16, depth: int = 2, heads: int = 2, classes: int = 5) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim // 2, 4, 4)
        self.widen = nn.Conv2d(dim // 2, dim, 3, 2, 1, groups=dim // 2)
        self.blocks = nn.Sequential(*(PlainBlock(dim, heads) for _ in range(depth)))
        self.norm = OwnLayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.widen(self.embed(images)).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(1))


def gradients(model: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """Of every parameter, by the sum of the squares of what the model gives; the output first."""
    y = model(*inputs)
    return [y, *torch.autograd.grad(y.float().square().sum(), list(model.parameters()))]
