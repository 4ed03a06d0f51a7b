"""transformers' configs of CvT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from ...border.configs import Config, classes_of, require

if TYPE_CHECKING:
    from .model import CvT

_EACH: dict[str, tuple[str, tuple[float, float, float]]] = {
    "emb_dim": ("embed_dim", (64, 192, 384)),
    "emb_kernel": ("patch_sizes", (7, 3, 3)),
    "emb_stride": ("patch_stride", (4, 2, 2)),
    "emb_padding": ("patch_padding", (2, 1, 1)),
    "heads": ("num_heads", (1, 3, 6)),
    "depth": ("depth", (1, 2, 10)),
    "mlp_mult": ("mlp_ratio", (4.0, 4.0, 4.0)),
    "proj_kernel": ("kernel_qkv", (3, 3, 3)),
    "kv_proj_stride": ("stride_kv", (2, 2, 2)),
    "kv_proj_padding": ("padding_kv", (1, 1, 1)),
}
"""Our keywords after ``s1_``, and what is one number for each stage there, with its default."""


def classifier(config: Config) -> CvT:
    """CvtForImageClassification, with transformers' defaults; dropout is left out, which is for training."""
    return _cvt(config, classes_of(config))


def base(config: Config) -> CvT:
    """CvtModel, which has no last norm: the class token, or the mean of all patches."""
    model = _cvt(config, 0)
    model.norm = nn.Identity()
    return model


def _cvt(config: Config, num_classes: int) -> CvT:
    """Raises ValueError for another number of stages, and for what no part has: see :func:`~vitblocks.zoo.cvt.origins.read_hf`."""
    from .model import CvT

    kernels = _three(config, "kernel_qkv", (3, 3, 3))
    require(
        config, stride_q=[1, 1, 1], padding_q=[kernel // 2 for kernel in kernels], qkv_projection_method=["dw_bn"] * 3
    )
    tokens = _three(config, "cls_token", (False, False, True))
    if any(tokens[:2]):
        raise ValueError(f"cls_token must be False but for the last stage, got {tokens}")
    sizes: dict[str, Any] = {
        f"s{s}_{ours}": value
        for ours, (theirs, default) in _EACH.items()
        for s, value in enumerate(_three(config, theirs, default), 1)
    }
    return CvT(
        **sizes,
        num_classes=num_classes,
        channels=config.get("num_channels", 3),
        qkv_bias=_three(config, "qkv_bias", (True, True, True)),
        pool="cls" if tokens[2] else "mean",
        activation=nn.GELU,
    )


def _three(config: Config, name: str, default: tuple[Any, ...]) -> list[Any]:
    value = config.get(name, default)
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise ValueError(f"{name} must be a list of one for each of 3 stages, got {value!r:.100}")
    return [*value]


CONFIGS = {"CvtForImageClassification": classifier, "CvtModel": base}
