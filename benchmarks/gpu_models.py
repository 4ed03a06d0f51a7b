"""The models that ``python -m benchmarks.gpu`` measures, each beside timm's of the same size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import nn

from vitblocks import list_models, zoo

from .peers import NONE, Options, published, timm_model


class Subject(NamedTuple):
    """Ours and timm's, both with fresh weights, and the side of the square images that they take."""

    name: str
    ours: Callable[[], nn.Module]
    theirs: Callable[[], nn.Module]
    image_size: int = 224


class Wanted(NamedTuple):
    """A subject by name.

    Attributes:
        theirs: timm's name.
        ours: our name, or shell patterns of names that it may have; the first that matches counts.
        options: what ours is given so that nothing about it is random.
        their_options: what timm's is given besides.
        build: what to do where none of our names exists.
    """

    name: str
    theirs: str
    ours: Sequence[str]
    image_size: int = 224
    options: Options = NONE
    their_options: Options = NONE
    build: Callable[[], nn.Module] | None = None

    def subject(self) -> Subject | None:
        """None where ours has none."""
        names = [name for pattern in self.ours for name in list_models(pattern)]
        build = published(names[0], **self.options) if names else self.build
        if build is None:
            return None
        return Subject(self.name, build, timm_model(self.theirs, **self.their_options), self.image_size)


def swin_tiny() -> nn.Module:
    """The defaults of the class are Swin-T's sizes."""
    return zoo.Swin(num_classes=1000, drop_path=0.0)


STILL: dict[str, Any] = {"drop_path": 0.0}

WANTED = (
    Wanted("ViT-S", "vit_small_patch16_224", ["vit_small_patch16_224"]),
    Wanted("ViT-B", "vit_base_patch16_224", ["vit_base_patch16_224"]),
    Wanted("Swin-T", "swin_tiny_patch4_window7_224", ["swin_tiny*"], options=STILL, build=swin_tiny),
    Wanted("CaiT-S24", "cait_s24_224", ["cait_s24_224"], options={"layer_dropout": 0.0}),
    Wanted("LeViT-256", "levit_256", ["levit_256_distilled"], options=STILL),
    Wanted("Twins-SVT-S", "twins_svt_small", ["twins_svt_small"], options=STILL),
    Wanted("NesT-T", "nest_tiny_jx", ["nest_tiny_jx"], options=STILL),
    Wanted("MobileViT-S", "mobilevit_s", ["mobilevit_s"], image_size=256),
    Wanted(
        "DINOv2-B, registers",
        "vit_base_patch14_reg4_dinov2",
        ["vit_base*reg*dinov2*", "dinov2*b*reg*"],
        options={"image_size": 224},
        their_options={"img_size": 224},
    ),
    Wanted("DINOv3-B", "vit_base_patch16_dinov3", ["vit_base*dinov3*", "dinov3*b*"], image_size=256),
    Wanted("PiT-S", "pit_s_224", ["pit_s_224"], options=STILL),
    Wanted("DeiT-S", "deit_small_patch16_224", ["deit_small_patch16_224"]),
)
"""The most telling first."""


def choose(only: Sequence[str]) -> tuple[list[Subject], list[str]]:
    """The subjects whose names begin with one of ``only`` (all if empty), and the names of those that ours does not have.

    Raises:
        ValueError: no name begins like that.
    """
    beginnings = tuple(begin.lower() for begin in only)
    for begin in beginnings:
        if not any(wanted.name.lower().startswith(begin) for wanted in WANTED):
            raise ValueError(f"--only must say how a name begins of {', '.join(w.name for w in WANTED)}; got {begin!r}")
    asked = [wanted for wanted in WANTED if not only or wanted.name.lower().startswith(beginnings)]
    found = [(wanted, wanted.subject()) for wanted in asked]
    return [subject for _, subject in found if subject], [wanted.name for wanted, subject in found if not subject]
