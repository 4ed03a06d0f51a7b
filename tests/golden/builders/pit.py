"""PiT, with and without a distillation token."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from tests.golden.builders.deit import HEADS
from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import DistillablePiT, PiT
from vitblocks.grid import split_prefix, to_map


def sizes(config: Config, size: str) -> dict[str, Any]:
    """``size`` is what a reference calls the size of the image. Theirs is the width of a head, ours that of all heads of a stage."""
    stages, heads = len(config["depth"]), config["heads"]
    if len(heads) != stages:
        raise config.refuse("heads", f"there are {stages} stages")
    dims = [base * count for base, count in zip(config.each("base_dims", stages), heads, strict=True)]
    return {
        "image_size": config[size],
        "patch_size": config["patch_size"],
        "stride": config["stride"],
        "num_classes": config["num_classes"],
        "channels": config.get("in_chans", 3),
        "dim": dims,
        "depth": config["depth"],
        "heads": heads,
        "mlp_dim": [int(dim * config["mlp_ratio"]) for dim in dims],
    }


def timm(config: Config) -> PiT:
    config.only("stem_type", "overlap")
    config.only("global_pool", "token")
    kind = DistillablePiT if config.get("distilled", False) else PiT
    return kind(**sizes(config, "img_size"))


def official(config: Config, kind: type[PiT]) -> PiT:
    return kind(**sizes(config, "image_size"))


def last_map(model: PiT, case: Case) -> Tensor:
    x, grid = model.forward_stages(case.input)[-1]
    return to_map(split_prefix(x, grid)[1], grid)[:, :8]


def first_token(model: PiT, case: Case) -> Tensor:
    return model.forward_features(case.input)[:, 0]


BUILDERS: dict[tuple[str, ...], Builder] = {
    ("PiT", "timm"): Builder(timm, HEADS),
    ("PiT", "official", r"\bPoolingTransformer\b"): Builder(partial(official, kind=PiT), {"map": last_map}),
    ("PiT", "official", r"\bDistilledPoolingTransformer\b"): Builder(
        partial(official, kind=DistillablePiT), {**HEADS, "map": last_map, "features": first_token}
    ),
}
