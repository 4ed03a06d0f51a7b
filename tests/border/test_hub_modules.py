"""The ViTs of DINO and DINOv2 that PyTorch's Hub gives come in by what they have.

The stand-ins have the attributes, names and calls of facebookresearch/dino (``vision_transformer.py``) and facebookresearch/dinov2
(``dinov2/models/vision_transformer.py`` and its layers).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks.border import adopt

from .cases import check, randomised

EPS = partial(nn.LayerNorm, eps=1e-6)


class PatchEmbed(nn.Module):
    def __init__(self, img_size: Any, patch_size: int, in_chans: int, dim: int) -> None:
        super().__init__()
        self.img_size, self.patch_size = img_size, patch_size
        self.proj = nn.Conv2d(in_chans, dim, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.qkv, self.attn_drop = nn.Linear(dim, dim * 3, bias=qkv_bias), nn.Dropout(0.0)
        self.proj, self.proj_drop = nn.Linear(dim, dim), nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        attn = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.proj_drop(self.proj((self.attn_drop(attn) @ v).transpose(1, 2).reshape(b, n, c)))


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2, self.drop = (
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, dim),
            nn.Dropout(0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class SwiGLUFFNFused(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w12, self.w3 = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(x1) * x2)


class DropPath(nn.Module):
    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        assert not (self.training and self.drop_prob)
        return x


class Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, drop_path: float, qkv_bias: bool = True) -> None:
        super().__init__()
        self.norm1, self.attn = EPS(dim), Attention(dim, num_heads, qkv_bias)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2, self.mlp = EPS(dim), Mlp(dim, 2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class VisionTransformer(nn.Module):
    """DINO's."""

    def __init__(
        self,
        img_size: Any = 32,
        patch_size: int = 8,
        in_chans: int = 3,
        dim: int = 32,
        depth: int = 2,
        drop_path: float = 0.0,
        **block: Any,
    ) -> None:
        super().__init__()
        self.num_features = self.embed_dim = dim
        self.patch_embed = PatchEmbed(img_size, patch_size, in_chans, dim)
        places = (img_size // patch_size) ** 2
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, places + 1, dim))
        self.pos_drop = nn.Dropout(0.0)
        rates = [float(x) for x in torch.linspace(0, drop_path, depth)]
        self.blocks = nn.ModuleList(Block(dim, 2, rate, **block) for rate in rates)
        self.norm, self.head = EPS(dim), nn.Identity()

    def interpolate_pos_encoding(self, x: Tensor, w: int, h: int) -> Tensor:
        npatch, places = x.shape[1] - 1, self.pos_embed.shape[1] - 1
        if npatch == places and w == h:
            return self.pos_embed
        side, dim = int(places**0.5), x.shape[-1]
        w0, h0 = w // self.patch_embed.patch_size + 0.1, h // self.patch_embed.patch_size + 0.1
        table = self.pos_embed[:, 1:].reshape(1, side, side, dim).permute(0, 3, 1, 2)
        table = F.interpolate(table, scale_factor=(w0 / side, h0 / side), mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], table.permute(0, 2, 3, 1).reshape(1, -1, dim)], dim=1)

    def prepare_tokens(self, x: Tensor) -> Tensor:
        b, _, w, h = x.shape
        x = torch.cat([self.cls_token.expand(b, -1, -1), self.patch_embed(x)], dim=1)
        return self.pos_drop(x + self.interpolate_pos_encoding(x, w, h))

    def get_last_selfattention(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        x = self.prepare_tokens(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


class LayerScale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class NestedTensorBlock(nn.Module):
    def __init__(self, dim: int, num_heads: int, gated: bool) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1, self.drop_path1 = (
            EPS(dim),
            Attention(dim, num_heads),
            LayerScale(dim),
            nn.Identity(),
        )
        self.norm2, self.mlp = EPS(dim), (SwiGLUFFNFused if gated else Mlp)(dim, 2 * dim)
        self.ls2, self.drop_path2 = LayerScale(dim), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class DinoVisionTransformer(nn.Module):
    """DINOv2's."""

    def __init__(
        self,
        img_size: int = 32,
        patch_size: int = 8,
        in_chans: int = 3,
        dim: int = 32,
        num_register_tokens: int = 0,
        interpolate_antialias: bool = False,
        interpolate_offset: float = 0.1,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed((img_size, img_size), patch_size, in_chans, dim)
        self.patch_embed.norm = nn.Identity()
        self.num_register_tokens, self.chunked_blocks = num_register_tokens, False
        self.interpolate_antialias, self.interpolate_offset = interpolate_antialias, interpolate_offset
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, (img_size // patch_size) ** 2 + 1, dim))
        registers = nn.Parameter(torch.randn(1, num_register_tokens, dim)) if num_register_tokens else None
        self.register_tokens = registers
        self.blocks = nn.ModuleList(NestedTensorBlock(dim, 2, gated) for _ in range(2))
        self.norm, self.head = EPS(dim), nn.Identity()
        self.mask_token = nn.Parameter(torch.zeros(1, dim))

    def interpolate_pos_encoding(self, x: Tensor, w: int, h: int) -> Tensor:
        places, dim, patch = self.pos_embed.shape[1] - 1, x.shape[-1], self.patch_embed.patch_size
        if x.shape[1] - 1 == places and w == h:
            return self.pos_embed
        side, w0, h0 = int(places**0.5), w // patch, h // patch
        offset: Any = self.interpolate_offset
        how: dict[str, Any] = (
            {"scale_factor": (float(w0 + offset) / side, float(h0 + offset) / side)} if offset else {"size": (w0, h0)}
        )
        table = self.pos_embed[:, 1:].reshape(1, side, side, dim).permute(0, 3, 1, 2)
        table = F.interpolate(table, mode="bicubic", antialias=self.interpolate_antialias, **how)
        return torch.cat([self.pos_embed[:, :1], table.permute(0, 2, 3, 1).reshape(1, -1, dim)], dim=1)

    def prepare_tokens_with_masks(self, x: Tensor) -> Tensor:
        b, _, w, h = x.shape
        x = torch.cat([self.cls_token.expand(b, -1, -1), self.patch_embed(x)], dim=1)
        x = x + self.interpolate_pos_encoding(x, w, h)
        if self.register_tokens is None:
            return x
        return torch.cat([x[:, :1], self.register_tokens.expand(b, -1, -1), x[:, 1:]], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prepare_tokens_with_masks(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


DINO: dict[str, dict[str, Any]] = {
    "plain": {},
    "1 channel, no bias of qkv": {"in_chans": 1, "qkv_bias": False},
    "drop path": {"drop_path": 0.3, "depth": 3},
}


@pytest.mark.parametrize("options", DINO.values(), ids=DINO)
def test_dino(options: dict[str, Any]) -> None:
    model, _ = check(lambda: VisionTransformer(**options), sizes=2)
    assert type(model).__name__ == "ViT"
    adopt(randomised(VisionTransformer(**options)), sizes=[(48, 48), (40, 64)])


DINOV2: dict[str, dict[str, Any]] = {
    "plain": {},
    "1 channel": {"in_chans": 1},
    "registers, antialiased": {"num_register_tokens": 4, "interpolate_antialias": True, "interpolate_offset": 0.0},
    "giant's feed-forward": {"gated": True},
}


@pytest.mark.parametrize("options", DINOV2.values(), ids=DINOV2)
def test_dinov2(options: dict[str, Any]) -> None:
    model, _ = check(lambda: DinoVisionTransformer(**options), sizes=2)
    assert type(model).__name__ == "DINOv2"
    adopt(randomised(DinoVisionTransformer(**options)), sizes=[(48, 48), (40, 64)])


def test_settings_without_a_part_are_refused_by_name() -> None:
    cases = {
        r"head = Linear": _with_head(VisionTransformer()),
        r"chunked_blocks = True": _chunked(DinoVisionTransformer()),
        r"interpolate_offset = 0\.5": DinoVisionTransformer(interpolate_offset=0.5),
        r"interpolate_antialias with an offset = True": DinoVisionTransformer(interpolate_antialias=True),
    }
    for message, module in cases.items():
        with pytest.raises(ValueError, match=message):
            adopt(module)


def _with_head(module: Any) -> nn.Module:
    module.head = nn.Linear(32, 5)
    return module


def _chunked(module: Any) -> nn.Module:
    module.chunked_blocks = True
    return module


def test_another_class_of_that_name_is_not_taken_for_it() -> None:
    other = type("VisionTransformer", (nn.Module,), {"__module__": "vision_transformer"})
    with pytest.raises(ValueError, match=r"got vision_transformer\.VisionTransformer; those are"):
        adopt(other())
