"""Twins-SVT and Twins-PCPVT."""

from __future__ import annotations

from typing import Any

from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import TwinsPCPVT, TwinsSVT

STAGES = 4


def common(config: Config) -> None:
    """The references take any image: ``img_size`` gives a number of patches there that nobody reads."""
    config.unaffected_by("img_size")
    config.only("qk_scale", None)
    config.only("global_pool", "avg")


def twins_svt(config: Config) -> TwinsSVT:
    """Where windows do not divide a map, timm attends to the padding, and the authors' code fails."""
    common(config)
    windows, reductions = config.each("wss", STAGES), config.each("sr_ratios", STAGES)
    if 1 in windows:
        raise config.refuse("wss", "with a window of 1 every block there attends globally")
    per_stage: dict[str, Any] = {}
    for i, dim in enumerate(config.each("embed_dims", STAGES)):
        per_stage |= {
            f"s{i + 1}_emb_dim": dim,
            f"s{i + 1}_patch_size": config["patch_size"] if i == 0 else 2,
            f"s{i + 1}_local_patch_size": windows[i],
            f"s{i + 1}_global_k": reductions[i],
        }
    return TwinsSVT(
        num_classes=config["num_classes"],
        channels=config.get("in_chans", 3),
        heads=config.each("num_heads", STAGES),
        mlp_ratios=config.each("mlp_ratios", STAGES),
        depths=config.each("depths", STAGES),
        qkv_bias=config.get("qkv_bias", True),
        padding="attended",
        **per_stage,
    )


def twins_pcpvt(config: Config) -> TwinsPCPVT:
    """timm's has no windows."""
    common(config)
    config.only("wss", None)
    stages = len(config["depths"])
    return TwinsPCPVT(
        num_classes=config["num_classes"],
        channels=config.get("in_chans", 3),
        dims=config["embed_dims"],
        depths=config["depths"],
        heads=config["num_heads"],
        patch_sizes=(config["patch_size"], *[2] * (stages - 1)),
        reductions=config["sr_ratios"],
        mlp_ratios=config["mlp_ratios"],
        qkv_bias=config.get("qkv_bias", True),
    )


BUILDERS = {
    **{("Twins-SVT", layout): Builder(twins_svt) for layout in ("timm", "official")},
    **{("Twins-PCPVT", layout): Builder(twins_pcpvt) for layout in ("timm", "official")},
}
