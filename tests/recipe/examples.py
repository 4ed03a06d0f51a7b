"""Instances of every registered part of the package, at several settings, each once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

from torch import nn

from tests import test_contract as contract
from tests.zoo.tiny import TINY
from vitblocks import (
    MAE,
    MPP,
    PEG,
    AttentionPool,
    ConvEmbed,
    Dino,
    DistillableViT,
    DistillWrapper,
    GatedMlp,
    GlobalAttention,
    GridWindows,
    LinearEmbed,
    LocalWindowAttention,
    MeanPool,
    Mlp,
    Model,
    SimMIM,
    Stage,
    ViT,
    layer_norm,
    zoo,
)
from vitblocks.block import ResidualPostNormBlock
from vitblocks.grid import num_prefix
from vitblocks.norm import map_layer_norm
from vitblocks.objectives import MaskUnitMAE
from vitblocks.objectives.views import ColorAugmentation, RandomCrop
from vitblocks.pool import PrefixMeanPool, TokenMeanPool
from vitblocks.position import (
    ClassRelativeBias,
    resize_offsets_as_transformers,
    resize_table,
    resize_table_as_dino,
    resize_table_as_timm,
    resize_table_as_vit_pytorch,
)
from vitblocks.recipe.values import note_of
from vitblocks.surgery.pool import NormAfter
from vitblocks.zoo.ats_vit import TrimPadding
from vitblocks.zoo.cct import CompactTransformer
from vitblocks.zoo.cross_vit import Rescale, ResizeTo, ThreeConvStem
from vitblocks.zoo.deepvit import PatchStem
from vitblocks.zoo.maxvit import ConvNeXtBlock
from vitblocks.zoo.regionvit import CarryPadding, DropPadding, RegionalAttention, RegionalBlock
from vitblocks.zoo.t2t import token_performer

SIZES: dict[str, Any] = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2}


def vit(kind: Callable[..., Model] = ViT, **options: Any) -> Model:
    return kind(**{**SIZES, "mlp_dim": 16, **options})


def dino(**options: Any) -> Dino:
    sizes = {"projection_hidden_size": 16, "num_classes_K": 32, "local_crops": 2, "projection_bottleneck_size": 8}
    return Dino(vit(), 32, **{**sizes, "local_size": 16, **options})


MODELS: dict[str, Callable[[], nn.Module]] = {
    **{name: tiny.build for name, tiny in TINY.items()},
    "ViT, other options": lambda: vit(pool="mean", drop_path=0.1, dropout=0.1, embed=LinearEmbed((8, 8), 16)),
    "ViT, queries and keys normed": lambda: vit(qk_norm=layer_norm(1e-5)),
    "ViT, positions as timm": lambda: vit(resize=resize_table_as_timm),
    "ViT, bilinear positions": lambda: vit(resize=partial(resize_table, mode="bilinear")),
    "ViT, positions as DINO": lambda: vit(resize=resize_table_as_dino),
    "ViT, positions as vit-pytorch": lambda: vit(resize=resize_table_as_vit_pytorch),
    "DINOv2, other options": lambda: vit(
        zoo.DINOv2, pool="cls+mean", mask_token=True, class_position=False, resize=partial(resize_table, antialias=True)
    ),
    "DINOv3, other options": lambda: vit(
        zoo.DINOv3, pool="mean", mask_token=True, feedforward=GatedMlp, activation=nn.SiLU
    ),
    "BEiT, other options": lambda: vit(
        zoo.BEiT,
        pool="cls",
        absolute_positions=True,
        shared_bias=True,
        mask_token=True,
        bias_factory=partial(ClassRelativeBias, resize=resize_offsets_as_transformers),
    ),
    "MaxViT, ConvNeXt's blocks": lambda: TINY["MaxViT"].build(
        conv_block=partial(ConvNeXtBlock, layer_scale=0.5), conv_norm=map_layer_norm, partitions=(GridWindows,)
    ),
    "EVA, post-norm": lambda: vit(zoo.EVA, pool="cls", block=ResidualPostNormBlock),
    "SigLIP, mean": lambda: vit(zoo.SigLIP, pool="mean", embed=ConvEmbed(8, 16, bias=False)),
    "CLIP, other options": lambda: vit(zoo.CLIP, head_bias=True, embed=ConvEmbed(8, 16, stride=4, bias=False)),
    "RegionViT, carried padding": lambda: TINY["RegionViT"].build(carry_padding=True),
    "T2TViT, performer": lambda: TINY["T2TViT"].build(token_layer=token_performer),
    "CrossViT, resized": lambda: zoo.CrossViT(
        image_size=48,
        num_classes=3,
        depth=1,
        **{f"{b}_{k}": v for b in ("sm", "lg") for k, v in {"dim": 16, "enc_depth": 1, "enc_heads": 2}.items()},
        sm_patch_size=12,
        lg_patch_size=16,
        sm_enc_mlp_dim=16,
        lg_enc_mlp_dim=16,
        sm_image_size=36,
        cross_attn_heads=2,
        stem=ThreeConvStem,
    ),
    "a student as a plain ViT": lambda: vit(DistillableViT).to_vit(),
    "a student of T2T as a plain one": lambda: TINY["DistillableT2TViT"].build().to_vit(),
    "a hybrid": lambda: Model(
        PatchStem(8, 16, width=8),
        [Stage([contract.LAYERS["block"][0]()]), Stage([PEG(32)], contract.TRANSITIONS["merging"][0]())],
        pool=NormAfter(AttentionPool(32, 2, mlp=None, norm=layer_norm(1e-5)), nn.LayerNorm(32)),
        image_size=32,
    ),
    "a compact transformer": lambda: CompactTransformer(
        LinearEmbed(8, 16),
        (4, 4),
        img_size=32,
        embedding_dim=16,
        num_layers=1,
        num_heads=2,
        class_token=True,
        mlp_ratio=1,
        num_classes=3,
    ),
    "MAE": lambda: MAE(vit(), decoder_dim=16, decoder_depth=1, decoder_heads=2),
    "MaskUnitMAE": lambda: MaskUnitMAE(TINY["Hiera"].build(), decoder_dim=16, decoder_depth=1, decoder_heads=2),
    "MAE, other options": lambda: MAE(vit(pool="mean"), decoder_dim=8, decoder_depth=0, decoder_heads=2, channels=3),
    "SimMIM": lambda: SimMIM(vit(), mask_patch_size=16),
    "MPP": lambda: MPP(vit(), mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0)),
    "Dino": lambda: dino(augment_fn=nn.Identity()),
    "Dino, other options": lambda: dino(
        hidden_layer=0,
        augment_fn=ColorAugmentation(32, blur=0.5),
        augment_local=RandomCrop(16, (0.5, 1.0)),
        projection_norm=nn.BatchNorm1d,
        learn_last_scale=True,
    ),
    "DistillWrapper": lambda: DistillWrapper(vit(DistillableViT), vit(depth=1), hard=True),
}
"""Whole models."""

OTHERS: list[Callable[[], nn.Module]] = [
    lambda: RegionalBlock(8, RegionalAttention(8, 2, window=2), Mlp(8), regions=num_prefix),
    lambda: CarryPadding((2, 3)),
    lambda: DropPadding((2, 3)),
    lambda: TrimPadding(),
    lambda: Rescale((32, 32), 16, multiple=8),
    lambda: ResizeTo((16, 8)),
    lambda: PrefixMeanPool(),
    lambda: TokenMeanPool(),
    lambda: MeanPool(nn.LayerNorm(8)),
    lambda: LocalWindowAttention(8, 2, window=(2, 3), shift=1, qkv_bias=False),
    lambda: GlobalAttention(8, 2, proj=nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))),
]


def makers() -> Iterator[Callable[[], nn.Module]]:
    tables = (contract.GEOMETRIES, contract.LAYERS, contract.TRANSITIONS)
    yield from (make for table in tables for make, _ in table.values())
    yield from [*contract.POSITIONED.values(), *contract.ALONE.values(), *contract.ATTENDS.values()]
    yield from (
        partial(make, attend=attend())
        for make, _ in contract.GEOMETRIES.values()
        for attend in (contract.ATTENDS["talking heads"], contract.ATTENDS["re-attention"])
    )
    yield from [*OTHERS, *MODELS.values()]


@cache
def instances() -> dict[str, list[nn.Module]]:
    """Modules by the class that they are noted as, those of the same arguments once."""
    found: dict[str, dict[str, nn.Module]] = {}
    for make in makers():
        for module in make().modules():
            if note := note_of(module):
                found.setdefault(note["class"], {}).setdefault(json.dumps(note), module)
    return {name: list(modules.values()) for name, modules in found.items()}
