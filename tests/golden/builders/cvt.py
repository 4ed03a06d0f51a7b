"""CvT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import CvT
from vitblocks.feedforward import Activation, QuickGELU

STAGES = 3


def cvt(config: Config, activation: Activation, name: Callable[[str], str]) -> CvT:
    """``name`` is what a reference calls what Hugging Face calls so.

    In both references the queries' convolution must keep the map, because what is made of them is added to it. The class token may be
    in the last stage: in another one it would be dropped after it.
    """

    def each(key: str, default: Any = None) -> list[Any]:
        return config.each(name(key), STAGES, default)

    if any(each("cls_token")[:-1]):
        raise config.refuse(name("cls_token"), "our model has a class token in the last stage or none")
    if set(each("qkv_projection_method", "dw_bn")) != {"dw_bn"}:
        raise config.refuse(name("qkv_projection_method"), "our model has depthwise convolutions with BatchNorm")
    kernels = each("kernel_qkv")
    if each("stride_q") != [1] * STAGES:
        raise config.refuse(name("stride_q"), "queries must keep the map")
    if each("padding_q") != [(kernel - 1) / 2 for kernel in kernels]:
        raise config.refuse(name("padding_q"), f"queries must keep the map, with kernels of {kernels}")
    per_stage: dict[str, Any] = {}
    for ours, values in {
        "emb_dim": each("embed_dim"),
        "emb_kernel": each("patch_sizes"),
        "emb_stride": each("patch_stride"),
        "emb_padding": each("patch_padding"),
        "proj_kernel": kernels,
        "kv_proj_stride": each("stride_kv"),
        "kv_proj_padding": each("padding_kv"),
        "heads": each("num_heads"),
        "depth": each("depth"),
        "mlp_mult": each("mlp_ratio"),
    }.items():
        per_stage |= {f"s{i + 1}_{ours}": value for i, value in enumerate(values)}
    return CvT(
        num_classes=config["num_classes"],
        channels=config.get(name("num_channels"), 3),
        qkv_bias=each("qkv_bias"),
        activation=activation,
        pool="cls" if each("cls_token")[-1] else "mean",
        **per_stage,
    )


def hf(config: Config) -> CvT:
    config.unaffected_by("layer_norm_eps")  # it is not used there: its norms have PyTorch's own
    config.unaffected_by("attention_drop_rate")
    return cvt(config, nn.GELU, lambda name: name)


def official(config: Config) -> CvT:
    """The authors' yaml files have the same in capitals, some of it by another name."""
    config.only("NUM_STAGES", STAGES)
    config.unaffected_by("DROP_RATE", "ATTN_DROP_RATE", "DROP_PATH_RATE", "INIT")
    names = {
        "embed_dim": "DIM_EMBED",
        "patch_sizes": "PATCH_SIZE",
        "qkv_projection_method": "QKV_PROJ_METHOD",
        "num_channels": "in_chans",
    }
    return cvt(config, QuickGELU, lambda name: names.get(name, name.upper()))


def last_map(model: Any, case: Case) -> Tensor:
    return model.feature_maps(case.input)[-1].map[:, :8, :3, :3]


BUILDERS = {("CvT", "hf"): Builder(hf), ("CvT", "official"): Builder(official, {"map": last_map})}
