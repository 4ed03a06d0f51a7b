"""transformers' models, small ones, saved as transformers saves them: whole, as the Hub's cache has it, and in several files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ..hf_models import CVT, HIERA, LEVIT, MAE, MOBILE, PATCHES, SAM, SWIN, VIT, Options, made, towers
from .row import Pair, Row, Source
from .timm_rows import repository

OTHERS = ((64, 64), (48, 32))
"""A larger image and a rectangle, beside images of 32 pixels."""


def make(name: str, options: Options, classes: int, channels: int, size: Pair) -> nn.Module:
    sides: Any = [*size] if name.startswith("Hiera") else size[0] if size[0] == size[1] else size
    sizes = {} if "num_patches" in options or name.startswith("Cvt") else {"image_size": sides}
    labels = {"num_labels": classes} if classes else {}
    return made(name, **{**options, "num_channels": channels, **sizes, **labels})


def make_tower(name: str, options: Options, classes: int, channels: int, size: Pair) -> nn.Module:
    """One whose classifier has the config of both towers."""
    sizes = {} if "num_patches" in options else {"image_size": size[0]}
    return made(name, **towers({**options, "num_channels": channels, **sizes}, num_labels=classes))


def save(module: Any, model: nn.Module, folder: Path) -> Iterator[Source]:
    """A repository of the Hub in a cache, and a folder with several files of weights."""
    name = f"someone/{type(module).__name__}"
    called = {"origin": f"{type(module).__module__}.{type(module).__qualname__}"}
    module.save_pretrained(repository(folder, name))
    yield {"source": name, "cache_dir": str(folder / "hub"), "local_files_only": True, **called}
    module.save_pretrained(folder / "sharded", max_shard_size="20KB")
    assert (folder / "sharded" / "model.safetensors.index.json").exists()
    yield {"source": str(folder / "sharded"), **called}


def row(
    name: str,
    options: Options,
    *,
    native: Pair = (32, 32),
    sizes: tuple[Pair, ...] = OTHERS,
    made_for: tuple[Pair, ...] = (),
    idle: str | None = None,
) -> Row:
    tower = idle is not None
    build = partial(make_tower if tower else make, name, options)
    return Row(build, save, native, sizes, made_for, classes=name.split("Model")[0] == name, idle=idle)


def alone(name: str, options: Options, **sizes: Any) -> Row:
    """Of one that takes images of its own size alone."""
    return row(name, options, sizes=(), **sizes)


_BOTH: dict[str, tuple[Options, dict[str, Any]]] = {
    "ViT": (VIT, {}),
    "DeiT": (VIT, {}),
    "Swin": (SWIN, {}),
    "Swinv2": (SWIN, {}),
    "MobileViT": (MOBILE, {"sizes": ((64, 64), (64, 32))}),
    "Cvt": (CVT, {"native": (64, 64), "sizes": ((96, 96), (64, 96))}),
    "Dinov2": (VIT, {}),
    "Dinov2WithRegisters": (VIT, {}),
    "Levit": (LEVIT, {"native": (64, 64), "sizes": (), "made_for": ((96, 96),)}),
}
"""Of which there is a base model and one for classification."""

GATED = {"num_register_tokens": 3, "use_gated_mlp": True, "hidden_act": "silu"}
HEAD = "vision_model.head."

ROWS: dict[str, Row] = {
    **{
        f"transformers: {kind}{suffix}": row(f"{kind}{suffix}", options, **sizes)
        for kind, (options, sizes) in _BOTH.items()
        for suffix in ("Model", "ForImageClassification")
    },
    "transformers: ViT of a rectangle": alone("ViTForImageClassification", VIT, made_for=((48, 48), (48, 32))),
    "transformers: Swin of a rectangle": row("SwinForImageClassification", SWIN, made_for=((48, 32),)),
    "transformers: Swinv2 of a rectangle": row("Swinv2ForImageClassification", SWIN, made_for=((48, 32),)),
    "transformers: DeiT with its teacher": row("DeiTForImageClassificationWithTeacher", VIT),
    "transformers: Levit with its teacher": alone("LevitForImageClassificationWithTeacher", LEVIT, native=(64, 64)),
    "transformers: Dinov2 with SwiGLU": row("Dinov2ForImageClassification", {**VIT, "use_swiglu_ffn": True}),
    "transformers: BeitModel": row("BeitModel", {**VIT, "use_shared_relative_position_bias": True}),
    "transformers: BeitForImageClassification": row(
        "BeitForImageClassification", {**VIT, "use_relative_position_bias": True, "use_mask_token": True}
    ),
    "transformers: Beit of a rectangle": row(
        "BeitForImageClassification", {**VIT, "use_relative_position_bias": True}, made_for=((48, 32),)
    ),
    "transformers: Beit with its class token": row(
        "BeitForImageClassification", {**VIT, "use_absolute_position_embeddings": True, "use_mean_pooling": False}
    ),
    "transformers: DINOv3": row("DINOv3ViTModel", VIT),
    "transformers: DINOv3 with SwiGLU and registers": row("DINOv3ViTModel", {**VIT, **GATED}),
    "transformers: CLIPVisionModel": row("CLIPVisionModel", VIT),
    "transformers: CLIPVisionModelWithProjection": row("CLIPVisionModelWithProjection", {**VIT, "projection_dim": 20}),
    "transformers: CLIPForImageClassification": row(
        "CLIPForImageClassification", VIT, idle="vision_model.post_layernorm."
    ),
    "transformers: SiglipVisionModel": row("SiglipVisionModel", VIT),
    "transformers: SiglipForImageClassification": row("SiglipForImageClassification", VIT, idle=HEAD),
    "transformers: Siglip2VisionModel": row("Siglip2VisionModel", PATCHES),
    "transformers: Siglip2ForImageClassification": row("Siglip2ForImageClassification", PATCHES, idle=HEAD),
    "transformers: SamVisionModel": alone("SamVisionModel", SAM, made_for=((48, 48),)),
    "transformers: HieraModel": alone("HieraModel", HIERA, made_for=((64, 64), (32, 64))),
    "transformers: HieraForImageClassification": alone(
        "HieraForImageClassification", HIERA, made_for=((64, 64), (32, 64))
    ),
    "transformers: ViTMAEModel": row("ViTMAEModel", VIT),
    "transformers: ViTMAEForPreTraining": alone("ViTMAEForPreTraining", MAE),
}
