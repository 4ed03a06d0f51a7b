"""transformers' configs of Hiera."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ...border.configs import Config, activation, classes_of
from ...norm import layer_norm

if TYPE_CHECKING:
    from .model import Hiera


def pair(value: Any) -> tuple[int, int]:
    """A (height, width), which the files have as a list."""
    height, width = value
    return int(height), int(width)


def hiera(config: Config, num_classes: int) -> Hiera:
    """With transformers' defaults.

    Raises:
        ValueError: units that theirs counts in another way: where a stage does not pool its units shrink nevertheless, and the first block
            of a stage attends in units where its own stage does.
    """
    from .model import Hiera

    depths = list(config.get("depths", (2, 3, 16, 3)))
    in_units = list(config.get("masked_unit_attention", (True, True, False, False)))
    pools = config.get("num_query_pool", 3)
    if any(now and not before for before, now in pairwise(in_units)):
        raise ValueError(f"masked_unit_attention must end once and for all, got {in_units}")
    if pools < len(depths) - 1 and any(in_units[pools:]):
        raise ValueError(f"masked_unit_attention must end before the stage that does not pool, got {in_units}")
    dim, ratio = config.get("embed_dim", 96), config.get("embed_dim_multiplier", 2.0)
    return Hiera(
        image_size=pair(config.get("image_size", (224, 224))),
        num_classes=num_classes,
        dims=[int(dim * ratio**s) for s in range(len(depths))],
        depths=depths,
        heads=list(config.get("num_heads", (1, 2, 4, 8))),
        window=pair(config.get("masked_unit_size", (8, 8))),
        in_units=in_units,
        query_pools=pools,
        query_stride=pair(config.get("query_stride", (2, 2))),
        patch_size=pair(config.get("patch_size", (7, 7))),
        patch_stride=pair(config.get("patch_stride", (4, 4))),
        patch_padding=pair(config.get("patch_padding", (3, 3))),
        mlp_ratio=config.get("mlp_ratio", 4.0),
        channels=config.get("num_channels", 3),
        norm=layer_norm(config.get("layer_norm_eps", 1e-6)),
        activation=activation(config.get("hidden_act", "gelu")),
    )


def classifier(config: Config) -> Hiera:
    """HieraForImageClassification."""
    return hiera(config, classes_of(config))


def base(config: Config) -> Hiera:
    """HieraModel, which gives the normed mean."""
    return hiera(config, 0)


CONFIGS = {"HieraForImageClassification": classifier, "HieraModel": base}
