"""SimMIM: A Simple Framework for Masked Image Modeling (arXiv:2111.09886)."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor, nn

from ...checks import check_batch, check_image
from ...grid import Grid, Size, split_prefix, to_pair
from ...norm import at_least_float32
from ...recipe import Pretrained
from ...registry import part
from ..encoder import Encoder, Encodes
from ..masking import (
    Details,
    Pictures,
    as_mask,
    hide,
    pictures,
    random_mask,
    replace,
    spread,
    unpatchify,
)
from .layouts import LAYOUTS

_PUBLISHED_MASK = 32


@part
class SimMIM(Pretrained, nn.Module):
    """Put a learned token in place of hidden patches and predict their pixels with one Linear: ``images (B, C, H, W) -> loss``.

    Works with isotropic models and pyramids: places of the mask are squares of ``mask_patch_size`` pixels (Section 3.2), whatever the
    grid of the tokens; every token at the end predicts the pixels of its stride (Section 3.3). The loss is the mean absolute error of
    the hidden pixels over the whole batch (Section 3.4). Images whose sides do not divide are as if continued beyond their border.

    The encoder's modules are those of ``encoder``, which trains with this; its pool and head do not belong to this. The mask token is
    initialised as a truncated normal of standard deviation 0.02, the Linear as PyTorch does.

    Args:
        encoder: a model with a token for every place at the end.
        masking_ratio: the part of the mask's places that is hidden, rounded up.
        mask_patch_size: pixels of a place, an int or a (height, width). If None 32 as published, in whole strides of the last stage and
            at least one; on images that this leaves less than two places to a side, half of it in whole patches.
        channels: of the image.

    Raises:
        ValueError: the encoder does not keep its tokens; the message says what would work. Or a size is not possible.
    """

    layouts = LAYOUTS

    def __init__(
        self,
        encoder: Encodes,
        *,
        masking_ratio: float = 0.5,
        mask_patch_size: Size | None = None,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.masking_ratio = masking_ratio
        self.encoder = Encoder(encoder, channels=channels)
        self.stride = self.encoder.strides[-1]
        self.patch_size = self.encoder.strides[0]
        self.mask_patch_size = None if mask_patch_size is None else to_pair(mask_patch_size, "mask_patch_size")
        if any(place % step for place, step in zip(self.mask_patch_size or (0, 0), self.patch_size, strict=True)):
            raise ValueError(
                f"mask_patch_size must be a multiple of {self.patch_size}, the stride of the patches, got {mask_patch_size}"
            )
        self.mask_token = nn.Parameter(torch.empty(1, 1, self.encoder.embed_dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.decoder = nn.Linear(self.encoder.dim, self.stride[0] * self.stride[1] * channels)

    @overload
    def forward(
        self,
        images: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        details: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        images: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        details: Literal[True],
    ) -> Details: ...

    def forward(
        self,
        images: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        details: bool = False,
    ) -> Tensor | Details:
        """The loss, and if asked for the mask and the reconstruction.

        Args:
            images: ``(B, C, H, W)``.
            mask: ``(B, h, w)`` or ``(B, h*w)`` on the mask's grid, True or 1 for places to hide; drawn if None.
            generator: what draws it.
            details: return :class:`Details`.

        Raises:
            ValueError: a mask does not suit the image, or the encoder does not take it.
        """
        check_batch(images, "a loss")
        grid = self.mask_grid(images)
        if mask is None:
            mask = random_mask(images.shape[0], grid, self.masking_ratio, images.device, generator)
        mask = as_mask(mask, images.shape[0], grid)
        hidden = spread(mask, images.shape[2:], self.place(images))
        reconstruction = at_least_float32(self.predict(images, mask))
        weight = hidden[:, None].to(reconstruction.dtype)
        error = (reconstruction - at_least_float32(images)).abs() * weight
        # 1e-5 is the authors', for batches in which nothing is hidden.
        loss = error.sum() / (weight.sum() + 1e-5) / images.shape[1]
        return Details(loss, mask, reconstruction) if details else loss

    def place(self, images: Tensor) -> tuple[int, int]:
        """How many pixels of these images a place of the mask has, (down, right)."""
        check_image(images, "images")
        if self.mask_patch_size is not None:
            return self.mask_patch_size
        sides = zip(images.shape[2:], self.patch_size, self.stride, strict=True)
        rows, columns = (_usual_place(*sizes) for sizes in sides)
        return rows, columns

    def mask_grid(self, images: Tensor) -> tuple[int, int]:
        """How many places the mask of these images has, along each side; the last may reach beyond the border."""
        rows, columns = self.place(images)
        return -(-images.shape[2] // rows), -(-images.shape[3] // columns)

    def predict(self, images: Tensor, mask: Tensor) -> Tensor:
        """The pixels everywhere, from what ``mask (B, h, w)`` leaves to see: ``(B, C, H, W)``.

        Raises:
            ValueError: the encoder's last grid is not that of its stride.
        """
        height, width = images.shape[2:]
        place = self.place(images)

        def put_tokens(x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
            masked = spread(mask, (grid[0], grid[1]), place, self.patch_size)
            return replace(x, grid, masked, self.mask_token), grid

        visible = hide(images, spread(mask, (height, width), place))
        x, grid = self.encoder(visible, put_tokens)
        if grid != (-(-height // self.stride[0]), -(-width // self.stride[1])):
            raise ValueError(
                f"an image of {(height, width)} has a grid of {grid} at the end, which does not cover it with patches of {self.stride}: "
                f"sides that divide by {self.stride} would"
            )
        return unpatchify(self.decoder(split_prefix(x, grid)[1]), grid, self.stride)[:, :, :height, :width]

    @torch.no_grad()
    def pictures(
        self, images: Tensor, *, mask: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Pictures:
        """The masked image, its reconstruction, and both pasted together. Arguments: see :meth:`forward`."""
        found = self(images, mask=mask, generator=generator, details=True)
        return pictures(images, found.reconstruction, spread(found.mask, images.shape[2:], self.place(images)))

    def reconstruct(
        self, images: Tensor, *, mask: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """The images as predicted from what is not hidden: ``(B, C, H, W)``. See :meth:`pictures`."""
        return self.pictures(images, mask=mask, generator=generator).reconstruction

    def extra_repr(self) -> str:
        return f"masking_ratio={self.masking_ratio:g}, mask_patch_size={self.mask_patch_size}"


def _usual_place(side: int, patch: int, stride: int) -> int:
    """Pixels of a place along a side of the image, by the strides of the first and the last grid."""
    place = max(_PUBLISHED_MASK // stride, 1) * stride
    return place if 2 * place <= side else max(side // 2 // patch, 1) * patch
