"""From an image to what a model takes: resize, crop, scale and normalise, as timm and transformers do in evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import floor, isfinite
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from ..extras import extra
from ..grid import to_pair
from ..inspect.summary import image_channels

if TYPE_CHECKING:
    from PIL.Image import Image

Interpolation: TypeAlias = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image in evaluation, in this order. As plain data it is ``model.preprocessing``, and saved with the model.

    Attributes:
        size: (height, width) that the model takes.
        resize: the (height, width) that the image is resized to first; None leaves it as it is.
        keep_ratio: whether the sides keep their ratio; then the image covers ``resize``, else it becomes that.
        crop: how the middle of that size is cut out then, with black around a smaller image: a margin of half a pixel is rounded as
            torchvision and timm do ("round") or down, as transformers does ("floor"); None cuts nothing.
        interpolation: of the resizing, as Pillow does it.
        mean, std: last, of each channel, with pixels in [0, 1]: ``(pixel - mean) / std``.
        channels: "rgb", "bgr" or "grey".
    """

    size: tuple[int, int] = (224, 224)
    resize: tuple[int, int] | None = (256, 256)
    keep_ratio: bool = True
    crop: Literal["round", "floor"] | None = "round"
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channels: Literal["rgb", "bgr", "grey"] = "rgb"

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be done; lists, as JSON has them, become tuples."""
        hold = object.__setattr__
        hold(self, "size", to_pair(_tuple(self.size), "size"))
        if self.resize is not None:
            hold(self, "resize", to_pair(_tuple(self.resize), "resize"))
        count = 1 if self.channels == "grey" else 3
        if self.channels not in ("rgb", "bgr", "grey"):
            raise ValueError(f"channels must be 'rgb', 'bgr' or 'grey', got {self.channels!r}")
        if self.crop not in ("round", "floor", None):
            raise ValueError(f"crop must be 'round', 'floor' or None, got {self.crop!r}")
        if self.interpolation not in get_args(Interpolation):
            raise ValueError(
                f"interpolation must be one of {', '.join(get_args(Interpolation))}, got {self.interpolation!r}"
            )
        for name in ("mean", "std"):
            hold(self, name, tuple(getattr(self, name)))
            numbers = getattr(self, name)
            if len(numbers) != count or not all(isinstance(x, (int, float)) and isfinite(x) for x in numbers):
                raise ValueError(f"{name} must be {count} finite numbers for {self.channels} images, got {numbers}")
        if not all(self.std):
            raise ValueError(f"std must not be 0, got {self.std}")

    def data(self) -> dict[str, Any]:
        """As plain JSON data, which ``Preprocessing(**data)`` reads."""
        return asdict(self)

    def of_size(self, size: tuple[int, int]) -> Preprocessing:
        """The same for images of another size: they are resized as much more or less."""
        if self.resize is None or size == self.size:
            return replace(self, size=size)
        scaled = [floor(side * new / old) for side, new, old in zip(self.resize, size, self.size, strict=True)]
        return replace(self, size=size, resize=(scaled[0], scaled[1]))

    def __call__(self, image: Image | Tensor | Any | str | os.PathLike[str] | Sequence[Any]) -> Tensor:
        """One image as ``(C, height, width)``, a list of them as ``(B, C, height, width)``, in float32.

        Args:
            image: a PIL image, an array or tensor ``(H, W)`` or ``(H, W, C)`` of bytes, or the path of a file, which is turned upright as
                its EXIF data say. Grey, palette and transparent images become what the model takes.

        Raises:
            ImportError: Pillow is not installed.
            TypeError, ValueError: no image; an array of another type or shape.
            OSError: the file cannot be read.
        """
        if isinstance(image, (list, tuple)):
            if not image:
                raise ValueError("image must be an image or a list of at least one")
            return torch.stack([self(one) for one in image])
        return self.normalized(self.pixels(image))

    def pixels(self, image: Any, box: tuple[int, int, int, int] | None = None) -> Tensor:
        """One image as bytes ``(C, height, width)``, not yet scaled and normalised.

        Args:
            image: see :meth:`__call__`.
            box: what of the image is taken in place of the usual, by its (left, top, right, bottom).
        """
        upright = _eight_bits(opened(image)).convert("L" if self.channels == "grey" else "RGB")
        if box is None:
            pixels = self._resized(upright)
        else:
            from PIL import Image as pil

            pixels = upright.resize(self.size[::-1], pil.Resampling[self.interpolation.upper()], box=box)
        tensor = torch.frombuffer(bytearray(pixels.tobytes()), dtype=torch.uint8)
        tensor = rearrange(tensor, "(h w c) -> c h w", h=pixels.height, w=pixels.width)
        return tensor.flip(0) if self.channels == "bgr" else tensor

    def normalized(self, pixels: Tensor) -> Tensor:
        """Bytes ``(..., C, H, W)``, or floats from 0 to 1, as the model takes them: floats, normalised."""
        mean, std = (rearrange(torch.tensor(x, device=pixels.device), "c -> c 1 1") for x in (self.mean, self.std))
        scaled = pixels if pixels.is_floating_point() else pixels.float() / 255
        return (scaled - mean) / std

    def _resized(self, image: Image) -> Image:
        from PIL import Image as pil

        how = pil.Resampling[self.interpolation.upper()]
        if self.resize is not None:
            height, width = self.resize
            if self.keep_ratio:
                height, width = _covering((image.height, image.width), self.resize)
            image = image.resize((width, height), how)
        if self.crop is None:
            return image
        height, width = self.size
        left, top = _start(image.width, width, self.crop), _start(image.height, height, self.crop)
        return image.crop((left, top, left + width, top + height))


def preprocess(model: nn.Module) -> Preprocessing:
    """What a model wants done to images: what came with it (``model.preprocessing``), else ImageNet's usual evaluation at its size.

    That is: 8/7 of the image size, its middle, and ImageNet's mean and standard deviation. A model of one channel gets
    grey images, with 0.5 for both.

    Raises:
        ValueError: ``model.preprocessing`` is none, or the model takes neither 1 nor 3 channels.
    """
    given = getattr(model, "preprocessing", None)
    if given is not None:
        known = {field.name for field in fields(Preprocessing)}
        if not isinstance(given, Mapping) or given.keys() - known:
            raise ValueError(f"model.preprocessing must have keys of {', '.join(sorted(known))}, got {given!r:.200}")
        return Preprocessing(**given)
    size = to_pair(getattr(model, "image_size", None) or 224, "image_size")
    channels = image_channels(model)
    if channels not in (1, 3):
        raise ValueError(f"the model takes {channels} channels, which no image file has: give tensors")
    resize = (floor(size[0] / 0.875), floor(size[1] / 0.875))
    if channels == 1:
        return Preprocessing(size, resize, mean=(0.5,), std=(0.5,), channels="grey")
    return Preprocessing(size, resize)


def _covering(image: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The smallest size of an image's ratio that covers the target, rounded as torchvision does for squares and timm for others."""
    height, width = image
    if target[0] == target[1]:
        along = int(target[0] * max(image) / min(image))
        return (along, target[0]) if width <= height else (target[0], along)
    ratio = min(height / target[0], width / target[1])
    return round(height / ratio), round(width / ratio)


def _start(have: int, want: int, rounding: str) -> int:
    """Where the middle begins; before the image where it is smaller."""
    if rounding == "floor":
        return (have - want) // 2
    return round((have - want) / 2.0) if have > want else -((want - have) // 2)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _eight_bits(image: Image) -> Image:
    """An image of 16 bits by its higher byte, which Pillow would clip to the lower one."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    return image


def opened(image: Any) -> Image:
    """A PIL image of whatever stands for one."""
    with extra("PIL", "preprocessing"):
        from PIL import Image as pil, ImageOps
    if isinstance(image, pil.Image):
        return image
    if isinstance(image, (str, os.PathLike)):
        with pil.open(image) as file:
            return ImageOps.exif_transpose(file)
    if not hasattr(image, "shape") or not hasattr(image, "dtype"):
        raise TypeError(f"image must be a PIL image, an array of bytes or a path, got {type(image).__name__}")
    shape, kind = tuple(image.shape), str(image.dtype).removeprefix("torch.")
    if kind != "uint8" or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
        raise ValueError(
            f"image must be an array (H, W) or (H, W, C) of bytes, uint8, with C of 1, 3 or 4, got {shape} of {kind}"
        )
    pixels = image.cpu().numpy() if isinstance(image, Tensor) else image
    return pil.fromarray(pixels[..., 0] if shape[2:] == (1,) else pixels)
