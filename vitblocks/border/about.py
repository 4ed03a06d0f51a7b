"""What other libraries say of their models beside weights: preprocessing and the names of classes."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import Any

from .configs import labels_of
from .preprocessing import Interpolation, Preprocessing

RESAMPLINGS: tuple[Interpolation, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By Pillow's number, which Hugging Face's configs have."""


def from_timm(config: Mapping[str, Any], size: tuple[int, int]) -> Preprocessing:
    """timm's ``pretrained_cfg`` for images of a size.

    Raises:
        ValueError: it asks for borders around images, or for an interpolation that Pillow does not have.
    """
    mode = config.get("crop_mode") or "center"
    if mode not in ("center", "squash"):
        raise ValueError(f"crop_mode must be 'center' or 'squash', got {mode!r}")
    share = config.get("crop_pct") or 0.875
    return Preprocessing(
        size=size,
        resize=(floor(size[0] / share), floor(size[1] / share)),
        keep_ratio=mode == "center",
        interpolation=config.get("interpolation") or "bicubic",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        channels="grey" if len(config["mean"]) == 1 else "rgb",
    )


class OtherPreprocessing(ValueError):
    """What is asked for is what no field of :class:`Preprocessing` says."""


def from_hf(config: Mapping[str, Any]) -> Preprocessing:
    """A ``preprocessor_config.json`` of Hugging Face's image processors for classification.

    Raises:
        OtherPreprocessing: a ValueError, see there.
    """
    factor = config.get("rescale_factor", 1 / 255)
    if config.get("do_rescale", True) and abs(factor * 255 - 1) > 1e-6:
        raise OtherPreprocessing(f"rescale_factor must be 1/255, got {factor}")
    if (most := config.get("max_num_patches")) is not None:
        raise OtherPreprocessing(f"images become of as many sizes as have at most {most} patches (max_num_patches)")
    if "longest_edge" in _mapping(config.get("size")):
        raise OtherPreprocessing(f"images become of as many sizes as have a longer side of {config['size']} pixels")
    size, crop = _sides(config.get("size", 224)), _sides(config.get("crop_size", 224))
    kind = str(config.get("image_processor_type", config.get("feature_extractor_type", "")))
    cropped = bool(config.get("do_center_crop", False))
    target, keep_ratio = size, "shortest_edge" in _mapping(config.get("size"))
    if "LevitImageProcessor" in kind or "LevitFeatureExtractor" in kind:
        target = (int(256 / 224 * size[0]),) * 2  # the shorter side grows before the middle is cut out
    if "ConvNext" in kind:
        keep_ratio = size[0] < 384
        cropped, crop = keep_ratio, size
        target = (int(size[0] / config.get("crop_pct", 224 / 256)),) * 2 if keep_ratio else size
    normed = config.get("do_normalize", False)
    return Preprocessing(
        size=crop if cropped else size,
        resize=target if config.get("do_resize", True) else None,
        keep_ratio=keep_ratio,
        crop="floor" if cropped else None,
        interpolation=RESAMPLINGS[config.get("resample", 2)],
        mean=tuple(config["image_mean"]) if normed else (0.0,) * 3,
        std=tuple(config["image_std"]) if normed else (1.0,) * 3,
        channels="bgr" if config.get("do_flip_channel_order", "MobileViT" in kind) else "rgb",
    )


def _mapping(size: Any) -> Mapping[str, int]:
    return size if isinstance(size, Mapping) else {"height": size, "width": size}


def _sides(size: Any) -> tuple[int, int]:
    sides = _mapping(size)
    if "shortest_edge" in sides:
        return sides["shortest_edge"], sides["shortest_edge"]
    return sides["height"], sides["width"]


def about(module: Any, size: tuple[int, int]) -> tuple[Preprocessing | None, list[str] | None]:
    """The preprocessing and the names of the classes that a live module knows; None for what it does not.

    A model of transformers does not know its preprocessing, which lies in a file of its own.
    """
    config = getattr(module, "pretrained_cfg", None)
    preprocessing = from_timm(config, size) if isinstance(config, Mapping) and config.get("mean") else None
    return preprocessing, labels_of({"id2label": getattr(getattr(module, "config", None), "id2label", None)})
