"""How other libraries' LeViT is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isqrt
from typing import TYPE_CHECKING, Any

from torch import nn

from ...border import Origin, activation_of, refuse_unless, timm, transformers
from .layouts import hf_levit
from .parts import Shrink

if TYPE_CHECKING:
    from ...model import Model

_STRIDE = 16
"""Pixels of the image between two tokens after the stem."""


def read_timm(build: Callable[..., Model], module: Any, heads: tuple[str, ...] = ("head",)) -> Model:
    """timm's Levit of Linears, and with two heads its LevitDistilled, whose output in evaluation is their mean as ours always is."""
    refuse_unless(not module.use_conv, module, "use_conv", True)
    refuse_unless(module.global_pool == "avg", module, "global_pool", module.global_pool)
    refuse_unless(type(module.stem).__name__ == "Stem16", module, "stem", type(module.stem).__name__)
    timm.refuse_batch_norms(module)
    stages = [timm.named(f"stages.{s}.blocks", stage.blocks) for s, stage in enumerate(module.stages)]
    found = [timm.alike(module, blocks, _block) for blocks in stages]
    downsamples = {f"stages.{s}.downsample": stage.downsample for s, stage in enumerate(module.stages) if s}
    shrinks = [_shrink(module, name, theirs) for name, theirs in downsamples.items()]
    activation = activation_of(module.stem.act1)
    for settings in (*found, *shrinks):
        own = settings.pop("activation")
        refuse_unless(own is activation, module, "activation beside that of its stem", own)
    blocks = {name: block for stage in stages for name, block in stage.items()}
    rates = [timm.drop_rates(module, name, block) for name, block in (blocks | downsamples).items()]
    refuse_unless(len({*rates}) == 1, module, "drop path rates", rates)
    classes = [_classes_of(module, name) for name in heads]
    refuse_unless(len({*classes}) == 1, module, "classes of both heads", classes)
    rows, columns = module.stages[0].blocks[0].attn.resolution
    return build(
        **{name: [settings[name] for settings in found] for name in found[0]},
        image_size=(_STRIDE * rows, _STRIDE * columns),
        channels=module.stem.conv1.linear.in_channels,
        stages=len(stages),
        depth=[len(stage) for stage in stages],
        shrinks=[Shrink(**settings) for settings in shrinks],
        activation=activation,
        drop_path=rates[0],
        num_classes=classes[0],
        distilled=len(heads) > 1,
    )


def _attention(module: Any, name: str, theirs: Any) -> dict[str, Any]:
    refuse_unless(abs(theirs.scale * theirs.key_dim**0.5 - 1) < 1e-6, module, f"{name}.scale", theirs.scale)
    return {
        "heads": theirs.num_heads,
        "key_dim": theirs.key_dim,
        "attn_ratio": timm.ratio(module, [theirs.val_dim], [theirs.key_dim]),
        "activation": activation_of(theirs.proj.act),
    }


def _mlp(module: Any, name: str, theirs: Any) -> dict[str, Any]:
    timm.refuse_rate(module, f"{name}.drop", theirs.drop)
    hidden, dim = theirs.ln1.linear.out_features, theirs.ln1.linear.in_features
    return {"dim": dim, "mlp_mult": timm.ratio(module, [hidden], [dim]), "activation": activation_of(theirs.act)}


def _block(module: Any, name: str, theirs: Any) -> dict[str, Any]:
    refuse_unless(type(theirs).__name__ == "LevitBlock", module, name, type(theirs).__name__)
    attn, mlp = _attention(module, f"{name}.attn", theirs.attn), _mlp(module, f"{name}.mlp", theirs.mlp)
    refuse_unless(attn["activation"] is mlp["activation"], module, f"activation of {name}.attn", attn["activation"])
    return {**attn, **mlp}


def _shrink(module: Any, name: str, theirs: Any) -> dict[str, Any]:
    refuse_unless(type(theirs).__name__ == "LevitDownsample", module, name, type(theirs).__name__)
    attn = theirs.attn_downsample
    refuse_unless(attn.q.down.pool is None, module, f"{name}.attn_downsample.q.down.pool", attn.q.down.pool)
    settings = _attention(module, f"{name}.attn_downsample", attn)
    mlp = _mlp(module, f"{name}.mlp", theirs.mlp)
    refuse_unless(settings["activation"] is mlp["activation"], module, f"activation of {name}", mlp["activation"])
    return {**settings, "mlp_mult": mlp["mlp_mult"], "stride": attn.stride}


def _classes_of(module: Any, name: str) -> int:
    """The classes of a head that is a BatchNorm and a Linear; 0 of none."""
    theirs = getattr(module, name)
    if isinstance(theirs, nn.Identity):
        return 0
    refuse_unless(type(theirs).__name__ == "NormLinear", module, name, type(theirs).__name__)
    timm.refuse_rate(module, "drop_rate", theirs.drop)
    return timm.head(theirs, "linear")


def read_hf(build: Callable[..., Model], module: Any, heads: tuple[str, ...] = ()) -> Model:
    """transformers' LeViT: LevitModel without heads, LevitForImageClassification with one, its WithTeacher with two.

    It takes images of the size that it is made for. Its attention between stages stands at the end of a stage.
    """
    base = module.base_model
    timm.refuse_batch_norms(module)
    stem = base.patch_embeddings
    convolutions = [getattr(stem, f"embedding_layer_{i}").convolution for i in range(1, 5)]
    plain = all((c.kernel_size, c.stride, c.padding) == ((3, 3), (2, 2), (1, 1)) for c in convolutions)
    refuse_unless(plain, module, "patch_embeddings", convolutions)
    found, shrinks, depth = [], [], []
    for s, stage in enumerate(base.encoder.stages):
        layers = [getattr(layer, "module", layer) for layer in stage.layers]
        kinds = [type(layer).__name__ for layer in layers]
        end = 2 if kinds[-2:-1] == ["LevitAttentionSubsample"] else 0
        blocks = [*zip(layers[0 : len(layers) - end : 2], layers[1::2], strict=False)]
        known = ["LevitAttention", "LevitMLPLayer"] * len(blocks) + ["LevitAttentionSubsample", "LevitMLPLayer"][:end]
        refuse_unless(kinds == known and bool(end) == (s + 1 < len(base.encoder.stages)), module, f"stage {s}", kinds)
        found.append(timm.alike(module, timm.named(f"stages.{s}", blocks), _hf_block))
        depth.append(len(blocks))
        if end:
            shrinks.append(
                _hf_block(module, f"stages.{s}", layers[-2:]) | {"stride": layers[-2].queries_subsample.stride}
            )
    activations = [settings.pop("activation") for settings in (*found, *shrinks)]
    first = activation_of(stem.activation_layer_1)
    refuse_unless(all(own is first for own in activations), module, "activations", activations)
    rates = [part.drop_rate for part in base.modules() if hasattr(part, "drop_rate")]
    refuse_unless(len({*rates}) == 1, module, "drop path rates", rates)
    classes = [_hf_classes(module, name) for name in heads] or [0]
    return build(
        **{name: [settings[name] for settings in found] for name in found[0]},
        image_size=_STRIDE * isqrt(base.encoder.stages[0].layers[0].module.len_points),
        channels=convolutions[0].in_channels,
        stages=len(found),
        depth=depth,
        shrinks=[Shrink(**{name: value for name, value in one.items() if name != "dim"}) for one in shrinks],
        activation=first,
        drop_path=rates[0],
        num_classes=classes[0],
        distilled=len(heads) > 1,
    )


def _hf_block(module: Any, name: str, theirs: Any) -> dict[str, Any]:
    """Of an attention and the feed-forward after it."""
    attn, mlp = theirs
    refuse_unless(abs(attn.scale * attn.key_dim**0.5 - 1) < 1e-6, module, f"{name}.scale", attn.scale)
    activation = activation_of(attn.activation)
    refuse_unless(activation_of(mlp.activation) is activation, module, f"activation of {name}", mlp.activation)
    up = mlp.linear_up.linear
    return {
        "heads": attn.num_attention_heads,
        "key_dim": attn.key_dim,
        "attn_ratio": attn.attention_ratio,
        "dim": up.in_features,
        "mlp_mult": timm.ratio(module, [up.out_features], [up.in_features]),
        "activation": activation,
    }


def _hf_classes(module: Any, name: str) -> int:
    theirs = getattr(module, name)
    return 0 if isinstance(theirs, nn.Identity) else timm.head(theirs, "linear")


_HF = "transformers.models.levit.modeling_levit"
_HF_HEADS = ("classifier", "classifier_distill")

ORIGINS = {
    f"{_HF}.LevitModel": Origin(partial(hf_levit, prefix=""), read_hf, transformers.features),
    f"{_HF}.LevitForImageClassification": Origin(
        partial(hf_levit, prefix="levit."), partial(read_hf, heads=_HF_HEADS[:1]), transformers.logits
    ),
    f"{_HF}.LevitForImageClassificationWithTeacher": Origin(
        partial(hf_levit, prefix="levit."), partial(read_hf, heads=_HF_HEADS), transformers.logits
    ),
    "timm.models.levit.Levit": Origin("timm", read_timm),
    "timm.models.levit.LevitDistilled": Origin("timm", partial(read_timm, heads=("head", "head_dist"))),
}
