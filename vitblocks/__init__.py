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
        "CarriedPadding",
        "CarryPadding",
        "ClassAttention",
        "ConvProjectionAttention",
        "DilatedWindowAttention",
        "DilatedWindows",
        "DownsamplingAttention",
        "DropPadding",
        "GlobalAttention",
        "Interleaved",
        "KernelAttend",
        "LocalWindowAttention",
        "LongDistanceWindows",
        "PaddedRegionalAttention",
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
        "RegionalBlock",
        "RescaledBlock",
    ),
    "ejection": ("eject",),
    "embed": (
        "BlockAggregation",
        "CompactStem",
        "ConvDownsample",
        "ConvEmbed",
        "ConvStem",
        "CrossScaleConv",
        "Downsample",
        "DownsampleBothMaps",
        "InvertedResidual",
        "LinearEmbed",
        "MapEmbed",
        "OnBothMaps",
        "OnMap",
        "OnSequence",
        "PatchMerging",
        "PatchStem",
        "PoolingDownsample",
        "RegionalEmbed",
        "Rescale",
        "SameMaxPool2d",
        "ThreeConvStem",
        "TokenTransformer",
        "Unfold",
        "UnfoldEmbed",
        "token_performer",
    ),
    "feedforward": ("ConvFeedForward", "EfficientChannelAttention", "GatedMlp", "Mlp", "QuickGELU", "SqueezeExcite"),
    "inspect": (
        "AttentionRecord",
        "AttentionRecords",
        "Extractor",
        "LayerSummary",
        "Recorder",
        "Summary",
        "TokenRecord",
        "attention_rollout",
        "capture",
        "class_attention_map",
        "extract",
        "gradient_rollout",
        "record_attention",
        "summary",
    ),
    "fusion": ("Fused", "FusionReport", "fuse"),
    "head": ("AveragedHeads", "linear_head", "norm_head"),
    "linear": ("Linear", "with_torch_linears"),
    "model": ("FeatureMap", "Model", "Stage"),
    "multi_scale": ("ClassFusion", "MultiScaleBlock"),
    "norm": ("BatchNorm", "LayerNorm", "LinearNorm", "MapNorm", "RMSNorm", "layer_norm", "rms_norm"),
    "objectives": ("MAE", "MPP", "Dino", "DinoHead", "DistillWrapper", "SimMIM"),
    "pool": (
        "AdaptiveSampling",
        "AttentionPool",
        "ClassPool",
        "KeepPadding",
        "MeanPool",
        "PrefixMeanPool",
        "SampledBlock",
        "SequencePool",
        "TokenSampler",
        "TrimPadding",
    ),
    "position": (
        "PEG",
        "ClassRelativeBias",
        "CopiedBias",
        "DistanceBias",
        "DynamicBias",
        "LearnedPosition",
        "RelativeBias",
        "Rotary2d",
        "SinePosition1d",
        "SinePosition2d",
    ),
    "prefix": ("ClassToken", "PerToken"),
    "recipe": ("build", "describe"),
    "registry": ("create_model", "list_models", "list_parts", "part"),
    "residual": ("DropPath", "LayerScale", "Residual", "Shortcut", "drop_path_schedule"),
    "surgery": ("SwapReport", "swap", "swap_attention"),
    "zoo": (
        "ATSViT",
        "CCT",
        "CaiT",
        "CompactViT",
        "CrossFormer",
        "CrossViT",
        "CvT",
        "DeepViT",
        "DistillableEfficientViT",
        "DistillablePiT",
        "DistillableT2TViT",
        "DistillableViT",
        "EfficientViT",
        "LeViT",
        "LocalViT",
        "MobileViT",
        "NesT",
        "PiT",
        "RegionViT",
        "Swin",
        "T2TViT",
        "TwinsPCPVT",
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
