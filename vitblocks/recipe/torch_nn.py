"""The classes of torch.nn that a description may name, and the arguments of their instances."""

from __future__ import annotations

from functools import cache
from inspect import signature
from typing import Any

import torch.nn.functional as F
from torch import nn

from ..fast.extend import plain_type

_CONV = "in_channels out_channels kernel_size stride padding dilation groups bias padding_mode"
_CONV_TRANSPOSE = "in_channels out_channels kernel_size stride padding output_padding groups bias dilation padding_mode"
_BATCH_NORM = "num_features eps momentum affine track_running_stats"
_MAX_POOL = "kernel_size stride padding dilation return_indices ceil_mode"
_AVG_POOL = "kernel_size stride padding ceil_mode count_include_pad"

_ARGUMENTS: dict[str, str] = {
    "Linear": "in_features out_features bias",
    "Bilinear": "in1_features in2_features out_features bias",
    "Embedding": "num_embeddings embedding_dim padding_idx",
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d"), _CONV),
    **dict.fromkeys(("ConvTranspose1d", "ConvTranspose2d"), _CONV_TRANSPOSE),
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"), _BATCH_NORM),
    **dict.fromkeys(("InstanceNorm1d", "InstanceNorm2d"), _BATCH_NORM),
    "LayerNorm": "normalized_shape eps elementwise_affine bias",
    "RMSNorm": "normalized_shape eps elementwise_affine",
    "GroupNorm": "num_groups num_channels eps affine",
    "LocalResponseNorm": "size alpha beta k",
    **dict.fromkeys(("Dropout", "Dropout1d", "Dropout2d", "AlphaDropout"), "p inplace"),
    **dict.fromkeys(("ReLU", "ReLU6", "SiLU", "Mish", "SELU", "Hardswish", "Hardsigmoid"), "inplace"),
    **dict.fromkeys(("CELU", "ELU"), "alpha inplace"),
    "GELU": "approximate",
    "LeakyReLU": "negative_slope inplace",
    "PReLU": "num_parameters",
    "Hardtanh": "min_val max_val inplace",
    "Softplus": "beta threshold",
    **dict.fromkeys(("Softmax", "LogSoftmax"), "dim"),
    "GLU": "dim",
    **dict.fromkeys(("Identity", "Sigmoid", "LogSigmoid", "Tanh", "Softsign"), ""),
    **dict.fromkeys(("MaxPool1d", "MaxPool2d"), _MAX_POOL),
    "AvgPool1d": "kernel_size stride padding ceil_mode count_include_pad",
    "AvgPool2d": f"{_AVG_POOL} divisor_override",
    **dict.fromkeys(("AdaptiveAvgPool1d", "AdaptiveAvgPool2d"), "output_size"),
    **dict.fromkeys(("AdaptiveMaxPool1d", "AdaptiveMaxPool2d"), "output_size return_indices"),
    "Flatten": "start_dim end_dim",
    "Unflatten": "dim unflattened_size",
    "Upsample": "size scale_factor mode align_corners recompute_scale_factor",
    **dict.fromkeys(("PixelShuffle",), "upscale_factor"),
    **dict.fromkeys(("PixelUnshuffle",), "downscale_factor"),
    **dict.fromkeys(("ZeroPad2d", "ReflectionPad2d", "ReplicationPad2d"), "padding"),
    "ConstantPad2d": "padding value",
    "Unfold": "kernel_size dilation padding stride",
    "Fold": "output_size kernel_size dilation padding stride",
    "MultiheadAttention": "embed_dim num_heads dropout bias add_bias_kv add_zero_attn kdim vdim batch_first",
    "TransformerEncoderLayer": "d_model nhead dim_feedforward dropout activation layer_norm_eps batch_first norm_first bias",
    "TransformerEncoder": "encoder_layer num_layers norm enable_nested_tensor",
}

CONTAINERS: dict[str, Any] = {f"nn.{kind.__name__}": kind for kind in (nn.Sequential, nn.ModuleList, nn.ModuleDict)}
"""Classes whose arguments are their children, by name."""

CLASSES: dict[str, Any] = {**{f"nn.{name}": getattr(nn, name) for name in _ARGUMENTS}, **CONTAINERS}
NAME_OF: dict[type, str] = {kind: name for name, kind in CLASSES.items()}


def torch_arguments(module: nn.Module) -> dict[str, Any]:
    """The arguments that make a module of a listed class that is no container, those of their defaults left out."""
    kind = plain_type(type(module))
    found = {name: _argument(module, name) for name in _ARGUMENTS[kind.__name__].split()}
    defaults = _defaults(kind.__name__)
    return {
        name: value
        for name, value in found.items()
        if type(value) is not type(defaults[name]) or value != defaults[name]
    }


@cache
def _defaults(kind: str) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in signature(getattr(nn, kind)).parameters.items()}


def _argument(module: Any, name: str) -> Any:
    if isinstance(module, nn.TransformerEncoderLayer):
        return _of_encoder_layer(module, name)
    if isinstance(module, nn.MultiheadAttention):
        special = {"bias": module.in_proj_bias is not None, "add_bias_kv": module.bias_k is not None}
        if name in special:
            return special[name]
        if name in ("kdim", "vdim"):
            return None if getattr(module, name) == module.embed_dim else getattr(module, name)
    if name == "encoder_layer":
        return module.layers[0]
    if name == "bias":
        return module.bias is not None
    value = getattr(module, name)
    # PyTorch spells an int out for every side: one that says the same reads better.
    if isinstance(value, tuple) and name in ("kernel_size", "stride", "padding", "dilation") and len(set(value)) == 1:
        return value[0]
    if name == "normalized_shape" and len(value) == 1:
        return value[0]
    return value


def _of_encoder_layer(layer: Any, name: str) -> Any:
    found = {
        "d_model": layer.self_attn.embed_dim,
        "nhead": layer.self_attn.num_heads,
        "dim_feedforward": layer.linear1.out_features,
        "dropout": layer.dropout.p,
        "activation": {F.relu: "relu", F.gelu: "gelu"}.get(layer.activation, layer.activation),
        "layer_norm_eps": layer.norm1.eps,
        "batch_first": layer.self_attn.batch_first,
        "norm_first": layer.norm_first,
        "bias": layer.linear1.bias is not None,
    }
    return found[name]
