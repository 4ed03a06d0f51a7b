"""timm's models as they are published, saved as timm saves them and laid out as the Hub's cache has them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .row import Pair, Row, Source

COMMIT = "0" * 40


def make(name: str, takes_size: bool, classes: int, channels: int, size: Pair, **options: Any) -> nn.Module:
    import timm

    sizes = {"img_size": size} if takes_size else {}
    module: nn.Module = timm.create_model(name, num_classes=classes, in_chans=channels, **sizes, **options)
    return module


def repository(folder: Path, name: str) -> Path:
    """The folder of a repository's files in a cache of the Hub."""
    base = folder / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = base / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (base / "refs").mkdir()
    (base / "refs" / "main").write_text(COMMIT)
    return snapshot


def save(module: Any, model: nn.Module, folder: Path) -> Iterator[Source]:
    """A repository, its folder alone, and a bare file whose architecture is found by its keys and shapes or told."""
    from timm.models import save_for_hf

    name = f"someone/{module.pretrained_cfg['architecture']}"
    snapshot = repository(folder, name)
    save_for_hf(module, str(snapshot), safe_serialization=True)
    yield {"source": f"hf-hub:{name}", "cache_dir": str(folder / "hub"), "local_files_only": True}
    yield from by_recipe(module, model, folder)


def by_recipe(module: nn.Module, model: Any, folder: Path) -> Iterator[Source]:
    """A file of ``torch.save``, beside the description of our model."""
    import json

    from vitblocks import describe

    torch.save(module.state_dict(), folder / "weights.pth")
    (folder / "recipe.json").write_text(json.dumps(describe(model)))
    yield {"recipe": str(folder / "recipe.json"), "weights": str(folder / "weights.pth")}


def row(
    name: str,
    native: int,
    *,
    sizes: tuple[Pair, ...] = (),
    made_for: tuple[Pair, ...] = (),
    takes_size: bool = True,
    **options: Any,
) -> Row:
    """Of a model by its name in timm, made for square images of ``native`` pixels, where that is an argument of it."""
    return Row(partial(make, name, takes_size, **options), save, (native, native), sizes, made_for, noise=0.01)


def any_size(name: str, native: int, patch: int = 16) -> Row:
    """Of a model that takes every size if it is asked to when it is made."""
    more = native + 2 * patch
    return row(name, native, dynamic_img_size=True, sizes=((more, more), (native - patch, more)))


def each_size(name: str, native: int, step: int = 32) -> Row:
    """Of a model that takes one size, which it is made for."""
    more = native + step
    return row(name, native, made_for=((more, more), (native, more)))


ROWS: dict[str, Row] = {
    "timm: ViT": any_size("vit_tiny_patch16_224", 224),
    "timm: ViT, made for other sizes": each_size("vit_tiny_patch16_224", 224),
    "timm: DeiT": any_size("deit_tiny_patch16_224", 224),
    "timm: DeiT, distilled": any_size("deit_tiny_distilled_patch16_224", 224),
    "timm: DeiT III": any_size("deit3_small_patch16_224", 112),
    "timm: DINOv2": any_size("vit_small_patch14_dinov2", 112, 14),
    "timm: DINOv2 with registers": any_size("vit_small_patch14_reg4_dinov2", 112, 14),
    "timm: CLIP": any_size("vit_base_patch32_clip_224", 128, 32),
    "timm: SigLIP": any_size("vit_base_patch16_siglip_224", 64),
    "timm: SigLIP, mean": any_size("vit_base_patch16_siglip_gap_224", 64),
    "timm: EVA-02": any_size("eva02_tiny_patch14_224", 112, 14),
    "timm: EVA-02, inner norms": any_size("eva02_base_patch14_224", 56, 14),
    "timm: EVA-02-CLIP": any_size("eva02_base_patch16_clip_224", 64),
    "timm: DINOv3": any_size("vit_small_patch16_dinov3", 128),
    "timm: CaiT": each_size("cait_xxs24_224", 128),
    "timm: CrossViT": row("crossvit_tiny_240", 240, sizes=((288, 288), (240, 288)), takes_size=False),
    "timm: PiT": each_size("pit_ti_224", 224),
    "timm: PiT, distilled": each_size("pit_ti_distilled_224", 224),
    "timm: LeViT": each_size("levit_128s", 224),
    "timm: Twins-SVT": row("twins_svt_small", 224, sizes=((256, 256), (192, 256)), takes_size=False),
    "timm: Twins-PCPVT": row("twins_pcpvt_small", 224, sizes=((256, 256), (192, 256)), takes_size=False),
    "timm: NesT": row("nest_tiny_jx", 224, takes_size=False),
    "timm: MobileViT": row("mobilevit_xxs", 256, sizes=((320, 320), (192, 256)), takes_size=False),
    "timm: Swin": each_size("swin_tiny_patch4_window7_224", 224),
    "timm: Swin, any size": any_size("swin_tiny_patch4_window7_224", 224),
    "timm: Swin V2": each_size("swinv2_tiny_window8_256", 256, 64),
    "timm: MaxViT": row("maxvit_nano_rw_256", 256, sizes=((512, 512), (256, 512))),
    "timm: MaxViT, MLP of offsets": row("maxvit_rmlp_pico_rw_256", 256, sizes=((512, 512), (256, 512))),
    "timm: MaxViT, from TensorFlow": row("maxvit_tiny_tf_224", 224),
    "timm: XCiT": row("xcit_nano_12_p16_224", 224, sizes=((256, 256), (192, 256))),
    "timm: XCiT, patches of 8": row("xcit_nano_12_p8_224", 112, sizes=((128, 128), (96, 128))),
    "timm: BEiT": each_size("beit_base_patch16_224", 64),
    "timm: RoPE-ViT": any_size("vit_small_patch16_rope_224", 112),
    "timm: RoPE-ViT, mixed": any_size("vit_small_patch16_rope_mixed_224", 112),
    "timm: Hiera": row("hiera_tiny_224", 224, takes_size=False),
}
