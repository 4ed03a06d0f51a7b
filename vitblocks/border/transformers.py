"""Settings that several of transformers' models have, under the names that our constructors give them. It imports nothing of it.

A model for classification holds a base model beside its head, and both can be read: of a base model we give the features that a head
would read. What a module computes is read off the module; its config is asked only where nothing else says it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..embed import ConvEmbed
from ..feedforward import Mlp
from ..grid import to_pair
from .settings import activation_of, rate_of, refuse_unless
from .timm import alike, named, same_norm

if TYPE_CHECKING:
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
    found: Tensor = module(images, **_interpolated(module, images)).logits
    return found


def features_of_any_size(module: Any, images: Tensor) -> Tensor:
    """What a base model with a class token gives: what its pooler makes of it, or the token itself."""
    output = module(images, **_interpolated(module, images))
    found: Tensor = output.last_hidden_state[:, 0] if output.pooler_output is None else output.pooler_output
    return found


def _interpolated(module: Any, images: Tensor) -> dict[str, bool]:
    native = to_pair(module.config.image_size, "image_size") == tuple(images.shape[-2:])
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


def attention(module: nn.Module, name: str, theirs: Any, kinds: Mapping[str, str]) -> dict[str, Any]:
    """Of an attention with the Linears that ``kinds`` names for ``q``, ``k``, ``v`` and ``o``."""
    q, k, v, o = (theirs.get_submodule(kinds[part]) for part in "qkvo")
    biases = [linear.bias is not None for linear in (q, k, v)]
    refuse_unless(len({*biases}) == 1, module, f"biases of {name}", biases)
    refuse_unless(o.bias is not None, module, f"{name}.{kinds['o']}.bias", None)
    widths = [linear.out_features for linear in (q, k, v)]
    refuse_unless(len({*widths}) == 1 and o.in_features == widths[0], module, f"widths of {name}", widths)
    return {"dim": q.in_features, "inner": widths[0], "qkv_bias": biases[0]}


_PROJECTIONS = {part: f"{part}_proj" for part in "qkvo"}


def layer(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    """Of a pre-norm layer with ``layernorm_before``, ``attention``, ``layernorm_after`` and ``mlp``, as ViT, DeiT and Swin have it."""
    attn, mlp = theirs.attention, theirs.mlp
    settings = attention(module, f"{name}.attention", attn, _PROJECTIONS)
    heads = settings.pop("inner") / attn.head_dim
    refuse_unless(heads == int(heads), module, f"{name}.attention.head_dim", attn.head_dim)
    refuse_unless(abs(attn.scaling * attn.head_dim**0.5 - 1) < 1e-6, module, f"{name}.attention.scaling", attn.scaling)
    refuse_unless(mlp.fc1.bias is not None and mlp.fc2.bias is not None, module, f"bias of {name}.mlp", None)
    return {
        **settings,
        "heads": int(heads),
        "head_dim": attn.head_dim,
        "mlp_dim": mlp.fc1.out_features,
        "activation": activation_of(mlp.activation_fn),
        "dropout": rate_of(theirs.dropout),
        "attn_dropout": float(attn.attention_dropout),
        "norm": same_norm(
            module,
            {f"{name}.layernorm_before": theirs.layernorm_before, f"{name}.layernorm_after": theirs.layernorm_after},
        ),
    }


def vit_settings(module: Any) -> dict[str, Any]:
    """Of a model with learned positions of all tokens, its base or around it: ViT and DeiT, as keywords of :class:`~vitblocks.ViT`."""
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
        "emb_dropout": rate_of(embeddings.dropout),
    }


def patches(module: nn.Module, conv: Any) -> dict[str, Any]:
    """Of a convolution that embeds patches."""
    plain = conv.stride == conv.kernel_size and conv.padding == (0, 0) and conv.bias is not None
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
