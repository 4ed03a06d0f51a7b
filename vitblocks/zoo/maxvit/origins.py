"""How timm's MaxViT is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from ...border import Origin, activation_of, rate_of, refuse_unless, timm
from ...embed.inverted_residual import make_divisible
from ...position import LogSpacedBias
from ...residual import drop_path_schedule

if TYPE_CHECKING:
    from ...model import Model


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's MaxxVit of mobile convolutions and attention in windows and in grids; it takes sizes of whole windows."""
    blocks = {f"stages.{s}.blocks.{i}": b for s, stage in enumerate(module.stages) for i, b in enumerate(stage.blocks)}
    for name, block in blocks.items():
        refuse_unless(type(block).__name__ == "MaxxVitBlock", module, name, type(block).__name__)
        refuse_unless(block.attn_block is not None, module, f"{name}.attn_block", None)
    parts = {f"{name}.{part}": getattr(b, part) for name, b in blocks.items() for part in ("attn_block", "attn_grid")}
    settings = timm.alike(module, parts, _attention)
    convs = {f"{name}.conv": block.conv for name, block in blocks.items()}
    of_convs = timm.alike(module, convs, _convolution)
    same, first = of_convs["padding"] == "same", settings.pop("head_first")
    mirrored = settings.pop("mirrored")
    refuse_unless(first != same, module, "head_first with such a padding", first)
    refuse_unless(mirrored in (None, same), module, "rel_pos_type with such a padding", mirrored)
    dims = [stage.blocks[0].conv.conv3_1x1.out_channels for stage in module.stages]
    return build(
        **settings,
        **of_convs,
        **_stem(module, of_convs),
        **_widths(module, convs),
        **_head(module),
        image_size=module.img_size,
        dims=dims,
        depths=[len(stage.blocks) for stage in module.stages],
        mlp_ratio=timm.ratio(module, [stage.blocks[0].attn_grid.mlp.fc1.out_features for stage in module.stages], dims),
        drop_path=_drop_path(module, blocks),
    )


def _attention(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    """Of a block of attention, but for what differs from stage to stage."""
    attn = theirs.attn
    settings = timm.block(module, name, theirs, attentions=["AttentionCl"], kinds=["PartitionAttentionCl"])
    refuse_unless(attn.dim_head == settings["head_dim"], module, f"{name}.attn.dim_head", attn.dim_head)
    refuse_unless(settings["qkv_bias"] == (attn.proj.bias is not None), module, f"bias of {name}.attn.proj", None)
    for key in ("dim", "heads", "mlp_dim"):
        del settings[key]
    scale = getattr(theirs.ls1, "gamma", None)
    kind = type(attn.rel_pos).__name__
    refuse_unless(kind in ("RelPosBias", "RelPosBiasTf", "RelPosMlp"), module, f"{name}.attn.rel_pos", kind)
    bias = None
    if kind == "RelPosMlp":
        mlp = attn.rel_pos.mlp
        plain = (attn.rel_pos.mode, activation_of(mlp.act), mlp.fc2.bias is not None)
        refuse_unless(plain == ("cr", nn.ReLU, True), module, f"{name}.attn.rel_pos", plain)
        bias = partial(LogSpacedBias, mlp_dim=mlp.fc1.out_features, span=None, limit=None)
    return {
        **settings,
        "window": tuple(theirs.partition_size),
        "layer_scale": None if scale is None else 1.0,  # any: weights come with the rest
        "head_first": attn.head_first,
        "mirrored": None if bias else kind == "RelPosBiasTf",
        "bias_factory": bias,
    }


def _convolution(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    """Of a mobile convolution, but for its widths."""
    refuse_unless(type(theirs).__name__ == "MbConvBlock", module, name, type(theirs).__name__)
    conv, se = theirs.conv2_kxk, theirs.se
    timm.refuse_identity(module, f"{name}.pre_norm.act", theirs.pre_norm.act)
    timm.refuse_identity(module, f"{name}.down", theirs.down)
    timm.refuse_identity(module, f"{name}.se_early", theirs.se_early)
    refuse_unless(type(se).__name__ == "SEModule", module, f"{name}.se", type(se).__name__)
    timm.refuse_identity(module, f"{name}.se.bn", se.bn)
    refuse_unless(isinstance(se.gate, nn.Sigmoid) or type(se.gate).__name__ == "Sigmoid", module, f"{name}.se", se.gate)
    refuse_unless(theirs.conv1_1x1.stride == (1, 1), module, f"{name}.conv1_1x1.stride", theirs.conv1_1x1.stride)
    plain = (conv.groups, conv.dilation, conv.kernel_size[0]) == (conv.out_channels, (1, 1), conv.kernel_size[1])
    refuse_unless(plain, module, f"{name}.conv2_kxk", conv)
    if conv.stride == (2, 2):
        pool = theirs.shortcut.pool
        averaged = type(pool).__name__ in ("AvgPool2d", "AvgPool2dSame") and pool.kernel_size in (2, (2, 2))
        refuse_unless(averaged, module, f"{name}.shortcut.pool", pool)
    acts = {repr(activation_of(norm.act)) for norm in (theirs.norm1, theirs.norm2)}
    refuse_unless(len(acts) == 1, module, f"activations of {name}", acts)
    return {
        "kernel_size": conv.kernel_size[0],
        "conv_bias": theirs.conv3_1x1.bias is not None,
        "padding": _padding(module, name, conv),
        "conv_norm": _batch_norm(module, name, theirs.norm1),
        "conv_activation": activation_of(theirs.norm1.act),
        "squeeze_activation": activation_of(se.act),
    }


def _padding(module: Any, name: str, conv: Any) -> str:
    """As the stem's first convolution has it. Of a stride of 1 both ways are one, and timm has PyTorch's own."""
    same = type(module.stem.conv1).__name__ == "Conv2dSame"
    half = tuple(side // 2 for side in conv.kernel_size)
    is_same = type(conv).__name__ == "Conv2dSame"
    held = is_same == same if conv.stride != (1, 1) else not is_same
    refuse_unless(held and (is_same or conv.padding == half), module, f"padding of {name}", conv)
    return "same" if same else "symmetric"


def _batch_norm(module: nn.Module, name: str, norm: Any) -> Any:
    plain = isinstance(norm, nn.BatchNorm2d) and norm.momentum == 0.1 and norm.affine and norm.track_running_stats
    refuse_unless(plain, module, f"{name}.norm1", type(norm).__name__)
    return partial(nn.BatchNorm2d, eps=norm.eps)


def _stem(module: Any, of_convs: dict[str, Any]) -> dict[str, Any]:
    """The widths of the stem, which has the norms, the activation and the padding of the convolutions."""
    stem = module.stem
    found = {
        "padding": _padding(module, "stem.conv2", stem.conv2),
        "conv_norm": _batch_norm(module, "stem", stem.norm1),
        "conv_activation": activation_of(stem.norm1.act),
    }
    for name, value in found.items():
        refuse_unless(repr(value) == repr(of_convs[name]), module, f"{name} of stem", value)
    sides = (stem.conv1.kernel_size, stem.conv1.stride, stem.conv2.kernel_size, stem.conv2.stride)
    refuse_unless(sides == ((3, 3), (2, 2), (3, 3), (1, 1)), module, "stem", sides)
    return {
        "channels": stem.conv1.in_channels,
        "stem_dims": (stem.conv1.out_channels, stem.conv2.out_channels),
        "stem_bias": stem.conv1.bias is not None,
    }


def _widths(module: Any, convs: dict[str, Any]) -> dict[str, Any]:
    """By what the hidden widths of the mobile convolutions follow from the channels out, or else from those in."""
    hidden = [conv.conv1_1x1.out_channels for conv in convs.values()]
    squeezed = [conv.se.fc1.out_channels for conv in convs.values()]
    out = [conv.conv3_1x1.out_channels for conv in convs.values()]
    into = [conv.conv1_1x1.in_channels for conv in convs.values()]
    for by_output, widths in ((True, out), (False, into)):
        expansion = hidden[-1] / widths[-1]
        if [make_divisible(width * expansion) for width in widths] == hidden:
            squeeze = timm.ratio(module, squeezed, out if by_output else hidden)
            return {"expansion": expansion, "expand_output": by_output, "squeeze": squeeze}
    refuse_unless(False, module, "hidden widths of its convolutions", hidden)
    return {}


def _head(module: Any) -> dict[str, Any]:
    """Classes, and the hidden width of a head that has one."""
    head = module.head
    norm = partial(timm.same_norm, module)
    first = module.stages[0].blocks[0].attn_grid.norm1
    if type(head).__name__ == "ClassifierHead":
        norm({"stages.0.blocks.0.attn_grid.norm1": first, "norm": module.norm})
        return {"num_classes": timm.classifier_head(module)}
    refuse_unless(type(head).__name__ == "NormMlpClassifierHead", module, "head", type(head).__name__)
    refuse_unless(head.global_pool.pool_type == "avg", module, "global_pool", head.global_pool.pool_type)
    timm.refuse_rate(module, "drop_rate", head.drop)
    timm.refuse_identity(module, "norm", module.norm)
    norm({"stages.0.blocks.0.attn_grid.norm1": first, "head.norm": head.norm})
    refuse_unless(activation_of(head.pre_logits.act) is nn.Tanh, module, "head.pre_logits.act", head.pre_logits.act)
    return {"num_classes": timm.head(head, "fc"), "head_hidden_dim": head.pre_logits.fc.out_features}


def _drop_path(module: Any, blocks: dict[str, Any]) -> float:
    """The rate of the last block, where rates rise linearly from 0 and all branches of a block have the same."""
    rates: list[float] = []
    for name, block in blocks.items():
        found = {rate_of(block.conv.drop_path)}
        found |= {
            timm.drop_rates(module, f"{name}.{part}", getattr(block, part)) for part in ("attn_block", "attn_grid")
        }
        refuse_unless(len(found) == 1, module, f"drop path rates of {name}", found)
        rates += found
    same = all(abs(a - b) < 1e-6 for a, b in zip(rates, drop_path_schedule(rates[-1], len(rates)), strict=True))
    refuse_unless(same, module, "drop path rates", rates)
    return rates[-1]


ORIGINS = {"timm.models.maxxvit.MaxxVit": Origin("timm", read_timm)}
