"""Masked patch prediction: the self-supervision of the ViT paper (arXiv:2010.11929, Section 4.6 and Appendix B.1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, overload

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor, nn

from ..checks import check_batch, check_image, check_part_of
from ..embed.adaptors import check_patches
from ..grid import Grid, Size, one_line, split_prefix, to_pair
from ..norm import at_least_float32
from ..recipe import Pretrained
from ..registry import part
from .encoder import Encoder, Encodes
from .masking import (
    Details,
    Pictures,
    hide,
    patchify,
    pictures,
    random_mask,
    replace,
    spread,
    uniform,
    unpatchify,
)

_MOST_BITS = 24


class Corruption(NamedTuple):
    """What happens to the patches of each image, all ``(B, N)``, row-major.

    Attributes:
        chosen: True for patches whose colour is to be predicted.
        masked: True for those that the mask token stands for.
        source: the place of the patch whose pixels stand here; its own where nothing changes.
    """

    chosen: Tensor
    masked: Tensor
    source: Tensor

    def __repr__(self) -> str:
        return one_line(self)


@part
class MPP(Pretrained, nn.Module):
    """Corrupt patches and predict the mean colour of each, as one of ``2 ** (bits * channels)`` classes: ``images -> loss``.

    Of the chosen patches some become the mask token, some another patch of the same image, and the rest stays (Appendix B.1.2). The
    loss is the cross-entropy over all chosen ones. Patches are exchanged and zeroed in the image, before the embedder, which for patches
    side by side is the same as exchanging their embeddings, and shows nothing to neighbours where patches overlap.

    The encoder's modules are those of ``transformer``, which trains with this; its pool and head do not belong to this. The mask token is
    initialised as a truncated normal of standard deviation 0.02, the Linear as PyTorch does.

    Args:
        transformer: a model with a token for every place at the end.
        patch_size: pixels of a patch, an int or a (height, width): the stride of the model's last stage, which is taken if None.
        dim: channels of the model's last tokens, which are taken if None.
        output_channel_bits: bits of the mean colour in each channel.
        channels: of the image.
        max_pixel_val: the largest pixel value, before any normalisation; the smallest is 0.
        mask_prob: the part of the patches that is chosen, rounded up.
        replace_prob: the part of the chosen that becomes the mask token.
        random_patch_prob: the part of the chosen that becomes another patch.
        mean, std: by which the images' channels were normalised, a number for each; undone for the target. None for images that were not.

    Raises:
        ValueError: the model does not keep its tokens; the message says what would work. Or a size or a probability is not possible.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        transformer: Encodes,
        patch_size: Size | None = None,
        dim: int | None = None,
        output_channel_bits: int = 3,
        channels: int = 3,
        max_pixel_val: float = 1.0,
        mask_prob: float = 0.5,
        replace_prob: float = 0.8,
        random_patch_prob: float = 0.1,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if min(replace_prob, random_patch_prob) < 0 or replace_prob + random_patch_prob > 1 + 1e-9:
            raise ValueError(
                f"replace_prob and random_patch_prob must sum to at most 1, got {replace_prob} and {random_patch_prob}"
            )
        if not 1 <= output_channel_bits * channels <= _MOST_BITS:
            raise ValueError(
                f"output_channel_bits must leave at most 2**{_MOST_BITS} classes, got {output_channel_bits} for each of {channels} channels"
            )
        check_part_of("mask_prob", mask_prob)
        self.mask_prob = mask_prob
        self.replace_prob, self.random_patch_prob = replace_prob, random_patch_prob
        self.max_pixel_val = max_pixel_val
        self.levels = 2**output_channel_bits
        self.channels = channels
        self.register_buffer("mean", _per_channel("mean", mean, channels), persistent=False)
        self.register_buffer("std", _per_channel("std", std, channels), persistent=False)
        self.encoder = Encoder(transformer, channels=channels)
        self.patch_size = self.encoder.strides[-1]
        if patch_size is not None and to_pair(patch_size, "patch_size") != self.patch_size:
            raise ValueError(
                f"patch_size must be {self.patch_size}, the stride of the model's tokens, got {patch_size}"
            )
        if dim is not None and dim != self.encoder.dim:
            raise ValueError(f"dim must be {self.encoder.dim}, the channels of the model's last tokens, got {dim}")
        self.mask_token = nn.Parameter(torch.empty(1, 1, self.encoder.embed_dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.to_classes = nn.Linear(self.encoder.dim, self.levels**channels)

    @overload
    def forward(
        self,
        images: Tensor,
        *,
        corruption: Corruption | None = None,
        generator: torch.Generator | None = None,
        details: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        images: Tensor,
        *,
        corruption: Corruption | None = None,
        generator: torch.Generator | None = None,
        details: Literal[True],
    ) -> Details: ...

    def forward(
        self,
        images: Tensor,
        *,
        corruption: Corruption | None = None,
        generator: torch.Generator | None = None,
        details: bool = False,
    ) -> Tensor | Details:
        """The loss, and if asked for which patches were chosen and a picture of the most likely colours.

        Args:
            images: ``(B, C, H, W)``.
            corruption: what to do to the patches; drawn if None.
            generator: what draws it.
            details: return :class:`Details`.

        Raises:
            ValueError: an image does not divide into patches or has only one, or ``corruption`` does not suit it.
        """
        check_batch(images, "a loss")
        grid = self.grid(images)
        if corruption is None:
            corruption = self.corruption(images, generator)
        if not isinstance(corruption, Corruption):
            raise TypeError(
                f"corruption must be a Corruption, as corruption(images) gives it, got a {type(corruption).__name__}"
            )
        if any(tuple(part.shape) != (images.shape[0], grid[0] * grid[1]) for part in corruption):
            raise ValueError(
                f"corruption must be of {(images.shape[0], grid[0] * grid[1])} patches, got {[tuple(p.shape) for p in corruption]}"
            )
        logits = at_least_float32(self.predict(images, corruption))
        chosen = corruption.chosen.bool()
        losses = F.cross_entropy(rearrange(logits, "b n k -> b k n"), self.target(images), reduction="none")
        loss = (losses * chosen).sum() / chosen.sum()
        if not details:
            return loss
        return Details(loss, rearrange(chosen, "b (h w) -> b h w", h=grid[0]), self._colours(logits, grid))

    def grid(self, images: Tensor) -> tuple[int, int]:
        """The grid of patches. Raises ValueError if the image does not divide into them, or is only one."""
        check_image(images, "images")
        check_patches((images.shape[2], images.shape[3]), self.patch_size)
        grid = (images.shape[2] // self.patch_size[0], images.shape[3] // self.patch_size[1])
        if grid == (1, 1):
            raise ValueError(
                f"an image of {tuple(images.shape[2:])} is a single patch of {self.patch_size}: use larger images"
            )
        return grid

    def corruption(self, images: Tensor, generator: torch.Generator | None = None) -> Corruption:
        """What to do to the patches of these images, drawn anew."""
        grid, batch, device = self.grid(images), images.shape[0], images.device
        places = grid[0] * grid[1]
        chosen = random_mask(batch, grid, self.mask_prob, device, generator)
        chosen = rearrange(chosen, "b h w -> b (h w)")
        fate = uniform((batch, places), device, generator)
        masked = chosen & (fate < self.replace_prob)
        exchanged = chosen & ~masked & (fate < self.replace_prob + self.random_patch_prob)
        # Any patch but the one that stands here.
        step = 1 + (uniform((batch, places), device, generator) * (places - 1)).long().clamp(max=places - 2)
        own = torch.arange(places, device=device).expand(batch, -1)
        return Corruption(chosen, masked, torch.where(exchanged, (own + step) % places, own))

    def predict(self, images: Tensor, corruption: Corruption) -> Tensor:
        """The logits of every patch's colour: ``(B, N, classes)``."""
        grid = self.grid(images)
        masked = rearrange(corruption.masked.bool(), "b (h w) -> b h w", h=grid[0])
        patches = patchify(images, self.patch_size)
        source = repeat(corruption.source, "b n -> b n c", c=patches.shape[2])
        seen = unpatchify(patches.gather(1, source), grid, self.patch_size)

        def put_tokens(x: Tensor, at: Grid) -> tuple[Tensor, Grid]:
            return replace(
                x, at, spread(masked, (at[0], at[1]), self.patch_size, self.encoder.strides[0]), self.mask_token
            ), at

        x, last = self.encoder(hide(seen, spread(masked, images.shape[2:], self.patch_size)), put_tokens)
        if last != grid:
            raise ValueError(
                f"an image of {tuple(images.shape[2:])} has a grid of {last} at the end, not of {grid} patches"
            )
        return self.to_classes(split_prefix(x, last)[1])

    def target(self, images: Tensor) -> Tensor:
        """The class of every patch's mean colour: ``(B, N)``, the first channel the fastest."""
        patches = patchify(at_least_float32(images), self.patch_size)
        colours = reduce(patches, "b n (pixels c) -> b n c", "mean", c=self.channels)
        if self.std is not None:
            colours = colours * self.std.to(colours)
        if self.mean is not None:
            colours = colours + self.mean.to(colours)
        steps = (colours * (self.levels / self.max_pixel_val)).floor().clamp(0, self.levels - 1).long()
        weights = self.levels ** torch.arange(self.channels, device=images.device)
        return (steps * weights).sum(dim=2)

    @torch.no_grad()
    def pictures(
        self, images: Tensor, *, corruption: Corruption | None = None, generator: torch.Generator | None = None
    ) -> Pictures:
        """The image without the chosen patches, the most likely colours, and both pasted together. See :meth:`forward`."""
        found = self(images, corruption=corruption, generator=generator, details=True)
        return pictures(images, found.reconstruction, spread(found.mask, images.shape[2:], self.patch_size))

    def reconstruct(
        self, images: Tensor, *, corruption: Corruption | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """The most likely colour of every patch, in the units of the images: ``(B, C, H, W)``. See :meth:`pictures`."""
        return self.pictures(images, corruption=corruption, generator=generator).reconstruction

    def extra_repr(self) -> str:
        shares = f"mask_prob={self.mask_prob:g}, replace_prob={self.replace_prob:g}, random_patch_prob={self.random_patch_prob:g}"
        return f"{shares}, patch_size={self.patch_size}"

    def _colours(self, logits: Tensor, grid: tuple[int, int]) -> Tensor:
        """The middle of the most likely class, as a picture of flat patches."""
        weights = self.levels ** torch.arange(self.channels, device=logits.device)
        steps = logits.argmax(dim=2)[:, :, None] // weights % self.levels
        colours = (steps.to(logits.dtype) + 0.5) * (self.max_pixel_val / self.levels)
        if self.mean is not None:
            colours = colours - self.mean.to(colours)
        if self.std is not None:
            colours = colours / self.std.to(colours)
        return unpatchify(colours.repeat(1, 1, self.patch_size[0] * self.patch_size[1]), grid, self.patch_size)


def _per_channel(name: str, values: Sequence[float] | None, channels: int) -> Tensor | None:
    if values is None:
        return None
    tensor = torch.as_tensor(values, dtype=torch.float64)
    if tensor.shape != (channels,):
        raise ValueError(f"{name} must be {channels} numbers, one for each channel, got {values!r}")
    return tensor.float()
