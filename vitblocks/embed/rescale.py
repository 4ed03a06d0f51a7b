"""Resize the image before it is embedded."""

from __future__ import annotations

from torch import Tensor, nn

from ..grid import Size, map_size, to_pair
from ..position.resize import resize_table
from ..registry import part
from .adaptors import check_image, check_patches


@part
class Rescale(nn.Module):
    """Resize an image by a fixed proportion, bicubic without antialiasing: ``(B, C, H, W) -> (B, C, H', W')``.

    What CrossViT's towers do that see the image at a size of their own (arXiv:2103.14899, authors' code). An image of ``image_size``
    becomes one of ``size``; any other is scaled alike, to the nearest size that divides by ``multiple``.

    Args:
        image_size, size: before and after, an int or a (height, width).
        multiple: what the result divides by.

    Raises:
        ValueError: ``size`` does not divide by ``multiple``.
    """

    def __init__(self, image_size: Size, size: Size, *, multiple: Size = 1) -> None:
        super().__init__()
        self.image_size = to_pair(image_size, "image_size")
        self.size = to_pair(size, "size")
        self.multiple = to_pair(multiple, "multiple")
        check_patches(self.size, self.multiple)

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that an image of this one becomes."""
        rows, columns = (
            max((2 * side * after + before * step) // (2 * before * step), 1) * step
            for side, before, after, step in zip(
                (height, width), self.image_size, self.size, self.multiple, strict=True
            )
        )
        return rows, columns

    def forward(self, image: Tensor) -> Tensor:
        check_image(image)
        return resize_table(image, self.scaled(*map_size(image)))

    def extra_repr(self) -> str:
        return f"image_size={self.image_size}, size={self.size}, multiple={self.multiple}"
