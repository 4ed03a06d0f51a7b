"""vitblocks: vision transformers from parts.

Layers are ``layer(x, grid) -> x``, models are lists of layers, and every attention kind fits every place. See docs/design.md.

Names load when they are first used, so that ``import vitblocks`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_MODULES: dict[str, tuple[str, ...]] = {
    "attention": (
        "Attend",
        "ClassAttention",
        "ConvProjectionAttention",
        "DilatedWindowAttention",
        "DilatedWindows",
        "DownsamplingAttention",
        "GlobalAttention",
        "Interleaved",
        "KernelAttend",
        "LocalWindowAttention",
        "ReAttend",
        "ReAttention",
        "ReducedAttention",
        "RegionalAttention",
        "ResizeToMultiple",
        "ShiftedWindows",
        "SmoothedSoftmaxAttend",
        "SoftmaxAttend",
        "TalkingHeadsAttend",
        "TalkingHeadsAttention",
        "WindowAttention",
        "Windows",
    ),
    "block": (
        "Block",
        "Chain",
        "ClassBlock",
        "CompactBlock",
        "ConvFusion",
        "ParallelBlock",
        "PostNormBlock",
        "RescaledBlock",
    ),
    "embed": (
        "BlockAggregation",
        "CompactStem",
        "ConvDownsample",
        "ConvEmbed",
        "ConvStem",
        "CrossScaleConv",
        "Downsample",
        "InvertedResidual",
        "LinearEmbed",
        "MapEmbed",
        "OnMap",
        "OnSequence",
        "PatchMerging",
        "PatchStem",
        "PoolingDownsample",
        "SameMaxPool2d",
        "TokenTransformer",
        "Unfold",
        "UnfoldEmbed",
        "token_performer",
    ),
    "feedforward": ("ConvFeedForward", "EfficientChannelAttention", "GatedMlp", "Mlp", "SqueezeExcite"),
    "inspect": ("LayerSummary", "Summary", "summary"),
    "head": ("AveragedHeads", "linear_head"),
    "model": ("FeatureMap", "Model", "Stage"),
    "norm": ("BatchNorm", "LayerNorm", "LinearNorm", "MapNorm", "RMSNorm", "layer_norm", "rms_norm"),
    "pool": (
        "AdaptiveSampling",
        "AttentionPool",
        "ClassPool",
        "MeanPool",
        "SampledBlock",
        "SequencePool",
        "TokenSampler",
        "TrimPadding",
    ),
    "position": (
        "PEG",
        "DistanceBias",
        "DynamicBias",
        "LearnedPosition",
        "RelativeBias",
        "Rotary2d",
        "SinePosition1d",
        "SinePosition2d",
    ),
    "prefix": ("ClassToken", "PerToken"),
    "registry": ("create_model", "list_models"),
    "residual": ("DropPath", "LayerScale", "Residual", "Shortcut", "drop_path_schedule"),
    "surgery": ("SwapReport", "swap_attention"),
    "zoo": (
        "DistillableEfficientViT",
        "DistillablePiT",
        "DistillableT2TViT",
        "DistillableViT",
        "EfficientViT",
        "PiT",
        "T2TViT",
        "CCT",
        "CaiT",
        "CompactViT",
        "DeepViT",
        "LocalViT",
        "MobileViT",
        "NesT",
        "Swin",
        "TwinsSVT",
        "ViT",
        "ViTLite",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
