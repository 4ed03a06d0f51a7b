"""How vit-pytorch's CCT is read, which computes what the authors' code does, under the same names."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from ...border import Origin, activation_of, rate_of, refuse_unless, timm
from ...norm import layer_norm
from ...position import LearnedPosition, resize_table_as_vit_pytorch
from ...position.resize import grids_of_places
from ...position.sine import sine_1d

if TYPE_CHECKING:
    from ...model import Model, Stage


def read_vit_pytorch(build: Callable[..., Model], module: Any) -> Model:
    """vit-pytorch's CCT. It does not say for what image size it is made, only for how many tokens."""
    tokens = module.classifier
    refuse_unless(tokens.seq_pool, module, "seq_pool", tokens.seq_pool)
    blocks = timm.named("classifier.blocks", tokens.blocks)
    settings = timm.alike(module, blocks, _block)
    refuse_unless(settings.pop("dropout") == rate_of(tokens.dropout), module, "dropout", rate_of(tokens.dropout))
    norm = timm.same_norm(module, {"norm1": tokens.blocks[0].norm1, "classifier.norm": tokens.norm})
    refuse_unless(repr(norm) == repr(layer_norm(1e-5)), module, "norm", tokens.norm)
    refuse_unless(tokens.fc.out_features > 0, module, "num_classes", 0)
    dim, mlp_dim = tokens.embedding_dim, settings.pop("mlp_dim")
    model = build(
        **settings,
        **_stem(module),
        img_size=tuple(_side(module, side) for side in grids_of_places(tokens.sequence_length)[0]),
        embedding_dim=dim,
        num_layers=len(blocks),
        mlp_ratio=timm.ratio(module, [mlp_dim], [dim]),
        num_classes=tokens.fc.out_features,
        positional_embedding=_positions(tokens),
        dropout=rate_of(tokens.dropout),
        drop_path=timm.drop_path(module, blocks),
    )
    layers = cast("Stage", model.stages[0]).layers
    for i, layer in enumerate(layers):
        if isinstance(layer, LearnedPosition):
            layers[i] = LearnedPosition(dim, layer.grid, resize=resize_table_as_vit_pytorch)
    return model


def _positions(tokens: Any) -> str:
    table = tokens.positional_emb
    if table is None:
        return "none"
    sines = sine_1d(table.shape[1], table.shape[2]).to(table)
    return "sine" if torch.allclose(table[0], sines, atol=1e-6) else "learnable"


def _stem(module: Any) -> dict[str, Any]:
    """The convolutions of the tokens, which must be alike but for their channels."""
    units = [(unit[0], unit[2]) for unit in module.tokenizer.conv_layers]
    found = {(*_square(module, conv), *_square(module, pool)) for conv, pool in units}
    refuse_unless(len(found) == 1, module, "tokenizer.conv_layers", found)
    widths = [conv.out_channels for conv, _ in units[:-1]]
    refuse_unless(all(width == 64 for width in widths), module, "channels between convolutions", widths)
    for i, (conv, _) in enumerate(units):
        refuse_unless(conv.bias is None, module, f"tokenizer.conv_layers.{i}.0.bias", True)
        activation = module.tokenizer.conv_layers[i][1]
        refuse_unless(activation_of(activation) is nn.ReLU, module, f"tokenizer.conv_layers.{i}.1", activation)
    names = ("kernel_size", "stride", "padding", "pooling_kernel_size", "pooling_stride", "pooling_padding")
    return {
        "channels": units[0][0].in_channels,
        "n_conv_layers": len(units),
        **dict(zip(names, found.pop(), strict=True)),
    }


def _square(module: Any, layer: Any) -> tuple[int, int, int]:
    """Kernel, stride and padding of a convolution or pooling, the same along both sides."""
    sides = [
        value if isinstance(value, tuple) else (value, value)
        for value in (layer.kernel_size, layer.stride, layer.padding)
    ]
    refuse_unless(all(a == b for a, b in sides), module, "tokenizer.conv_layers", layer)
    kernel, stride, padding = (side[0] for side in sides)
    return kernel, stride, padding


def _side(module: Any, places: int) -> int:
    """The side of an image that gives so many tokens: the strides' multiple where it does, or else the least."""
    layers = [_square(module, layer) for unit in module.tokenizer.conv_layers for layer in (unit[0], unit[2])]
    least = places
    for kernel, stride, padding in reversed(layers):
        least = max((least - 1) * stride + kernel - 2 * padding, 1)
    multiple = given = places * prod(stride for _, stride, _ in layers)
    for kernel, stride, padding in layers:
        given = (given + 2 * padding - kernel) // stride + 1
    return multiple if given == places else least


def _block(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    attn = theirs.self_attn
    rates = {rate_of(part) for part in (theirs.dropout1, theirs.dropout2, attn.proj_drop)}
    refuse_unless(len(rates) == 1, module, f"drop rates of {name}", rates)
    refuse_unless(activation_of(theirs.activation) is nn.GELU, module, f"{name}.activation", theirs.activation)
    refuse_unless(attn.qkv.bias is None, module, f"{name}.self_attn.qkv.bias", True)
    timm.same_norm(module, {f"{name}.pre_norm": theirs.pre_norm, f"{name}.norm1": theirs.norm1})
    return {
        "num_heads": attn.heads,
        "mlp_dim": theirs.linear1.out_features,
        "dropout": rates.pop(),
        "attn_dropout": rate_of(attn.attn_drop),
    }


ORIGINS = {"vit_pytorch.cct.CCT": Origin("official", read_vit_pytorch)}
