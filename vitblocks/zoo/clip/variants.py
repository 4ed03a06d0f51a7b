"""CLIP's towers of images, by the names of timm."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from ...feedforward import QuickGELU
from ...registry import Variant, Variants
from .model import CLIP


class _Width(NamedTuple):
    dim: int
    depth: int
    heads: int
    mlp_dim: int
    num_classes: int


_WIDTHS = {
    "xsmall": _Width(256, 10, 4, 1024, 512),
    "medium": _Width(512, 12, 8, 2048, 512),
    "betwixt": _Width(640, 12, 10, 2560, 512),
    "base": _Width(768, 12, 12, 3072, 512),
    "base plus": _Width(896, 12, 14, 3584, 640),
    "large": _Width(1024, 24, 16, 4096, 768),
    "huge": _Width(1280, 32, 16, 5120, 1024),
    "giant": _Width(1408, 40, 16, 6144, 1024),
    "gigantic": _Width(1664, 48, 16, 8192, 1280),
}

_TOWERS = (
    ("xsmall", 16, 224),
    ("medium", 16, 224),
    ("medium", 32, 224),
    ("betwixt", 32, 224),
    ("base", 16, 224),
    ("base", 16, 384),
    ("base", 32, 224),
    ("base", 32, 256),
    ("base", 32, 384),
    ("base", 32, 448),
    ("base plus", 16, 240),
    ("large", 14, 224),
    ("large", 14, 336),
    ("huge", 14, 224),
    ("huge", 14, 336),
    ("huge", 14, 378),
    ("giant", 14, 224),
    ("gigantic", 14, 224),
    ("gigantic", 14, 378),
)
_QUICK = {("base", 16, 224), ("base", 32, 224), ("large", 14, 224), ("large", 14, 336)}
_QUICK |= {("huge", 14, 224), ("huge", 14, 378), ("gigantic", 14, 224)}
"""Of which there are weights that were trained with QuickGELU."""


def _variants() -> Variants:
    table: Variants = {}
    for width, patch, size in _TOWERS:
        base, _, plus = width.partition(" ")
        kind = f"vit_{base}_patch{patch}_{plus}{'_' if plus else ''}clip"
        options: dict[str, Any] = {
            "image_size": size,
            "patch_size": patch,
            "head_bias": True,
            **_WIDTHS[width]._asdict(),
        }
        table[f"{kind}_{size}"] = Variant(CLIP, {**options, "activation": nn.GELU})
        if (width, patch, size) in _QUICK:
            table[f"{kind}_quickgelu_{size}"] = Variant(CLIP, {**options, "activation": QuickGELU})
    return table


# Table 20 of the paper, and towers of OpenCLIP (arXiv:2212.07143), MetaCLIP (arXiv:2309.16671), DFN (arXiv:2309.17425), TinyCLIP
# (arXiv:2309.12314). A head with a bias, as timm has it.
VARIANTS: Variants = _variants()
