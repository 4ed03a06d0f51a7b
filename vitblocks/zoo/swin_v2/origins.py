"""How other libraries' Swin V2 is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from ...border import Origin, activation_of, rate_of, refuse_unless, timm, transformers
from ...grid import to_pair
from ...prefix import PerToken
from ..swin.origins import hf_pyramid, require_same_windows, timm_pyramid
from .layouts import hf_swin_v2

if TYPE_CHECKING:
    from ...attention import WindowAttention
    from ...model import Model


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' Swinv2ForImageClassification, or its Swinv2Model: the mean of all patches. It takes every size."""
    base = module.base_model
    stages, blocks, settings, each, dims = hf_pyramid(module, _block, own=("pretrained_windows",))
    proj_dropout = settings.pop("proj_dropout")
    embedding = rate_of(base.embeddings.dropout)
    refuse_unless(embedding == settings["dropout"], module, "embeddings.dropout", embedding)
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
    require_same_windows(module, blocks, model)
    for _, block in model.blocks():
        cast("WindowAttention", block.attn).dropout = nn.Dropout(proj_dropout)
    return transformers.without_inner_dropout(model)


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's SwinTransformerV2, at the size it is made for or at any. Windows that ours would not have are refused."""
    stages, blocks, settings, each, dims = timm_pyramid(module, _timm_block, own=("pretrained_windows",))
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
    require_same_windows(module, blocks, model)
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
