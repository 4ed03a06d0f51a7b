"""The published sizes of CCT, CVT and ViT-Lite."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from ...registry import Variant, Variants
from .model import CCT, CCTOptions, CompactViT, TokenizerOptions, ViTLite


def cct_2(**options: Unpack[CCTOptions]) -> CCT:
    """CCT of 2 blocks, 128 wide.

    Args:
        kernel_size: of the convolutions, 3 by default; ``stride`` and ``padding`` follow from it where they are None.
        stride, padding, img_size, n_conv_layers, pooling_kernel_size, pooling_stride, pooling_padding, channels: see :class:`CCT`.
        class_token, mlp_radio, num_classes, positional_embedding, dropout, attn_dropout, drop_path: see :class:`CompactTransformer`.
    """
    return _cct(2, 2, 1, 128, **options)


def cct_4(**options: Unpack[CCTOptions]) -> CCT:
    """CCT of 4 blocks, 128 wide. Arguments: as for :func:`cct_2`."""
    return _cct(4, 2, 1, 128, **options)


def cct_6(**options: Unpack[CCTOptions]) -> CCT:
    """CCT of 6 blocks, 256 wide. Arguments: as for :func:`cct_2`."""
    return _cct(6, 4, 2, 256, **options)


def cct_7(**options: Unpack[CCTOptions]) -> CCT:
    """CCT of 7 blocks, 256 wide. Arguments: as for :func:`cct_2`."""
    return _cct(7, 4, 2, 256, **options)


def cct_8(**options: Unpack[CCTOptions]) -> CCT:
    """CCT of 8 blocks, 256 wide. Arguments: as for :func:`cct_2`."""
    return _cct(8, 4, 2, 256, **options)


def cct_14(**options: Unpack[CCTOptions]) -> CCT:
    """CCT of 14 blocks, 384 wide. Arguments: as for :func:`cct_2`."""
    return _cct(14, 6, 3, 384, **options)


def cct_16(**options: Unpack[CCTOptions]) -> CCT:
    """CCT of 16 blocks, 384 wide. Arguments: as for :func:`cct_2`."""
    return _cct(16, 6, 3, 384, **options)


def _cct(
    num_layers: int,
    num_heads: int,
    mlp_ratio: float,
    embedding_dim: int,
    *,
    kernel_size: int = 3,
    stride: int | None = None,
    padding: int | None = None,
    **options: Unpack[TokenizerOptions],
) -> CCT:
    """CCT of a published size; ``stride`` and ``padding`` follow from ``kernel_size`` where they are None."""
    return CCT(
        num_layers=num_layers,
        num_heads=num_heads,
        mlp_ratio=mlp_ratio,
        embedding_dim=embedding_dim,
        kernel_size=kernel_size,
        stride=max(1, kernel_size // 2 - 1) if stride is None else stride,
        padding=max(1, kernel_size // 2) if padding is None else padding,
        **options,
    )


def _small(num_layers: int, num_heads: int, mlp_ratio: float, embedding_dim: int) -> dict[str, Any]:
    sizes = {"num_layers": num_layers, "num_heads": num_heads, "mlp_ratio": mlp_ratio, "embedding_dim": embedding_dim}
    return {"img_size": 32, "kernel_size": 4, "num_classes": 10, **sizes}


_SMALL = {"2": _small(2, 2, 1, 128), "4": _small(4, 2, 1, 128), "6": _small(6, 4, 2, 256), "7": _small(7, 4, 2, 256)}

_CIFAR: dict[str, Any] = {"img_size": 32, "num_classes": 10}

# As the authors name them: blocks, then the convolutions' kernel x their number, or the patch, then the image. Those of 32 pixels are for
# CIFAR-10 unless they say CIFAR-100, cct_7_7x2_224 for the flowers of Oxford.
VARIANTS: Variants = {
    "cct_2_3x2_32": Variant(cct_2, {**_CIFAR, "n_conv_layers": 2}),
    "cct_4_3x2_32": Variant(cct_4, {**_CIFAR, "n_conv_layers": 2}),
    "cct_6_3x1_32": Variant(cct_6, {**_CIFAR, "n_conv_layers": 1}),
    "cct_6_3x2_32": Variant(cct_6, {**_CIFAR, "n_conv_layers": 2}),
    "cct_7_3x1_32": Variant(cct_7, {**_CIFAR, "n_conv_layers": 1}),
    "cct_7_3x1_32_c100": Variant(cct_7, {**_CIFAR, "n_conv_layers": 1, "num_classes": 100}),
    "cct_7_3x2_32": Variant(cct_7, {**_CIFAR, "n_conv_layers": 2}),
    "cct_7_7x2_224": Variant(cct_7, {"img_size": 224, "kernel_size": 7, "n_conv_layers": 2, "num_classes": 102}),
    "cct_14_7x2_224": Variant(cct_14, {"img_size": 224, "kernel_size": 7, "n_conv_layers": 2}),
    "cct_14_7x2_384": Variant(cct_14, {"img_size": 384, "kernel_size": 7, "n_conv_layers": 2}),
    **{f"cvt_{name}_4_32": Variant(CompactViT, sizes) for name, sizes in _SMALL.items()},
    **{f"vit_{name}_4_32": Variant(ViTLite, sizes) for name, sizes in _SMALL.items()},
}
