"""How other libraries' MobileViT is read. timm's is a ByobNet like many others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ...border import Origin, activation_of, rate_of, refuse_unless, timm, transformers
from ...embed.inverted_residual import make_divisible
from ...grid import to_pair
from ...norm import layer_norm
from .layouts import hf_mobile_vit

if TYPE_CHECKING:
    from ...model import Model

_INVERTED, _FUSION = "BottleneckBlock", "MobileVitBlock"


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's ByobNet of five stages of inverted residuals, where the last three end in a block of MobileViT, not of its second version."""
    refuse_unless(len(module.stages) == 5, module, "number of its stages", len(module.stages))
    inverted = [timm.named(f"stages.{s}", [*stage][: -1 if s > 1 else None]) for s, stage in enumerate(module.stages)]
    fusions = {f"stages.{s}.{len(stage) - 1}": stage[-1] for s, stage in enumerate(module.stages) if s > 1}
    for name, block in (*(item for stage in inverted for item in stage.items()), *fusions.items()):
        _check(module, name, block, _FUSION if name in fusions else _INVERTED)
    timm.refuse_batch_norms(module)
    _check_activations(module)
    about = getattr(module, "pretrained_cfg", None) or {}
    model = build(
        **_transformers(module, fusions),
        image_size=tuple(about.get("input_size", (3, 256, 256))[1:]),
        num_classes=timm.classifier_head(module, dropout=True),
        head_dropout=rate_of(module.head.drop),
        image_channels=module.stem.conv.in_channels,
        channels=_channels(module, inverted, fusions),
        repeats=[len(stage) for stage in inverted],
        expansion=[_expansion(module, stage) for stage in inverted],
        kernel_size=module.stages[2][-1].conv_kxk.conv.kernel_size[0],
        patch_sizes=[block.patch_size for block in fusions.values()],
    )
    _check_convolutions(module, model, "final_conv.conv")
    return model


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' MobileViTForImageClassification, or its MobileViTModel: the mean of the last map. It takes every size."""
    base, layers = module.base_model, module.base_model.encoder.layer
    timm.refuse_batch_norms(module)
    for name, part in module.named_modules():
        for theirs in (getattr(part, "activation", None), getattr(part, "intermediate_act_fn", None)):
            refuse_unless(theirs is None or activation_of(theirs) is nn.SiLU, module, f"activation of {name}", theirs)
    inverted = [
        *(timm.named(f"layer.{s}.layer", layers[s].layer) for s in range(2)),
        *({f"layer.{s}.downsampling_layer": layers[s].downsampling_layer} for s in range(2, 5)),
    ]
    outs = [[block.reduce_1x1.convolution.out_channels for block in stage.values()] for stage in inverted]
    expanded = getattr(base, "conv_1x1_exp", None)
    last = layers[4].fusion.convolution.out_channels
    model = build(
        **_hf_transformers(module, layers[2:]),
        image_size=to_pair(module.config.image_size, "image_size"),
        num_classes=0 if base is module else transformers.classes(module, "classifier"),
        head_dropout=0.0 if base is module else rate_of(module.dropout),
        image_channels=base.conv_stem.convolution.in_channels,
        channels=[
            base.conv_stem.convolution.out_channels,
            *(outs[0][-1], outs[1][0], outs[1][-1]),
            *(
                c
                for own, layer in zip(outs[2:], layers[2:], strict=True)
                for c in (own[-1], layer.fusion.convolution.out_channels)
            ),
            last if expanded is None else expanded.convolution.out_channels,
        ],
        repeats=[len(stage) for stage in inverted],
        expansion=[_expansion(module, stage, "expand_1x1.convolution") for stage in inverted],
        kernel_size=layers[2].conv_kxk.convolution.kernel_size[0],
        patch_sizes=[(layer.patch_height, layer.patch_width) for layer in layers[2:]],
    )
    prefix = "" if base is module else f"{base.base_model_prefix}."
    _check_convolutions(module, model, None if expanded is None else f"{prefix}conv_1x1_exp.convolution")
    if expanded is None:
        model.norm = nn.Identity()
    return transformers.without_inner_dropout(model)


def _sizes(
    stages: Sequence[timm.Blocks], settings: Mapping[str, Any], each: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """The keywords for transformers of which ``settings`` are shared, and ``each`` are those of a stage."""
    return {
        "dims": each["dim"],
        "heads": each["heads"],
        "mlp_dims": each["mlp_dim"],
        "depths": [len(stage) for stage in stages],
        "dropout": settings["dropout"],
        "attn_dropout": settings["attn_dropout"],
    }


def _hf_transformers(module: Any, layers: Any) -> dict[str, Any]:
    """The keywords for the transformers within the last three layers."""
    stages = [timm.named(f"layer.{s}.transformer.layer", x.transformer.layer) for s, x in enumerate(layers, start=2)]
    settings, each = timm.by_stage(module, stages, _hf_layer, own=("dim", "heads", "mlp_dim"))
    norms = {f"layer.{s}.layernorm": layer.layernorm for s, layer in enumerate(layers, start=2)}
    norm = timm.same_norm(module, {"first": layers[0].transformer.layer[0].layernorm_before, **norms})
    fixed = {"norm": norm, "qkv_bias": settings["qkv_bias"]}
    refuse_unless(
        repr(fixed) == repr({"norm": layer_norm(1e-5), "qkv_bias": True}), module, "settings of its transformers", fixed
    )
    return _sizes(stages, settings, each)


_HF_ATTENTION = {"q": "attention.query", "k": "attention.key", "v": "attention.value", "o": "output.dense"}


def _hf_layer(module: Any, name: str, theirs: Any) -> dict[str, Any]:
    settings = transformers.attention(module, f"{name}.attention", theirs.attention, _HF_ATTENTION)
    up, rates = theirs.intermediate.dense, (rate_of(theirs.attention.output.dropout), rate_of(theirs.output.dropout))
    refuse_unless(up.bias is not None and theirs.output.dense.bias is not None, module, f"biases of {name}", None)
    refuse_unless(rates[0] == rates[1], module, f"drop rates of {name}", rates)
    norms = {f"{name}.{key}": getattr(theirs, key) for key in ("layernorm_before", "layernorm_after")}
    return {
        "dim": settings["dim"],
        "qkv_bias": settings["qkv_bias"],
        "heads": theirs.attention.attention.num_attention_heads,
        "head_dim": theirs.attention.attention.attention_head_size,
        "mlp_dim": up.out_features,
        "dropout": rates[0],
        "attn_dropout": rate_of(theirs.attention.attention.dropout),
        "norm": timm.same_norm(module, norms),
    }


def _hf_features(module: Any, images: Tensor) -> Tensor:
    output = module(images)
    return output.last_hidden_state.mean((2, 3)) if output.pooler_output is None else output.pooler_output


def _transformers(module: Any, fusions: timm.Blocks) -> dict[str, Any]:
    """The keywords for the transformers within the last blocks of the last three stages."""
    stages = [timm.named(f"{name}.transformer", block.transformer) for name, block in fusions.items()]
    settings, each = timm.by_stage(module, stages, timm.block, own=("dim", "heads", "mlp_dim"))
    norms = {f"{name}.norm": block.norm for name, block in fusions.items()}
    norm = timm.same_norm(module, {"transformer.0.norm1": next(iter(stages[0].values())).norm1, **norms})
    fixed = {"norm": norm, "activation": settings["activation"], "qkv_bias": settings["qkv_bias"]}
    wanted = {"norm": layer_norm(1e-5), "activation": nn.SiLU, "qkv_bias": True}
    refuse_unless(repr(fixed) == repr(wanted), module, "settings of its transformers", fixed)
    rates = {timm.drop_rates(module, name, block) for stage in stages for name, block in stage.items()}
    refuse_unless(len(rates) == 1, module, "drop path rates of its transformers", rates)
    return {**_sizes(stages, settings, each), "drop_path": rates.pop()}


def _channels(module: Any, inverted: Sequence[timm.Blocks], fusions: timm.Blocks) -> list[int]:
    """The channels after the stem, every change of a stage, and the last convolution."""
    outs = [[block.conv3_1x1.conv.out_channels for block in stage.values()] for stage in inverted]
    stages = [
        [own[-1], block.conv_fusion.conv.out_channels] for own, block in zip(outs[2:], fusions.values(), strict=True)
    ]
    first = [module.stem.conv.out_channels, outs[0][-1], outs[1][0], outs[1][-1]]
    return [*first, *(channels for stage in stages for channels in stage), module.final_conv.conv.out_channels]


def _check(module: Any, name: str, block: Any, kind: str) -> None:
    refuse_unless(type(block).__name__ == kind, module, name, type(block).__name__)
    if kind == _FUSION:
        refuse_unless(block.conv_fusion is not None, module, f"{name}.conv_fusion", None)
        return
    for part in ("shortcut", "conv2b_kxk", "attn", "attn_last", "act"):
        timm.refuse_identity(module, f"{name}.{part}", getattr(block, part))
    timm.refuse_rate(module, f"{name}.drop_path", block.drop_path)


def _check_activations(module: Any) -> None:
    """SiLU after every convolution but the last of an inverted residual, and no DropBlock."""
    norms: dict[str, Any] = {name: norm for name, norm in module.named_modules() if isinstance(norm, nn.BatchNorm2d)}
    for name, norm in norms.items():
        wanted = nn.Identity if name.endswith("conv3_1x1.bn") else nn.SiLU
        refuse_unless(activation_of(norm.act) is wanted, module, f"{name}.act", norm.act)
        timm.refuse_identity(module, f"{name}.drop", norm.drop)


def _expansion(module: Any, stage: timm.Blocks, name: str = "conv1_1x1.conv") -> float:
    """Hidden channels over channels in, one number for all blocks of a stage, whose first convolution has a name."""
    first = [block.get_submodule(name) for block in stage.values()]
    sizes = [(conv.in_channels, conv.out_channels) for conv in first]
    for ratio in (hidden / channels for channels, hidden in sizes):
        if all(make_divisible(channels * ratio) == hidden for channels, hidden in sizes):
            return float(ratio)
    refuse_unless(False, module, f"hidden channels of {', '.join(stage)}", sizes)
    return 0.0


def _check_convolutions(module: Any, model: nn.Module, pointwise: str | None) -> None:
    """Every convolution must be as ours: kernel, stride, padding, dilation, groups and bias; the last is a Linear here."""
    ours = [conv for conv in model.modules() if isinstance(conv, nn.Conv2d)]
    theirs = {name: conv for name, conv in module.named_modules() if isinstance(conv, nn.Conv2d)}
    if pointwise is not None:
        last = theirs.pop(pointwise)
        refuse_unless((last.kernel_size, last.bias) == ((1, 1), None), module, pointwise, last)
    for own, (name, conv) in zip(ours, theirs.items(), strict=True):
        refuse_unless(repr(own.extra_repr()) == repr(conv.extra_repr()), module, name, conv)


_HF = "transformers.models.mobilevit.modeling_mobilevit"

ORIGINS = {
    "timm.models.byobnet.ByobNet": Origin("timm", read_timm),
    f"{_HF}.MobileViTModel": Origin(hf_mobile_vit(""), read_hf, _hf_features),
    f"{_HF}.MobileViTForImageClassification": Origin(hf_mobile_vit("mobilevit."), read_hf, transformers.logits),
}
