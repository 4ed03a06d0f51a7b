"""Published recipes by name, each with its source."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, NamedTuple

from .recipe import Recipe


class Preset(NamedTuple):
    """A recipe, where it is from, and what of it is done otherwise here."""

    recipe: Recipe
    source: str
    otherwise: str = ""


_CIFAR = {
    "size": (32, 32),
    "resize": (32, 32),
    "keep_ratio": False,
    "crop": None,
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2470, 0.2435, 0.2616),
}

PRESETS: dict[str, Preset] = {
    "deit": Preset(
        Recipe(
            epochs=300,
            batch=1024,
            lr=5e-4,
            lr_batch=512,
            min_lr=1e-5,
            warmup_epochs=5,
            warmup_lr=1e-6,
            weight_decay=0.05,
            label_smoothing=0.1,
            mixup=0.8,
            cutmix=1.0,
            crop=0.08,
            flip=0.5,
            randaugment=(2, 27),
            erase=0.25,
            drop_path=0.1,
            precision="bf16",
        ),
        "DeiT, arXiv:2012.12877, Table 9; facebookresearch/deit main.py",
        "no repeated augmentation, and no average of the weights, which its code keeps beside and does not report; the magnitude of "
        "RandAugment does not vary; erased boxes are of the mean colour, not of noise; bfloat16",
    ),
    "cct_cifar10": Preset(
        Recipe(
            epochs=300,
            batch=128,
            lr=55e-5,
            min_lr=1e-5,
            warmup_epochs=10,
            warmup_lr=1e-5,
            weight_decay=0.06,
            label_smoothing=0.1,
            mixup=0.8,
            cutmix=1.0,
            mix_epochs=175,
            crop=0.8,
            flip=0.5,
            randaugment=(2, 27),
            precision="bf16",
            preprocessing=_CIFAR,
        ),
        "CCT-7/3x1 on CIFAR-10, arXiv:2104.05704; SHI-Labs/Compact-Transformers configs/pretrained/cct_7-3x1_cifar10_300epochs.yml",
        "no 10 epochs of cool-down after the last; the magnitude of RandAugment does not vary; crops are bicubic always; bfloat16",
    ),
    "mae": Preset(
        Recipe(
            objective="mae",
            objective_options={"masking_ratio": 0.75, "norm_pix_loss": True},
            epochs=800,
            batch=4096,
            lr=1.5e-4,
            lr_batch=256,
            min_lr=0.0,
            warmup_epochs=40,
            warmup_lr=0.0,
            weight_decay=0.05,
            beta2=0.95,
            crop=0.2,
            flip=0.5,
            precision="bf16",
        ),
        "MAE pre-training, arXiv:2111.06377, Table 8; facebookresearch/mae PRETRAIN.md",
        "bfloat16",
    ),
    "mae_finetune": Preset(
        Recipe(
            epochs=100,
            batch=1024,
            lr=5e-4,
            lr_batch=256,
            min_lr=1e-6,
            warmup_epochs=5,
            warmup_lr=0.0,
            weight_decay=0.05,
            layer_decay=0.65,
            label_smoothing=0.1,
            mixup=0.8,
            cutmix=1.0,
            crop=0.08,
            flip=0.5,
            randaugment=(2, 27),
            erase=0.25,
            drop_path=0.1,
            precision="bf16",
        ),
        "MAE fine-tuning of ViT-B, arXiv:2111.06377, Table 9; facebookresearch/mae FINETUNE.md",
        "as deit",
    ),
    "dino": Preset(
        Recipe(
            objective="dino",
            objective_options={"num_classes_K": 65536, "local_crops": 8},
            epochs=100,
            batch=1024,
            lr=5e-4,
            lr_batch=256,
            min_lr=1e-6,
            warmup_epochs=10,
            warmup_lr=0.0,
            weight_decay=0.04,
            weight_decay_end=0.4,
            clip=3.0,
            drop_path=0.1,
            precision="bf16",
        ),
        "DINO of ViT-S/16, arXiv:2104.14294, Section 3.1; facebookresearch/dino main_dino.py",
        "gradients are clipped by their norm together, not each parameter's; bfloat16",
    ),
}


def preset(name: str, **changes: Any) -> Recipe:
    """A published recipe, perhaps with changes: ``preset("deit", epochs=100, batch=256)``.

    Raises:
        ValueError: there is none of this name, or a change that cannot be.
    """
    if name not in PRESETS:
        close = get_close_matches(name, PRESETS, n=1)
        raise ValueError(f"no recipe is called {name!r}; there are {', '.join(close or PRESETS)}")
    return Recipe.of({**vars(PRESETS[name].recipe), **changes})
