"""A tiny configuration of every class of the zoo, for tests that go through all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from vitblocks import GatedMlp, LayerNorm, LogSpacedBias, Rotary2d, zoo


class Tiny(NamedTuple):
    """How to build the model, given options that its class takes besides, and the side of the square image that it is made for."""

    build: Callable[..., Any]  # a Model, but for CrossViT
    image_size: int


VIT: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 4,
    "num_classes": 5,
    "dim": 8,
    "depth": 2,
    "heads": 2,
    "mlp_dim": 16,
}
T2T: dict[str, Any] = {
    **{key: VIT[key] for key in ("num_classes", "dim", "depth", "heads", "mlp_dim")},
    "image_size": 16,
    "t2t_layers": ((3, 2), (3, 2)),
    "token_dim": 8,
}
PIT: dict[str, Any] = {**VIT, "depth": (1, 1)}
COMPACT: dict[str, Any] = {
    "img_size": 16,
    "embedding_dim": 8,
    "num_layers": 2,
    "num_heads": 2,
    "mlp_ratio": 2,
    "num_classes": 5,
    "drop_path": 0.0,
    "attn_dropout": 0.0,
}
CVT = {
    f"s{i}_{name}": value
    for i, (dim, heads) in enumerate(((8, 1), (8, 2), (16, 4)), start=1)
    for name, value in {"emb_dim": dim, "heads": heads, "depth": 1, "mlp_mult": 2}.items()
}
TWINS = {
    f"s{i}_{name}": value
    for i, dim in enumerate((8, 16, 16, 32), start=1)
    for name, value in {"emb_dim": dim, "local_patch_size": 2, "global_k": 2, "depth": 1}.items()
}
CROSS_VIT: dict[str, Any] = {
    "image_size": 16,
    "num_classes": 5,
    "depth": 1,
    **{f"sm_{name}": value for name, value in {"dim": 8, "patch_size": 4, "enc_depth": 1, "enc_heads": 2}.items()},
    **{f"lg_{name}": value for name, value in {"dim": 16, "patch_size": 8, "enc_depth": 1, "enc_heads": 2}.items()},
    "sm_enc_mlp_dim": 16,
    "lg_enc_mlp_dim": 16,
    "cross_attn_heads": 2,
}
MOBILE: dict[str, Any] = {
    "image_size": 32,
    "dims": (8, 8, 8),
    "channels": (4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 16),
    "num_classes": 5,
    "repeats": (1, 1),
    "depths": (1, 1, 1),
    "heads": 2,
}


def encoder() -> nn.Module:
    """A transformer of another package, as it would be plugged in."""
    return nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)


def tiny(kind: Callable[..., nn.Module], image_size: int, /, **sizes: Any) -> Tiny:
    return Tiny(lambda **options: kind(**{**sizes, **options}), image_size)


def tiny_efficient(kind: Callable[..., nn.Module]) -> Tiny:
    sizes = {key: VIT[key] for key in ("image_size", "patch_size", "num_classes", "dim")}
    return Tiny(lambda **options: kind(**{**sizes, "transformer": encoder(), **options}), 16)


TINY: dict[str, Tiny] = {
    "ATSViT": tiny(zoo.ATSViT, 16, **{**VIT, "depth": 3}, max_tokens_per_depth=(None, 8, 6)),
    "BEiT": tiny(zoo.BEiT, 16, **VIT, layer_scale=0.5),
    "CCT": tiny(zoo.CCT, 16, **COMPACT, kernel_size=3, stride=1, padding=1),
    "CLIP": tiny(zoo.CLIP, 16, **VIT),
    "XCiT": tiny(zoo.XCiT, 16, patch_size=8, num_classes=5, dim=8, depth=2, heads=2, mlp_dim=16, cls_depth=2),
    "CaiT": tiny(zoo.CaiT, 16, **VIT, cls_depth=1),
    "CompactViT": tiny(zoo.CompactViT, 16, **COMPACT, kernel_size=4),
    "CrossFormer": tiny(
        zoo.CrossFormer,
        32,
        num_classes=5,
        dim=(32, 64),
        depth=(1, 1),
        global_window_size=(2, 2),
        local_window_size=3,
        cross_embed_kernel_sizes=((4, 8), (2, 4)),
        cross_embed_strides=(4, 2),
        mlp_ratios=(2, 2),
    ),
    "CrossViT": tiny(zoo.CrossViT, 16, **CROSS_VIT),
    "CvT": tiny(zoo.CvT, 32, num_classes=5, **CVT),
    "DINOv2": tiny(
        zoo.DINOv2,
        16,
        **VIT,
        registers=2,
        class_position=False,
        feedforward=GatedMlp,
        activation=nn.SiLU,
        layer_scale=0.5,
    ),
    "DINOv3": tiny(zoo.DINOv3, 16, **VIT, registers=2, qkv_bias=True, layer_scale=0.5),
    "DeepViT": tiny(zoo.DeepViT, 16, **VIT),
    "DeiT3": tiny(zoo.DeiT3, 16, **VIT, layer_scale=0.5),
    "DistillableEfficientViT": tiny_efficient(zoo.DistillableEfficientViT),
    "DistillablePiT": tiny(zoo.DistillablePiT, 16, **PIT),
    "DistillableT2TViT": tiny(zoo.DistillableT2TViT, 16, **T2T),
    "DistillableViT": tiny(zoo.DistillableViT, 16, **VIT),
    "EVA": tiny(
        zoo.EVA,
        16,
        **VIT,
        positions_rotary=partial(Rotary2d, base=10000.0, grid=3),
        feedforward=partial(GatedMlp, norm=LayerNorm),
        activation=nn.SiLU,
        attn_norm=LayerNorm,
    ),
    "EfficientViT": tiny_efficient(zoo.EfficientViT),
    "Hiera": tiny(
        zoo.Hiera,
        32,
        image_size=32,
        num_classes=5,
        dims=(8, 16, 32),
        depths=(1, 2, 1),
        heads=(1, 2, 4),
        window=4,
        in_units=(True, True, False),
        query_pools=2,
        mlp_ratio=2.0,
    ),
    "LeViT": tiny(zoo.LeViT, 32, image_size=32, num_classes=5, dim=(16, 24), depth=1, heads=2, stages=2, key_dim=8),
    "LocalViT": tiny(zoo.LocalViT, 16, **VIT),
    "MaxViT": tiny(
        zoo.MaxViT,
        32,
        num_classes=5,
        dims=(8, 16),
        depths=(1, 2),
        stem_dims=(4, 8),
        head_dim=4,
        window=2,
        mlp_ratio=2.0,
        padding="symmetric",
        bias_factory=partial(LogSpacedBias, mlp_dim=8, span=None, limit=None),
    ),
    "MobileViT": tiny(zoo.MobileViT, 32, **MOBILE),
    "NesT": tiny(
        zoo.NesT, 16, image_size=16, patch_size=4, dim=8, heads=2, num_hierarchies=2, block_repeats=1, num_classes=5
    ),
    "PiT": tiny(zoo.PiT, 16, **PIT),
    "RegionViT": tiny(zoo.RegionViT, 32, num_classes=5, dim=(8, 16), depth=(1, 1), heads=(2, 2), window_size=2),
    "RoPEViT": tiny(
        zoo.RoPEViT,
        16,
        **VIT,
        positions_rotary=partial(Rotary2d, base=10.0, first="column", mixed_heads=2),
        absolute_positions=True,
        registers=2,
        layer_scale=0.5,
    ),
    "SAMViT": tiny(zoo.SAMViT, 16, **VIT, window=3, global_blocks=(1,), neck_dim=8),
    "SigLIP": tiny(zoo.SigLIP, 16, **VIT),
    "Swin": tiny(zoo.Swin, 32, num_classes=5, dim=8, depths=(1, 1), heads=(2, 2), window=2, drop_path=0.0),
    "SwinV2": tiny(
        zoo.SwinV2,
        32,
        num_classes=5,
        dim=8,
        depths=(1, 1),
        heads=(2, 2),
        window=2,
        drop_path=0.0,
        branch_weight=1.0,
    ),
    "T2TViT": tiny(zoo.T2TViT, 16, **T2T),
    "TwinsPCPVT": tiny(zoo.TwinsPCPVT, 64, num_classes=5, dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), heads=(1, 2, 2, 2)),
    "TwinsSVT": tiny(zoo.TwinsSVT, 64, num_classes=5, **TWINS, heads=(2, 2, 2, 2), mlp_ratios=(2, 2, 2, 2)),
    "ViT": tiny(zoo.ViT, 16, **VIT),
    "ViTLite": tiny(zoo.ViTLite, 16, **COMPACT, kernel_size=4),
}
