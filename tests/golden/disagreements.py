"""Where two publications of one model disagree: both are reachable, and how far apart their answers are is measured here.

``python -m tests.golden.disagreements`` prints the table that docs/fidelity.md ends in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from vitblocks import ClassRelativeBias, QuickGELU, layer_norm, zoo
from vitblocks.feedforward import TanhGELU
from vitblocks.position import (
    resize_offsets_as_beit,
    resize_offsets_as_transformers,
    resize_table,
    resize_table_as_dino,
)
from vitblocks.position.resize import resize_table_as_vit_pytorch

from .case import normal, weight

ANTIALIASED = partial(resize_table, antialias=True)

VIT: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "num_classes": 7,
    "dim": 32,
    "depth": 3,
    "heads": 4,
    "mlp_dim": 64,
}
SWIN: dict[str, Any] = {"image_size": 56, "num_classes": 7, "dim": 16, "depths": (2, 2), "heads": (2, 4), "window": 7}
NEST: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 2,
    "num_classes": 7,
    "dim": 16,
    "heads": 2,
    "num_hierarchies": 2,
    "block_repeats": (1, 1),
}
CVT: dict[str, Any] = {
    "num_classes": 7,
    **{f"s{i}_{k}": v for i in (1, 2, 3) for k, v in {"emb_dim": 16, "heads": 1, "depth": 1}.items()},
}


class Disagreement(NamedTuple):
    """One model in two versions.

    Attributes:
        about: what they disagree about.
        sides: who does it which way, ours first where one is our default.
        argument: of which class, that says so.
        build: the model, given the argument.
        values: the argument's two values.
        image_size: (height, width) of the image that they are compared on.
    """

    about: str
    sides: tuple[str, str]
    argument: str
    build: Callable[..., nn.Module]
    values: tuple[Mapping[str, Any], Mapping[str, Any]]
    image_size: tuple[int, int] = (32, 32)


def either(name: str, one: Any, other: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {name: one}, {name: other}


DISAGREEMENTS = (
    Disagreement(
        "epsilon of LayerNorm in ViT and DeiT",
        ("authors, timm: 1e-6", "transformers: 1e-12"),
        "`ViT(norm=)`",
        partial(zoo.ViT, **VIT),
        either("norm", layer_norm(1e-6), layer_norm(1e-12)),
    ),
    Disagreement(
        "ViT's positions for another image",
        ("transformers, DeiT: bicubic", "timm: bicubic, antialiased"),
        "`ViT(resize=)`",
        partial(zoo.ViT, **VIT),
        either("resize", resize_table, ANTIALIASED),
        (24, 16),
    ),
    Disagreement(
        "the same",
        ("transformers, DeiT: bicubic", "vit-pytorch: the first of the table"),
        "`ViT(resize=)`",
        partial(zoo.ViT, **VIT),
        either("resize", resize_table, resize_table_as_vit_pytorch),
        (24, 16),
    ),
    Disagreement(
        "DINOv2's positions for another image",
        ("authors: by a factor with an offset of 0.1", "transformers: by the size"),
        "`DINOv2(resize=)`",
        partial(zoo.DINOv2, **VIT),
        either("resize", resize_table_as_dino, resize_table),
        (48, 40),
    ),
    Disagreement(
        "the same",
        ("authors: by a factor with an offset of 0.1", "timm: antialiased"),
        "`DINOv2(resize=)`",
        partial(zoo.DINOv2, **VIT),
        either("resize", resize_table_as_dino, ANTIALIASED),
        (24, 16),
    ),
    Disagreement(
        "SigLIP's GELU",
        ("authors, transformers: by tanh", "timm, for B/16, L/16 at 256 and 384, so400m/14: exact"),
        "`SigLIP(activation=)`",
        partial(zoo.SigLIP, **VIT),
        either("activation", TanhGELU, nn.GELU),
    ),
    Disagreement(
        "CLIP's activation",
        ("OpenAI, MetaCLIP: QuickGELU", "LAION: exact GELU"),
        "`CLIP(activation=)`",
        partial(zoo.CLIP, **VIT),
        either("activation", QuickGELU, nn.GELU),
    ),
    Disagreement(
        "offsets of BEiT's relative positions in another image",
        ("authors, timm: by their geometric steps", "transformers: bilinearly"),
        "`ClassRelativeBias(resize=)`",
        partial(zoo.BEiT, **VIT),
        either(
            "bias_factory",
            partial(ClassRelativeBias, resize=resize_offsets_as_beit),
            partial(ClassRelativeBias, resize=resize_offsets_as_transformers),
        ),
        (48, 32),
    ),
    Disagreement(
        "epsilon of LayerNorm in BEiT",
        ("authors, timm: 1e-6", "transformers: 1e-12"),
        "`BEiT(norm=)`",
        partial(zoo.BEiT, **VIT),
        either("norm", layer_norm(1e-6), layer_norm(1e-12)),
    ),
    Disagreement(
        "epsilon of LayerNorm in the blocks of SAM's encoder",
        ("authors, transformers: 1e-6", "timm: 1e-5"),
        "`SAMViT(norm=)`",
        partial(zoo.SAMViT, **VIT, window=3, global_blocks=(1,), neck_dim=16),
        either("norm", layer_norm(1e-6), layer_norm(1e-5)),
    ),
    Disagreement(
        "windows over the edge of Swin's map",
        ("ours: nobody attends to padding", "timm: rolled, then padded"),
        "`Swin(padding=)`",
        partial(zoo.Swin, **SWIN),
        either("padding", "masked", "timm"),
        (64, 48),
    ),
    Disagreement(
        "the same",
        ("transformers: padded, then rolled", "timm: rolled, then padded"),
        "`Swin(padding=)`",
        partial(zoo.Swin, **SWIN),
        either("padding", "hf", "timm"),
        (64, 48),
    ),
    Disagreement(
        "windows over the edge of Swin V2's map",
        ("transformers: padded, then rolled", "timm: rolled, then padded"),
        "`SwinV2(padding=)`",
        partial(zoo.SwinV2, **SWIN),
        either("padding", "hf", "timm"),
        (64, 48),
    ),
    Disagreement(
        "NesT's GELU",
        ("authors: by tanh", "timm: exact"),
        "`NesT(activation=)`",
        partial(zoo.NesT, **NEST),
        either("activation", TanhGELU, nn.GELU),
    ),
    Disagreement(
        "CvT's activation",
        ("authors: QuickGELU", "transformers: exact GELU"),
        "`CvT(activation=)`",
        partial(zoo.CvT, **CVT),
        either("activation", QuickGELU, nn.GELU),
    ),
)


def made(model: nn.Module) -> nn.Module:
    """In float64, with weights made from their names."""
    model.double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weight(name, tuple(parameter.shape)))
    return model


@torch.no_grad()
def distance(disagreement: Disagreement) -> float:
    """The largest difference of the logits of the two over the largest logit, with the same weights."""
    image = torch.from_numpy(normal("image", (2, 3, *disagreement.image_size)))
    one, other = (made(disagreement.build(**values))(image) for values in disagreement.values)
    return ((one - other).abs().max() / one.abs().max()).item()


def section() -> str:
    rows = [f"| {d.about} | {d.sides[0]} | {d.sides[1]} | {d.argument} | {distance(d):.0e} |" for d in DISAGREEMENTS]
    return """
## Where publications disagree

One model in two versions, with the same weights, each small and with random weights made from their names: the largest difference of the
logits over the largest logit. An argument says which; each preset has what its weights were trained with. This table is the end of
what `python -m tests.golden.table` writes; `python -m tests.golden.disagreements` prints it alone.

| about | one | the other | said by | apart |
|---|---|---|---|---|
""" + "\n".join(rows)


if __name__ == "__main__":
    print(section())
