"""Key maps of MaxViT."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from einops import rearrange
from torch import Tensor

from ...attention import GridWindows, WindowAttention
from ...checkpoint.rules import KeyMap, Rule, Table, within
from ...checkpoint.transforms import Functions, Same, Tensors, Transform, heads_from_interleaved
from ...embed.same import SameConv2d
from ...position import RelativeBias
from .parts import ConvNeXtBlock

if TYPE_CHECKING:
    from ...model import Stage
    from .model import MaxViT

POINTWISE = Functions(
    lambda theirs: tuple(kernel[..., 0, 0] for kernel in theirs),
    lambda ours: tuple(weight[..., None, None] for weight in ours),
)
"""Theirs is a 1x1 convolution, ours a Linear."""


def mirrored(grid: tuple[int, int]) -> Transform:
    """Theirs is a table ``(heads, 2H-1, 2W-1)`` of key minus query, ours ``(places, heads)`` of query minus key."""

    def to_theirs(ours: Tensors) -> Tensors:
        return tuple(rearrange(x, "(h w) heads -> heads h w", h=2 * grid[0] - 1).flip(1, 2) for x in ours)

    def to_ours(theirs: Tensors) -> tuple[Tensor, ...]:
        return tuple(rearrange(x.flip(1, 2), "heads h w -> (h w) heads") for x in theirs)

    return Functions(to_ours, to_theirs)


_CONV = (
    Rule("shortcut.expand.{p}", "skip.expand.{p}"),
    Rule("pre_norm.{p}", "branch.norm.{p}"),
    Rule("conv1_1x1.{p}", "branch.expand.{p}"),
    Rule("norm1.{p}", "branch.norm1.{p}"),
    Rule("conv2_kxk.{p}", "branch.depthwise.{p}"),
    Rule("norm2.{p}", "branch.norm2.{p}"),
    *(Rule(f"se.{fc}.weight", f"branch.excite.{fc}.weight", POINTWISE) for fc in ("fc1", "fc2")),
    Rule("se.{p}", "branch.excite.{p}"),
    Rule("conv3_1x1.{p}", "branch.project.{p}"),
)

_CONV_NEXT = (
    Rule("shortcut.expand.{p}", "skip.expand.{p}"),
    Rule("conv_dw.{p}", "depthwise.{p}"),
    Rule("ls.gamma", "shortcut.scale.weight"),
    *(Rule(f"mlp.{fc}.weight", f"mlp.{fc}.weight", POINTWISE) for fc in ("fc1", "fc2")),
    Rule("{p}", "{p}"),
)


def block(attn: WindowAttention, *, head_first: bool, mirror: bool) -> tuple[Rule, ...]:
    """A block of window or grid attention."""
    widths = (attn.head_dim, attn.head_dim, attn.head_dim)
    order = heads_from_interleaved(attn.heads, widths) if head_first else Same()
    bias = attn.position_bias
    table = mirrored(bias.grid) if mirror and isinstance(bias, RelativeBias) else Same()
    return (
        Rule("attn.qkv.{p}", "attn.qkv.{p}", order),
        Rule("attn.rel_pos.relative_position_bias_table", "attn.position_bias.table", table),
        Rule("attn.rel_pos.mlp.{p}", "attn.position_bias.{p}"),
        Rule("ls1.gamma", "shortcut1.scale.weight"),
        Rule("ls2.gamma", "shortcut2.scale.weight"),
        Rule("{p}", "{p}"),
    )


def timm(model: MaxViT, *, head_first: bool | None = None, mirror: bool | None = None) -> Table:
    """timm's MaxxVit of MBConvs or of ConvNeXt's blocks.

    Weights from TensorFlow, which have "same" padding, have [all q | all k | all v], and tables of key minus query (``mirror``). Those that
    timm trained have the q, k and v of one head after the other (``head_first``).
    """
    theirs = any(isinstance(part, SameConv2d) for part in model.embed.modules())
    head_first = not theirs if head_first is None else head_first
    mirror = theirs if mirror is None else mirror
    rules: list[Rule] = []
    for s, stage in enumerate(model.stages):
        transition, layers = cast("Stage", stage).transition, cast("Stage", stage).layers
        convs, attentions = 0, 0
        own = _CONV_NEXT if isinstance(getattr(transition, "conv", None), ConvNeXtBlock) else _CONV
        for layer in layers:
            name = f"stages.{s}.blocks.{convs}"
            attn = getattr(layer, "attn", None)
            if isinstance(attn, WindowAttention):
                kind = "attn_grid" if isinstance(attn.windows, GridWindows) else "attn_block"
                # Convolutions are no blocks.
                ours = f"stages.{s}.blocks.{attentions}"
                rules += within(f"{name}.{kind}", ours, block(attn, head_first=head_first, mirror=mirror))
                attentions += 1
            else:
                place = f"stages.{s}.on_map{f'_{convs}' if convs else ''}.conv"
                convs += 1
                rules += within(f"stages.{s}.blocks.{convs}.conv", place, own)
        rules += within(f"stages.{s}.blocks.0.conv", f"stages.{s}.transition.conv", own)
    return (
        Rule("stem.conv1.{p}", "embed.conv.0.conv.{p}"),
        Rule("stem.norm1.{p}", "embed.conv.0.norm.norm.{p}"),
        Rule("stem.norm1.{p}", "embed.conv.0.norm.{p}"),
        Rule("stem.conv2.{p}", "embed.conv.1.{p}"),
        *rules,
        Rule("norm.{p}", "norm.{p}"),
        Rule("head.norm.{p}", "pool.norm.0.{p}"),
        Rule("head.pre_logits.fc.{p}", "pool.norm.1.{p}"),
        Rule("head.fc.{p}", "head.{p}"),
    )


LAYOUTS: dict[str, KeyMap] = {"timm": timm}
