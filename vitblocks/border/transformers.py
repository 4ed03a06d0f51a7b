"""Settings that several of transformers' models have, under the names that our constructors give them. It imports nothing of it.

A model for classification holds a base model beside its head, and both can be read: of a base model we give the features that a head
would read. What a module computes is read off the module; its config is asked only where nothing else says it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from ..embed import ConvEmbed
from ..feedforward import GatedMlp, Mlp
from ..grid import to_pair
from ..residual import DropPath
from .settings import activation_of, rate_of, refuse_unless
from .timm import alike, named, same_norm

if TYPE_CHECKING:
    from ..block import Block
    from ..model import Model

Call = Callable[[Any, Tensor], Tensor]


def logits(module: Any, images: Tensor) -> Tensor:
    """What a model for classification says, of images of every size where it has no positions."""
    found: Tensor = module(images).logits
    return found


def features(module: Any, images: Tensor) -> Tensor:
    """What a base model pools."""
    found: Tensor = module(images).pooler_output
    return found


def logits_of_any_size(module: Any, images: Tensor) -> Tensor:
    """What a model for classification says, with positions interpolated for images that it is not made for."""
    found: Tensor = module(images, **interpolated(module, images)).logits
    return found


def features_of_any_size(module: Any, images: Tensor) -> Tensor:
    """What a base model with a class token gives: what its pooler makes of it, or the token itself."""
    output = module(images, **interpolated(module, images))
    found: Tensor = output.last_hidden_state[:, 0] if output.pooler_output is None else output.pooler_output
    return found


def mean_features_of_any_size(module: Any, images: Tensor) -> Tensor:
    """What a base model without a class token gives: what its pooler makes of all patches, or their mean."""
    output = module(images, **interpolated(module, images))
    found: Tensor = output.last_hidden_state.mean(dim=1) if output.pooler_output is None else output.pooler_output
    return found


def interpolated(module: Any, images: Tensor) -> dict[str, bool]:
    """What a model is told of images that it is not made for."""
    config = getattr(module.config, "vision_config", module.config)
    native = to_pair(config.image_size, "image_size") == tuple(images.shape[-2:])
    return {} if native else {"interpolate_pos_encoding": True}


def classes(module: Any, *names: str) -> int:
    """How many classes heads have that are Linears with a bias, alike; 0 of none."""
    found = []
    for name in names:
        theirs = getattr(module, name)
        plain = isinstance(theirs, nn.Identity) or (isinstance(theirs, nn.Linear) and theirs.bias is not None)
        refuse_unless(plain, module, name, theirs)
        found.append(int(getattr(theirs, "out_features", 0)))
    refuse_unless(len({*found}) == 1, module, f"classes of {' and '.join(names)}", found)
    return found[0]


def attention(
    module: nn.Module, name: str, theirs: Any, kinds: Mapping[str, str], *, key_bias: bool = True
) -> dict[str, Any]:
    """Of an attention with the Linears that ``kinds`` names for ``q``, ``k``, ``v`` and ``o``; keys have a bias only with ``key_bias``."""
    q, k, v, o = (theirs.get_submodule(kinds[part]) for part in "qkvo")
    biases = [linear.bias is not None for linear in (q, k, v)]
    alone = [biases[1]] if key_bias else []
    refuse_unless(len({biases[0], biases[2], *alone}) == 1, module, f"biases of {name}", biases)
    refuse_unless(key_bias or not biases[1], module, f"{name}.{kinds['k']}.bias", k.bias)
    refuse_unless(o.bias is not None, module, f"{name}.{kinds['o']}.bias", None)
    widths = [linear.out_features for linear in (q, k, v)]
    refuse_unless(len({*widths}) == 1 and o.in_features == widths[0], module, f"widths of {name}", widths)
    return {"dim": q.in_features, "inner": widths[0], "qkv_bias": biases[0]}


PROJECTIONS = {part: f"{part}_proj" for part in "qkvo"}
"""The Linears of most attentions."""


def heads(module: nn.Module, name: str, inner: int, head_dim: int, scale: float) -> dict[str, int]:
    """Of an attention whose heads have ``inner`` channels together; their logits must be scaled as is usual."""
    refuse_unless(inner % head_dim == 0, module, f"{name}.head_dim", head_dim)
    refuse_unless(abs(scale * head_dim**0.5 - 1) < 1e-6, module, f"{name}.scaling", scale)
    return {"heads": inner // head_dim, "head_dim": head_dim}


def mlp(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    """Of a feed-forward with the Linears ``fc1`` and ``fc2``."""
    refuse_unless(theirs.fc1.bias is not None and theirs.fc2.bias is not None, module, f"bias of {name}", None)
    return {"mlp_dim": theirs.fc1.out_features, "activation": activation_of(theirs.activation_fn)}


def gated_mlp(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    """Of a feed-forward with the Linears ``up_proj`` and ``down_proj``, gated by ``gate_proj`` if there is one."""
    gate = getattr(theirs, "gate_proj", None)
    linears = [theirs.up_proj, theirs.down_proj, *([] if gate is None else [gate])]
    refuse_unless(all(linear.bias is not None for linear in linears), module, f"bias of {name}", None)
    same = gate is None or gate.out_features == theirs.up_proj.out_features
    refuse_unless(same, module, f"{name}.gate_proj", gate)
    return {
        "mlp_dim": theirs.up_proj.out_features,
        "activation": activation_of(theirs.act_fn),
        "feedforward": Mlp if gate is None else GatedMlp,
    }


def layer(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    """Of a pre-norm layer with ``layernorm_before``, ``attention``, ``layernorm_after`` and ``mlp``, as ViT, DeiT and Swin have it."""
    attn = theirs.attention
    settings = attention(module, f"{name}.attention", attn, PROJECTIONS)
    inner = settings.pop("inner")
    return {
        **settings,
        **heads(module, f"{name}.attention", inner, attn.head_dim, attn.scaling),
        **mlp(module, f"{name}.mlp", theirs.mlp),
        "dropout": rate_of(theirs.dropout),
        "attn_dropout": float(attn.attention_dropout),
        "norm": same_norm(
            module,
            {f"{name}.layernorm_before": theirs.layernorm_before, f"{name}.layernorm_after": theirs.layernorm_after},
        ),
    }


def tower_layer(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    """Of a pre-norm layer with ``layer_norm1``, ``self_attn``, ``layer_norm2`` and ``mlp``, as CLIP and SigLIP have it: no dropout."""
    attn = theirs.self_attn
    settings = attention(module, f"{name}.self_attn", attn, {**PROJECTIONS, "o": "out_proj"})
    inner = settings.pop("inner")
    norms = {f"{name}.layer_norm1": theirs.layer_norm1, f"{name}.layer_norm2": theirs.layer_norm2}
    return {
        **settings,
        **heads(module, f"{name}.self_attn", inner, attn.head_dim, attn.scale),
        **mlp(module, f"{name}.mlp", theirs.mlp),
        "attn_dropout": float(attn.dropout),
        "norm": same_norm(module, norms),
    }


def scaled_layer(module: nn.Module, name: str, theirs: Any, *, key_bias: bool = True) -> dict[str, Any]:
    """Of a pre-norm layer with ``norm1``, ``attention``, ``norm2``, ``mlp`` and layer scales, as DINOv2 and DINOv3 have it."""
    attn = theirs.attention
    settings = attention(module, f"{name}.attention", attn, PROJECTIONS, key_bias=key_bias)
    inner = settings.pop("inner")
    rate = attn.dropout if hasattr(attn, "dropout") else attn.attention_dropout
    read = mlp if hasattr(theirs.mlp, "fc1") else gated_mlp
    return {
        **settings,
        **heads(module, f"{name}.attention", inner, attn.head_dim, attn.scaling),
        **read(module, f"{name}.mlp", theirs.mlp),
        "attn_dropout": float(rate),
        "norm": same_norm(module, {f"{name}.norm1": theirs.norm1, f"{name}.norm2": theirs.norm2}),
    }


def with_drop_paths(model: Model, layers: Sequence[Any]) -> Model:
    """The model with each block's drop path rate that the layer there has: several of transformers' models have one rate for all."""
    for (_, block), theirs in zip(model.blocks(), layers, strict=True):
        for shortcut in (cast("Block", block).shortcut1, cast("Block", block).shortcut2):
            shortcut.drop_path = DropPath(rate_of(theirs.drop_path))
    return model


def vit_settings(module: Any) -> dict[str, Any]:
    """Of ViT, DeiT or an encoder of MAE, a base model or what is around one, as keywords of :class:`~vitblocks.ViT`."""
    base = module.base_model  # itself, where it is one
    embeddings = base.embeddings
    mask = getattr(embeddings, "mask_token", None)
    refuse_unless(mask is None, module, "mask_token", mask)
    layers = named("layers", base.layers)
    settings = alike(module, layers, layer)
    same_norm(module, {"layers.0.layernorm_before": base.layers[0].layernorm_before, "layernorm": base.layernorm})
    conv = embeddings.patch_embeddings.projection
    size = to_pair(embeddings.patch_embeddings.image_size, "image_size")
    return {
        **settings,
        "image_size": tuple(side // patch * patch for side, patch in zip(size, conv.kernel_size, strict=True)),
        **patches(module, conv),
        "embed": ConvEmbed(conv.kernel_size, conv.out_channels, channels=conv.in_channels, remainder="drop"),
        "depth": len(layers),
        "emb_dropout": rate_of(getattr(embeddings, "dropout", None)),
    }


def patches(module: nn.Module, conv: Any, *, bias: bool = True) -> dict[str, Any]:
    """Of a convolution that embeds patches, with a ``bias`` or none."""
    plain = conv.stride == conv.kernel_size and conv.padding in ((0, 0), "valid") and (conv.bias is not None) == bias
    refuse_unless(plain, module, "projection of patches", conv)
    return {"patch_size": conv.kernel_size, "channels": conv.in_channels}


def without_inner_dropout(model: Model) -> Model:
    """The model without the dropout after the feed-forwards' activations: transformers' have it after their second Linear alone."""
    for part in model.modules():
        if isinstance(part, Mlp) and part.dropout1.p:
            part.dropout1 = nn.Dropout(0.0)
    return model


def pooler(theirs: Any) -> nn.Module:
    """A Linear and an activation, on the features that we pool."""
    dense = theirs.dense
    return nn.Sequential(nn.Linear(dense.in_features, dense.out_features), activation_of(theirs.activation)())
