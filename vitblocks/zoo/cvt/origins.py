"""How transformers' CvT is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ...border import Origin, activation_of, rate_of, refuse_unless, timm, transformers
from ...norm import layer_norm
from .layouts import hf_cvt

if TYPE_CHECKING:
    from ...model import Model


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' CvtForImageClassification, or its CvtModel, which has no last norm. It takes every size.

    Every block has the drop path rate that it has there; in training theirs drops the shortcut of a feed-forward along with it.
    """
    stages = module.base_model.encoder.stages
    refuse_unless(len(stages) == 3, module, "number of its stages", len(stages))
    timm.refuse_batch_norms(module)
    for name, norm in module.named_modules():
        plain = not isinstance(norm, nn.LayerNorm) or repr(timm.same_norm(module, {name: norm})) == repr(
            layer_norm(1e-5)
        )
        refuse_unless(plain, module, name, norm)
    tokens = [hasattr(stage, "cls_token") for stage in stages]
    refuse_unless(not any(tokens[:2]), module, "cls_token", tokens)
    found = [_stage(module, f"stages.{s}", stage) for s, stage in enumerate(stages)]
    shared = timm.alike(module, timm.named("stages", found), lambda *place: {k: place[-1].pop(k) for k in _SHARED})
    sizes = {
        f"s{s}_{name}": value for s, one in enumerate(found, 1) for name, value in one.items() if name != "qkv_bias"
    }
    model = build(
        **sizes,
        **shared,
        num_classes=0 if module.base_model is module else transformers.classes(module, "classifier"),
        channels=stages[0].embedding.convolution_embeddings.projection.in_channels,
        qkv_bias=[one["qkv_bias"] for one in found],
        pool="cls" if tokens[2] else "mean",
    )
    transformers.with_drop_paths(model, [layer for stage in stages for layer in stage.layers])
    if module.base_model is module:
        model.norm = nn.Identity()
    return transformers.without_inner_dropout(model)


_SHARED = ("dropout", "attn_dropout", "activation")


def _stage(module: Any, name: str, theirs: Any) -> dict[str, Any]:
    """A stage, with the names that our constructor has after ``s1_``."""
    conv = theirs.embedding.convolution_embeddings.projection
    blocks = timm.named(f"{name}.layers", theirs.layers)
    settings = timm.alike(module, blocks, _layer)
    embedding, dim = rate_of(theirs.embedding.dropout), settings.pop("dim")
    mlp_mult = timm.ratio(module, [settings.pop("mlp_dim")], [dim])
    refuse_unless(embedding == settings["dropout"], module, f"{name}.embedding.dropout", embedding)
    return {
        **settings,
        "mlp_mult": mlp_mult,
        "emb_dim": dim,
        "emb_kernel": _side(module, name, conv.kernel_size),
        "emb_stride": _side(module, name, conv.stride),
        "emb_padding": _side(module, name, conv.padding),
        "depth": len(blocks),
    }


_LINEARS = {**{part[0]: f"attention.projection_{part}" for part in ("query", "key", "value")}, "o": "output.dense"}


def _layer(module: Any, name: str, theirs: Any) -> dict[str, Any]:
    inner = theirs.attention.attention
    settings = transformers.attention(module, f"{name}.attention", theirs.attention, _LINEARS)
    q, k, v = (
        getattr(inner, f"convolution_projection_{part}").convolution_projection.convolution
        for part in ("query", "key", "value")
    )
    kernel = _side(module, name, q.kernel_size)
    kept = (q.stride, q.padding) == ((1, 1), (kernel // 2, kernel // 2)) and kernel % 2 == 1
    refuse_unless(kept, module, f"{name}.convolution_projection_query", q)
    refuse_unless(
        repr(k) == repr(v) and k.kernel_size == q.kernel_size, module, f"{name}.convolution_projection_key", k
    )
    refuse_unless(abs(inner.scale * settings["dim"] ** 0.5 - 1) < 1e-6, module, f"{name}.scale", inner.scale)
    rates = (rate_of(theirs.attention.output.dropout), rate_of(theirs.output.dropout))
    refuse_unless(rates[0] == rates[1], module, f"drop rates of {name}", rates)
    return {
        "dim": settings["dim"],
        "qkv_bias": settings["qkv_bias"],
        "heads": inner.num_heads,
        "proj_kernel": kernel,
        "kv_proj_stride": _side(module, name, k.stride),
        "kv_proj_padding": _side(module, name, k.padding),
        "mlp_dim": theirs.intermediate.dense.out_features,
        "activation": activation_of(theirs.intermediate.activation),
        "dropout": rates[0],
        "attn_dropout": rate_of(inner.dropout),
    }


def _side(module: Any, name: str, size: tuple[int, int]) -> int:
    refuse_unless(size[0] == size[1], module, f"a convolution of {name}", size)
    return size[0]


def _features(module: Any, images: Tensor) -> Tensor:
    """The class token, or the mean of all patches."""
    output = module(images)
    token = output.cls_token_value
    found: Tensor = output.last_hidden_state.mean((2, 3)) if token is None else token[:, 0]
    return found


_HF = "transformers.models.cvt.modeling_cvt"

ORIGINS = {
    f"{_HF}.CvtModel": Origin(hf_cvt(""), read_hf, _features),
    f"{_HF}.CvtForImageClassification": Origin(hf_cvt("cvt."), read_hf, transformers.logits),
}
