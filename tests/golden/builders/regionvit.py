"""RegionViT."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder
from vitblocks import RegionViT
from vitblocks.grid import split_prefix, to_map


def regionvit(config: dict[str, Any], *, carry_padding: bool = False) -> RegionViT:
    return RegionViT(
        dim=config["embed_dim"][1:],
        depth=config["depth"],
        window_size=config["kernel_sizes"][0],
        num_classes=config["num_classes"],
        tokenize_local_3_conv=config["patch_conv_type"] == "3conv",
        use_peg=config.get("peg", False),
        heads=config["num_heads"],
        mlp_ratio=config["mlp_ratio"],
        carry_padding=carry_padding,
    )


def regional(model: Any, case: Case) -> Tensor:
    """The regional tokens of the last stage, of which every case has one."""
    x, grid = model.forward_stages(case.input)[-1]
    return to_map(split_prefix(x, grid)[0], (1, 1))[:, :8]


def local(model: Any, case: Case) -> Tensor:
    return model.feature_maps(case.input)[-1].map[:, :6, :3, :3]


_OUTPUTS = {"regional": regional, "local": local}

BUILDERS: dict[str | tuple[str, str], Builder] = {
    ("RegionViT", "official"): Builder(regionvit, _OUTPUTS),
    # Recorded with windows that do not fit the map, which the authors' code masks wrongly.
    "regionvit_pad": Builder(partial(regionvit, carry_padding=True), _OUTPUTS),
}
