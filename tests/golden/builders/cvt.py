"""CvT."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tests.golden.case import Case
from tests.golden.check import Builder
from vitblocks import CvT
from vitblocks.feedforward import Activation, QuickGELU


def cvt(config: dict[str, Any], activation: Activation) -> CvT:
    """The same names in both references, but for their case. The class token is in the last stage alone, in every published model."""
    config = {name.lower(): value for name, value in config.items()}
    embed_dims = config["embed_dim" if "embed_dim" in config else "dim_embed"]
    patch_sizes = config["patch_sizes" if "patch_sizes" in config else "patch_size"]
    kernels = config["kernel_qkv"]
    assert config["cls_token"] == [False, False, True]
    assert config["stride_q"] == [1, 1, 1]
    assert config["padding_q"] == config["padding_kv"] == [kernel // 2 for kernel in kernels]
    per_stage: dict[str, Any] = {}
    for i in range(3):
        per_stage |= {
            f"s{i + 1}_emb_dim": embed_dims[i],
            f"s{i + 1}_emb_kernel": patch_sizes[i],
            f"s{i + 1}_emb_stride": config["patch_stride"][i],
            f"s{i + 1}_proj_kernel": kernels[i],
            f"s{i + 1}_kv_proj_stride": config["stride_kv"][i],
            f"s{i + 1}_heads": config["num_heads"][i],
            f"s{i + 1}_depth": config["depth"][i],
            f"s{i + 1}_mlp_mult": config["mlp_ratio"][i],
        }
    return CvT(num_classes=config["num_classes"], qkv_bias=all(config["qkv_bias"]), activation=activation, **per_stage)


def last_map(model: Any, case: Case) -> Tensor:
    return model.feature_maps(case.input)[-1].map[:, :8, :3, :3]


BUILDERS = {
    ("CvT", "hf"): Builder(lambda config: cvt(config, nn.GELU)),
    ("CvT", "official"): Builder(lambda config: cvt(config, QuickGELU), {"map": last_map}),
}
