"""FlexiViT, and the rules by which timm resizes tables and patches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from tests.golden.case import Case
from tests.golden.check import Builder, Output
from tests.golden.config import Config
from vitblocks import LearnedPosition, RelativeBias, ViT
from vitblocks.checkpoint import KeyMap
from vitblocks.checkpoint.adapting import resample_patches
from vitblocks.checkpoint.rules import Rule
from vitblocks.position import resize_offsets_as_beit, resize_table

from .vit import ANTIALIASED, timm_tower


def flexivit(config: Config) -> ViT:
    config.only("no_embed_class", True)
    config.only("pre_norm", False)
    config.only("reg_tokens", 0)
    config.only("class_token", True)
    config.only("global_pool", "token")
    config.only("fc_norm", None)
    return ViT(**timm_tower(config), prefix_positions=False)


class Tables(nn.Module):
    """What the case feeds, under names of its own."""

    THEIRS: ClassVar[dict[str, str]] = {
        "patches": "patch_embed.proj.weight",
        "positions": "pos_embed",
        "map_positions": "pos_embed_nhwc",
        "class_offsets": "relative_position_bias_table",
        "swin_offsets": "swin.relative_position_bias_table",
        "maxvit_offsets": "tf.relative_position_bias_table",
    }
    layouts: ClassVar[dict[str, KeyMap]] = {"timm": tuple(Rule(theirs, ours) for ours, theirs in THEIRS.items())}

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        for ours, theirs in self.THEIRS.items():
            self.register_buffer(ours, torch.zeros(shapes[theirs]))


def positions(model: Any, size: tuple[int, int]) -> Tensor:
    part = LearnedPosition(model.positions.shape[2], size, num_prefix=1, resize=ANTIALIASED).double()
    return part.resized(model.positions, part.grids_of(model.positions)[0])


def map_positions(model: Any, size: tuple[int, int]) -> Tensor:
    table = rearrange(model.map_positions, "b h w c -> b c h w")
    return rearrange(ANTIALIASED(table, size), "b c h w -> b h w c")


def offsets(table: Tensor, side: int, resize: Any = resize_offsets_as_beit) -> Tensor:
    bias = RelativeBias(table.shape[1], side, resize=resize).double()
    return bias.resized(table, bias.grids_of(table)[0])


def class_offsets(model: Any, case: Case, side: int) -> Tensor:
    return torch.cat([offsets(model.class_offsets[:-3], side), model.class_offsets[-3:]])


def by_sides(name: str, made: Callable[[Any, tuple[int, int]], Tensor]) -> dict[str, Output]:
    """One output for each size, such as ``pos_3x5``."""

    def of(size: tuple[int, int]) -> Output:
        return lambda model, case: made(model, size)

    return {f"{name}_{rows}x{columns}": of((rows, columns)) for rows in range(1, 33) for columns in range(1, 33)}


def maxvit_offsets(model: Any, case: Case, side: int) -> Tensor:
    return resize_offsets_as_beit(model.maxvit_offsets[None], (2 * side - 1, 2 * side - 1))[0]


BUILDERS = {
    ("FlexiViT", "timm"): Builder(flexivit),
    ("resizing rules", "timm"): Builder(
        lambda config: Tables(config.shapes),
        {
            **by_sides("patch", lambda model, size: resample_patches(model.patches, size)),
            **by_sides("pos", positions),
            **by_sides("pos_nhwc", map_positions),
            "rel_beit_{}": class_offsets,
            "rel_swin_{}": lambda model, case, side: offsets(model.swin_offsets, side),
            "rel_simple_{}": lambda model, case, side: offsets(model.swin_offsets, side, resize_table),
            "rel_maxvit_{}": maxvit_offsets,
        },
    ),
}
