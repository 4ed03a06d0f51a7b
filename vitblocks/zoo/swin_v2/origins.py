"""How other libraries' Swin V2 is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from ...border import Origin, activation_of, rate_of, refuse_unless, timm, transformers
from ...grid import to_pair
from ...prefix import PerToken
from .layouts import hf_swin_v2

if TYPE_CHECKING:
    from ...attention import WindowAttention
    from ...model import Model


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' Swinv2ForImageClassification, or its Swinv2Model: the mean of all patches. It takes every size."""
    base = module.base_model
    for name in ("position_embeddings", "mask_token"):
        theirs = getattr(base.embeddings, name)
        refuse_unless(theirs is None, module, name, theirs)
    layers = base.encoder.layers
    stages = [timm.named(f"encoder.layers.{s}.blocks", stage.blocks) for s, stage in enumerate(layers)]
    settings, each = timm.by_stage(module, stages, _block, own=("dim", "heads", "mlp_dim", "pretrained_windows"))
    dims, proj_dropout = each["dim"], settings.pop("proj_dropout")
    refuse_unless(dims == [dims[0] * 2**s for s in range(len(dims))], module, "channels of its stages", dims)
    timm.same_norm(
        module,
        {
            "encoder.layers.0.blocks.0.layernorm_before": layers[0].blocks[0].layernorm_before,
            "embeddings.norm": base.embeddings.norm,
            "layernorm": base.layernorm,
            **{f"encoder.layers.{s}.downsample.norm": stage.downsample.norm for s, stage in enumerate(layers[:-1])},
        },
    )
    embedding = rate_of(base.embeddings.dropout)
    refuse_unless(embedding == settings["dropout"], module, "embeddings.dropout", embedding)
    blocks = {name: block for stage in stages for name, block in stage.items()}
    model = build(
        **transformers.patches(module, base.embeddings.patch_embeddings.projection),
        image_size=to_pair(module.config.image_size, "image_size"),
        **settings,
        num_classes=0 if base is module else transformers.classes(module, "classifier"),
        dim=dims[0],
        depths=[len(stage) for stage in stages],
        heads=each["heads"],
        window=module.config.window_size,
        pretrained_windows=each["pretrained_windows"],
        mlp_ratio=timm.ratio(module, each["mlp_dim"], dims),
        drop_path=timm.drop_path(module, blocks),
        padding="hf",
    )
    for (name, theirs), (_, ours) in zip(blocks.items(), model.blocks(), strict=True):
        attention = cast("WindowAttention", ours.attn)
        attention.dropout = nn.Dropout(proj_dropout)
        windows = attention.windows
        same = (getattr(windows, "size", None), getattr(windows, "shift", (0, 0)))
        refuse_unless(same[0] == (theirs.window_size,) * 2, module, f"window_size of {name}", theirs.window_size)
        refuse_unless(same[1] == (theirs.shift_size,) * 2, module, f"shift_size of {name}", theirs.shift_size)
    return transformers.without_inner_dropout(model)


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's SwinTransformerV2, at the size it is made for or at any. Windows that ours would not have are refused."""
    stages = [timm.named(f"layers.{s}.blocks", stage.blocks) for s, stage in enumerate(module.layers)]
    own = ("dim", "heads", "mlp_dim", "pretrained_windows")
    settings, each = timm.by_stage(module, stages, _timm_block, own=own)
    blocks = {name: block for stage in stages for name, block in stage.items()}
    dims = each["dim"]
    refuse_unless(dims == [dims[0] * 2**s for s in range(len(dims))], module, "channels of its stages", dims)
    timm.same_norm(
        module,
        {
            "layers.0.blocks.0.norm1": module.layers[0].blocks[0].norm1,
            "patch_embed.norm": module.patch_embed.norm,
            "norm": module.norm,
            **{f"layers.{s}.downsample.norm": stage.downsample.norm for s, stage in enumerate(module.layers) if s},
        },
    )
    firsts = [stage.blocks[0] for stage in module.layers]
    model = build(
        **timm.patches(module, module.patch_embed, normed=True),
        **settings,
        num_classes=timm.classifier_head(module),
        dim=dims[0],
        depths=[len(stage) for stage in stages],
        heads=each["heads"],
        window=tuple(max(block.window_size[i] for block in firsts) for i in range(2)),
        pretrained_windows=each["pretrained_windows"],
        mlp_ratio=timm.ratio(module, each["mlp_dim"], dims),
        drop_path=timm.drop_path(module, blocks),
        padding="timm",
    )
    first: Any = model.stages[0]
    first.layers[0] = PerToken(nn.Dropout(0.0))  # there is none after theirs' patches
    for (name, theirs), (_, ours) in zip(blocks.items(), model.blocks(), strict=True):
        windows = cast("WindowAttention", ours.attn).windows
        same = (getattr(windows, "size", None), getattr(windows, "shift", (0, 0)))
        refuse_unless(same[0] == theirs.window_size, module, f"window_size of {name}", theirs.window_size)
        refuse_unless(same[1] == theirs.shift_size, module, f"shift_size of {name}", theirs.shift_size)
    return model


def _timm_block(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    attn = theirs.attn
    settings = timm.block(module, name, theirs, attentions=["WindowAttention"], kinds=["SwinTransformerV2Block"])
    hidden = attn.cpb_mlp[0].out_features
    refuse_unless(hidden == 512, module, f"hidden width of {name}.attn.cpb_mlp", hidden)
    return {
        **settings,
        "qkv_bias": attn.q_bias is not None,
        "pretrained_windows": tuple(attn.pretrained_window_size),
    }


_LINEARS = {**{part[0]: f"self.{part}" for part in ("query", "key", "value")}, "o": "output.dense"}


def _block(module: Any, name: str, theirs: Any) -> dict[str, Any]:
    inner, feedforward = theirs.attention.self, theirs.output
    settings = transformers.attention(module, f"{name}.attention", theirs.attention, _LINEARS, key_bias=False)
    refuse_unless(settings.pop("inner") == inner.all_head_size, module, f"{name}.all_head_size", inner.all_head_size)
    norms = {f"{name}.{place}": getattr(theirs, place) for place in ("layernorm_before", "layernorm_after")}
    linears = (theirs.intermediate.dense, feedforward.dense)
    refuse_unless(all(linear.bias is not None for linear in linears), module, f"bias of {name}.output", None)
    return {
        **settings,
        "heads": inner.num_attention_heads,
        "head_dim": inner.attention_head_size,
        "pretrained_windows": tuple(inner.pretrained_window_size),
        "mlp_dim": linears[0].out_features,
        "activation": activation_of(theirs.intermediate.intermediate_act_fn),
        "dropout": rate_of(feedforward.dropout),
        "attn_dropout": rate_of(inner.dropout),
        "proj_dropout": rate_of(theirs.attention.output.dropout),
        "norm": timm.same_norm(module, norms),
    }


def _call(module: Any, images: Tensor) -> Tensor:
    """Its logits, or of a base model the mean of all patches."""
    output = module(images)
    given: Tensor = output.last_hidden_state.mean(dim=1) if module.base_model is module else output.logits
    return given


_HF = "transformers.models.swinv2.modeling_swinv2"

ORIGINS = {
    "timm.models.swin_transformer_v2.SwinTransformerV2": Origin("timm", read_timm),
    f"{_HF}.Swinv2Model": Origin(hf_swin_v2(""), read_hf, _call),
    f"{_HF}.Swinv2ForImageClassification": Origin(hf_swin_v2("swinv2."), read_hf, _call),
}
