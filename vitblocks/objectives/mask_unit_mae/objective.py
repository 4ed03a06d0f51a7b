"""MAE of models with mask units: Hiera (arXiv:2306.00989, Section 3 and Appendix A)."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from ...feedforward import Activation
from ...grid import Grid, to_map, to_tokens
from ...init import trunc_normal_conv
from ...inspect.twin import meta_twin
from ...norm import LayerNorm, NormFactory
from ...position import LearnedPosition
from ...registry import part
from ..encoder import Encodes
from ..mae import MAE
from ..masking import Shuffle, hide, spread
from .configs import CONFIGS
from .layouts import LAYOUTS
from .origins import ORIGINS


@part
class MaskUnitMAE(MAE):
    """Hide most mask units, encode the others alone, and predict the hidden pixels: ``images (B, C, H, W) -> loss``.

    Mask units are squares of tokens that shrink to one with the map (Hiera, arXiv:2306.00989, Section 3). Those that are kept lie side by
    side on a grid of one row of units, on which pooling and attention within units, and global attention, are what they were: no part
    needs to know. What all stages give is brought to one token a unit by a convolution each, and summed (multi-scale fusion, authors'
    code); a decoder as that of MAE, with learned positions, predicts the pixels of a unit from one token. Everything else is as in
    :class:`~vitblocks.objectives.MAE`.

    Args:
        encoder: a model with a ``mask_unit``, whose layers else see no place: :class:`~vitblocks.Hiera`.
        norm: factory of the norm of the sum.
        masking_ratio, decoder_dim, decoder_depth, decoder_heads, decoder_mlp_dim, norm_pix_loss, channels, decoder_norm,
            decoder_activation: see :class:`~vitblocks.objectives.MAE`.

    Raises:
        ValueError: the encoder has no mask units, or they do not end as one token. Or a size is not possible.
    """

    layouts = LAYOUTS
    origins = ORIGINS
    configs = CONFIGS

    def __init__(
        self,
        encoder: Encodes,
        *,
        masking_ratio: float = 0.6,
        decoder_dim: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        decoder_mlp_dim: int | None = None,
        norm_pix_loss: bool = True,
        channels: int = 3,
        norm: NormFactory = LayerNorm,
        decoder_norm: NormFactory = LayerNorm,
        decoder_activation: Activation = nn.GELU,
    ) -> None:
        super().__init__(
            encoder,
            masking_ratio=masking_ratio,
            decoder_dim=decoder_dim,
            decoder_depth=decoder_depth,
            decoder_heads=decoder_heads,
            decoder_mlp_dim=decoder_mlp_dim,
            norm_pix_loss=norm_pix_loss,
            channels=channels,
            decoder_norm=decoder_norm,
            decoder_activation=decoder_activation,
        )
        self.decoder.layers[0] = LearnedPosition(decoder_dim, self._usual_grid())
        self.fusion = nn.ModuleList(
            nn.Conv2d(width, self.encoder.dim, size, stride=size) for width, size in self._finer() if size != (1, 1)
        )
        self.fusion.apply(trunc_normal_conv)
        self.norm = norm(self.encoder.dim)

    def split(self) -> tuple[int, tuple[int, int]]:
        at = self.encoder.split_before_units()
        return at, self.encoder.unit_at(at)

    def _finer(self) -> list[tuple[int, tuple[int, int]]]:
        """Channels and tokens of a unit after each stage, found on the meta device."""
        (rows, columns), stages = self.encoder.mask_unit or (1, 1), list(self.encoder.stages)[self.dropped_at :]
        like = next(self.encoder.parameters())
        x, grid = like.new_empty(1, rows * columns, self.encoder.embed_dim, device="meta"), (rows, columns)
        found = []
        for stage in stages:
            x, grid = meta_twin(stage)(x, grid)
            found.append((int(x.shape[2]), grid))
        return found

    def encode(self, images: Tensor, places: Shuffle) -> Tensor:
        """One token for each kept unit, after the norm of the sum: ``(B, K, C)``, in order of ``kept``."""
        mask = rearrange(places.mask, "b (h w) -> b h w", h=self.grid(images)[0])
        x, grid = self.encoder.embed(hide(images, spread(mask, images.shape[2:], self.patch_size)))
        maps: list[Tensor] = []
        for i, stage in enumerate(self.encoder.stages):
            if i == self.dropped_at:
                x, grid = self.side_by_side(x, grid, places)
            x, grid = stage(x, grid)
            maps += [to_map(x, grid)] if i >= self.dropped_at else []
        fused = maps[-1]
        for conv, found in zip(self.fusion, maps, strict=False):  # the last stages have one token a unit
            fused = fused + conv(found)
        return self.norm(to_tokens(fused)[0])

    def side_by_side(self, x: Tensor, grid: Grid, places: Shuffle) -> tuple[Tensor, Grid]:
        """The kept units of tokens ``(B, H*W, C)`` as a grid of one row of units: ``(B, rows * K * columns, C)``."""
        rows, columns = self.encoder.mask_unit or (1, 1)
        if grid[0] % rows or grid[1] % columns:
            raise ValueError(
                f"the encoder makes a grid of {grid} from the image, which has no whole units of {(rows, columns)}"
            )
        units = rearrange(x, "b (h p w q) c -> b (h w) (p q) c", h=grid[0] // rows, p=rows, q=columns)
        kept = units.gather(1, places.kept[:, :, None, None].expand(-1, -1, *units.shape[2:]))
        return rearrange(kept, "b k (p q) c -> b (p k q) c", p=rows), (rows, kept.shape[1] * columns)
