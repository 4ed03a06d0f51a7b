"""PiT, with and without a distillation token."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tests.golden.builders.deit import HEADS
from tests.golden.case import Case
from tests.golden.check import Builder
from vitblocks import DistillablePiT, PiT
from vitblocks.grid import split_prefix, to_map


def sizes(config: dict[str, Any]) -> dict[str, Any]:
    """The first stage's sizes; the case's own double from stage to stage as ours do."""
    dims = [base * heads for base, heads in zip(config["base_dims"], config["heads"], strict=True)]
    assert dims == [dims[0] * 2**i for i in range(len(dims))]
    return {
        "image_size": config.get("img_size", config.get("image_size")),
        "patch_size": config["patch_size"],
        "stride": config["stride"],
        "num_classes": config["num_classes"],
        "dim": dims[0],
        "depth": config["depth"],
        "heads": config["heads"][0],
        "mlp_dim": dims[0] * config["mlp_ratio"],
    }


def pit(config: dict[str, Any]) -> PiT:
    return PiT(**sizes(config))


def distilled(config: dict[str, Any]) -> DistillablePiT:
    return DistillablePiT(**sizes(config))


def last_map(model: PiT, case: Case) -> Tensor:
    x, grid = model.forward_stages(case.input)[-1]
    return to_map(split_prefix(x, grid)[1], grid)[:, :8]


BUILDERS = {
    "pit": Builder(pit),
    "pit_distilled": Builder(distilled, HEADS),
    "pit_official": Builder(pit, {"map": last_map}),
    "pit_distilled_official": Builder(
        distilled, {"map": last_map, "features": lambda model, case: model.forward_features(case.input)[:, 0]}
    ),
}
