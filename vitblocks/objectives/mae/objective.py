"""MAE: Masked Autoencoders Are Scalable Vision Learners (arXiv:2111.06377)."""

from __future__ import annotations

from typing import Literal, overload

import torch
from einops import rearrange
from torch import Tensor, nn

from ...attention import GlobalAttention
from ...block import Block
from ...checks import check_batch, check_image
from ...embed.adaptors import check_patches
from ...feedforward import Activation, Mlp
from ...grid import Grid, split_prefix
from ...init import xavier_linear
from ...model import Stage
from ...norm import LayerNorm, NormFactory, at_least_float32
from ...position import SinePosition2d
from ...recipe import Pretrained
from ...registry import part
from ..encoder import Encoder, Encodes
from ..masking import (
    Details,
    Pictures,
    Shuffle,
    as_mask,
    hide,
    kept_count,
    patchify,
    pictures,
    shuffle,
    spread,
    uniform,
    unpatchify,
)
from .configs import CONFIGS
from .layouts import LAYOUTS
from .origins import ORIGINS


@part
class MAE(Pretrained, nn.Module):
    """Hide most patches, encode the others alone, and predict the hidden pixels: ``images (B, C, H, W) -> loss``.

    The encoder runs as far as the first layer in which tokens see one another, then drops the hidden patches and goes on with those
    kept and all prefix tokens (Section 3, "MAE encoder"). A small decoder gets them back in their places, mask tokens in the others, with
    fixed positions of its own; prefix tokens have none. The loss is the mean squared error of the hidden patches' pixels. Other image
    sizes work as far as the encoder takes them.

    The encoder's modules are those of ``encoder``, which trains with this; its pool and head do not belong to this. Decoder initialised
    as the authors do: Linears Xavier uniform with zero biases, the mask token normal with standard deviation 0.02.

    Args:
        encoder: a model whose blocks take any number of tokens, such as ViT, DeiT, CaiT, DeepViT or CCT.
        masking_ratio: the part of the patches that is hidden.
        decoder_dim, decoder_depth, decoder_heads: width (a multiple of 4), blocks and heads of the decoder.
        decoder_mlp_dim: hidden width of its feed-forwards; ``4 * decoder_dim`` if None.
        norm_pix_loss: predict each patch's pixels after subtracting their mean and dividing by their standard deviation (Section 3,
            "Reconstruction target").
        channels: of the image.
        decoder_qkv_bias, decoder_norm, decoder_activation: whether the decoder's qkv projections have a bias, the factory of its norms and
            that of its feed-forwards' activation.

    Raises:
        ValueError: the encoder needs the whole grid; the message names the layer and an objective that would work. Or a size is not
            possible.
    """

    layouts = LAYOUTS
    origins = ORIGINS
    configs = CONFIGS

    def __init__(
        self,
        encoder: Encodes,
        *,
        masking_ratio: float = 0.75,
        decoder_dim: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        decoder_mlp_dim: int | None = None,
        norm_pix_loss: bool = False,
        channels: int = 3,
        decoder_qkv_bias: bool = True,
        decoder_norm: NormFactory = LayerNorm,
        decoder_activation: Activation = nn.GELU,
    ) -> None:
        super().__init__()
        if decoder_heads < 1 or decoder_dim % decoder_heads or decoder_dim % 4:
            raise ValueError(
                f"decoder_dim must be a multiple of 4 and of decoder_heads, got {decoder_dim} with {decoder_heads} heads"
            )
        self.masking_ratio = masking_ratio
        self.norm_pix_loss = norm_pix_loss
        self.encoder = Encoder(encoder, channels=channels)
        self.dropped_at, self.patch_size = self.split()
        self.decoder_embed = nn.Linear(self.encoder.dim, decoder_dim)
        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder_dim))
        blocks = [
            Block(
                decoder_dim,
                GlobalAttention(decoder_dim, decoder_heads, qkv_bias=decoder_qkv_bias),
                Mlp(decoder_dim, decoder_mlp_dim, activation=decoder_activation),
                norm=decoder_norm,
            )
            for _ in range(decoder_depth)
        ]
        self.decoder = Stage([SinePosition2d(decoder_dim, self._usual_grid()), *blocks])
        self.decoder_norm = decoder_norm(decoder_dim)
        self.to_pixels = nn.Linear(decoder_dim, self.patch_size[0] * self.patch_size[1] * channels)
        nn.init.normal_(self.mask_token, std=0.02)
        for module in (self.decoder_embed, self.decoder, self.to_pixels):
            module.apply(xavier_linear)

    def split(self) -> tuple[int, tuple[int, int]]:
        """The number of the stage before which tokens are dropped, which the encoder gets for it, and the pixels of what is dropped."""
        at = self.encoder.split_before_mixing()
        self.encoder.check_takes_dropped(at)
        return at, self.encoder.strides[at]

    @property
    def image_size(self) -> tuple[int, int] | None:
        """That of the encoder."""
        return self.encoder.image_size

    @overload
    def forward(
        self,
        images: Tensor,
        *,
        mask: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        details: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        images: Tensor,
        *,
        mask: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        details: Literal[True],
    ) -> Details: ...

    def forward(
        self,
        images: Tensor,
        *,
        mask: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        details: bool = False,
    ) -> Tensor | Details:
        """The loss, and if asked for the mask and the reconstruction.

        Args:
            images: ``(B, C, H, W)``.
            mask: ``(B, h, w)`` or ``(B, h*w)``, True or 1 for patches to hide, as many in each image as ``masking_ratio`` says.
            noise: ``(B, h*w)`` in place of a mask: the patches of least noise are kept, in that order.
            generator: what draws the noise if neither is given.
            details: return :class:`Details`; their reconstruction is of normalised pixels with ``norm_pix_loss``.

        Raises:
            ValueError: an image does not divide into patches, or a mask does not suit it.
        """
        check_batch(images, "a loss")
        grid = self.grid(images)
        places = self.shuffle(images, mask=mask, noise=noise, generator=generator)
        prediction = at_least_float32(self.decode(self.encode(images, places), places, grid))
        error = (prediction - self.target(images)).square().mean(dim=2)
        loss = (error * places.mask).sum() / places.mask.sum()
        if not details:
            return loss
        return Details(
            loss, rearrange(places.mask, "b (h w) -> b h w", h=grid[0]), unpatchify(prediction, grid, self.patch_size)
        )

    def grid(self, images: Tensor) -> tuple[int, int]:
        """The grid of the patches that are hidden or kept. Raises ValueError if the image does not divide into them."""
        check_image(images, "images")
        check_patches((images.shape[2], images.shape[3]), self.patch_size)
        return images.shape[2] // self.patch_size[0], images.shape[3] // self.patch_size[1]

    def shuffle(
        self,
        images: Tensor,
        *,
        mask: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Shuffle:
        """Which patches are kept. Arguments and errors: see :meth:`forward`."""
        grid, batch = self.grid(images), images.shape[0]
        places = grid[0] * grid[1]
        keep = kept_count(places, self.masking_ratio)
        if mask is not None and noise is not None:
            raise ValueError("mask and noise exclude each other, got both")
        if mask is not None:
            noise = rearrange(as_mask(mask, batch, grid), "b h w -> b (h w)").to(torch.uint8)
            if not torch.compiler.is_compiling() and not bool((noise.sum(dim=1) == places - keep).all()):
                raise ValueError(
                    f"mask must hide {places - keep} of {places} patches in each image (masking_ratio {self.masking_ratio}), "
                    f"got {noise.sum(dim=1).tolist()}"
                )
        elif noise is None:
            noise = uniform((batch, places), images.device, generator)
        if not isinstance(noise, Tensor):
            raise TypeError(f"noise must be a tensor, got a {type(noise).__name__}")
        if tuple(noise.shape) != (batch, places):
            raise ValueError(f"noise must be {(batch, places)}, got {tuple(noise.shape)}")
        return shuffle(noise, keep)

    def encode(self, images: Tensor, places: Shuffle) -> Tensor:
        """The tokens of the kept patches after the encoder's norm: ``(B, P + K, C)``, P prefix tokens first, then in order of ``kept``."""

        def drop(x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
            if grid != self.grid(images):
                raise ValueError(f"the encoder makes a grid of {grid} from the image, not {self.grid(images)}")
            prefix, patches = split_prefix(x, grid)
            kept = patches.gather(1, places.kept[:, :, None].expand(-1, -1, x.shape[2]))
            return torch.cat([prefix, kept], dim=1), (places.kept.shape[1],)

        mask = rearrange(places.mask, "b (h w) -> b h w", h=self.grid(images)[0])
        hidden = spread(mask, images.shape[2:], self.patch_size)
        return self.encoder(hide(images, hidden), drop, self.dropped_at)[0]

    def decode(self, latent: Tensor, places: Shuffle, grid: Grid) -> Tensor:
        """The pixels of all patches from the tokens of those kept: ``(B, h*w, rows * columns * C)``, the channel fastest."""
        tokens = self.decoder_embed(latent)
        batch, count, dim = tokens.shape
        kept, total = places.kept.shape[1], places.restore.shape[1]
        masked = self.mask_token.to(tokens.dtype).expand(batch, total - kept, -1)
        patches = torch.cat([tokens[:, count - kept :], masked], dim=1)
        patches = patches.gather(1, places.restore[:, :, None].expand(-1, -1, dim))
        x, _ = self.decoder(torch.cat([tokens[:, : count - kept], patches], dim=1), grid)
        return self.to_pixels(self.decoder_norm(split_prefix(x, grid)[1]))

    def target(self, images: Tensor) -> Tensor:
        """What is to be predicted: the pixels of each patch ``(B, h*w, rows * columns * C)``, normalised or not."""
        pixels = patchify(at_least_float32(images), self.patch_size)
        if not self.norm_pix_loss:
            return pixels
        mean, deviation = _mean_and_deviation(pixels)
        return (pixels - mean) / deviation

    @torch.no_grad()
    def pictures(
        self,
        images: Tensor,
        *,
        mask: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Pictures:
        """The masked image, its reconstruction, and both pasted together. Arguments: see :meth:`forward`.

        With ``norm_pix_loss`` the prediction gets each patch's own mean and deviation, which only the whole image tells.
        """
        found = self(images, mask=mask, noise=noise, generator=generator, details=True)
        picture = found.reconstruction
        if self.norm_pix_loss:
            mean, deviation = _mean_and_deviation(patchify(at_least_float32(images), self.patch_size))
            pixels = patchify(picture, self.patch_size) * deviation + mean
            picture = unpatchify(pixels, self.grid(images), self.patch_size)
        return pictures(images, picture, spread(found.mask, images.shape[2:], self.patch_size))

    def reconstruct(
        self,
        images: Tensor,
        *,
        mask: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The images as predicted from their kept patches: ``(B, C, H, W)``. See :meth:`pictures`."""
        return self.pictures(images, mask=mask, noise=noise, generator=generator).reconstruction

    def extra_repr(self) -> str:
        return f"masking_ratio={self.masking_ratio:g}, patch_size={self.patch_size}, norm_pix_loss={self.norm_pix_loss}"

    def _usual_grid(self) -> tuple[int, int]:
        """The grid of the image that the encoder was made for, or of one that it takes."""
        height, width = self.encoder.probed_size if self.encoder.image_size is None else self.encoder.image_size
        return max(height // self.patch_size[0], 1), max(width // self.patch_size[1], 1)


def _mean_and_deviation(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Of each patch; the variance is the unbiased one, as in the authors' code."""
    return pixels.mean(dim=2, keepdim=True), (pixels.var(dim=2, keepdim=True) + 1e-6).sqrt()
