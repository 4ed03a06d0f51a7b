"""Twins-SVT and Twins-PCPVT."""

from __future__ import annotations

from typing import Any

from tests.golden.check import Builder
from vitblocks import TwinsPCPVT, TwinsSVT


def twins_svt(config: dict[str, Any]) -> TwinsSVT:
    """The reference counts blocks, we pairs of a local and a global one."""
    per_stage: dict[str, Any] = {}
    for i in range(4):
        per_stage |= {
            f"s{i + 1}_emb_dim": config["embed_dims"][i],
            f"s{i + 1}_patch_size": config["patch_size"] if i == 0 else 2,
            f"s{i + 1}_local_patch_size": config["wss"][i],
            f"s{i + 1}_global_k": config["sr_ratios"][i],
            f"s{i + 1}_depth": config["depths"][i] // 2,
        }
    return TwinsSVT(
        num_classes=config["num_classes"], heads=config["num_heads"], mlp_ratios=config["mlp_ratios"], **per_stage
    )


def twins_pcpvt(config: dict[str, Any]) -> TwinsPCPVT:
    return TwinsPCPVT(
        num_classes=config["num_classes"],
        dims=config["embed_dims"],
        depths=config["depths"],
        heads=config["num_heads"],
        patch_sizes=(config["patch_size"], 2, 2, 2),
        reductions=config["sr_ratios"],
        mlp_ratios=config["mlp_ratios"],
    )


BUILDERS = {
    **{("Twins-SVT", layout): Builder(twins_svt) for layout in ("timm", "official")},
    **{("Twins-PCPVT", layout): Builder(twins_pcpvt) for layout in ("timm", "official")},
}
