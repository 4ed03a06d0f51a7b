"""How transformers' DINOv2 is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ...border import Origin, rate_of, timm, transformers
from ...checkpoint.rules import Computed, KeyMap, Table, other_names
from ...embed import ConvEmbed
from ...grid import to_pair
from ...position import resize_table
from .layouts import hf_dinov2

if TYPE_CHECKING:
    from ...model import Model
    from .model import DINOv2


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' Dinov2Model or Dinov2WithRegistersModel, or a classifier of the class token beside the mean of all patches."""
    base = module.base_model
    embeddings, layers = base.embeddings, base.encoder.layer
    settings = timm.alike(module, timm.named("encoder.layer", layers), transformers.scaled_layer)
    timm.same_norm(module, {"encoder.layer.0.norm1": layers[0].norm1, "layernorm": base.layernorm})
    conv = embeddings.patch_embeddings.projection
    size = to_pair(embeddings.patch_embeddings.image_size, "image_size")
    registers = getattr(embeddings, "register_tokens", None)
    model = build(
        **settings,
        image_size=tuple(side // patch * patch for side, patch in zip(size, conv.kernel_size, strict=True)),
        **transformers.patches(module, conv),
        embed=ConvEmbed(conv.kernel_size, conv.out_channels, channels=conv.in_channels, remainder="drop"),
        num_classes=0 if base is module else transformers.classes(module, "classifier"),
        pool="cls" if base is module else "cls+mean",
        depth=len(layers),
        registers=0 if registers is None else registers.shape[1],
        mask_token=embeddings.mask_token is not None,
        layer_scale=1.0,  # any: weights come with the rest
        emb_dropout=rate_of(embeddings.dropout),
        resize=resize_table if registers is None else partial(resize_table, antialias=True),
    )
    return transformers.with_drop_paths(model, layers)


def _modules(prefix: str, *, registers: bool) -> KeyMap:
    """The names of its modules, of which a mask token is none where there is none."""

    def table(model: DINOv2) -> Table:
        mask = f"{prefix}embeddings.mask_token"
        rules = hf_dinov2(model, prefix, registers=registers)
        return tuple(entry for entry in rules if not (isinstance(entry, Computed) and entry.theirs == mask))

    return other_names(table)


_HF = "transformers.models.{0}.modeling_{0}.{1}"
_LOGITS, _FEATURES = transformers.logits, transformers.features

ORIGINS = {
    _HF.format(name, f"{kind}{suffix}"): Origin(
        _modules(f"{name}." if suffix != "Model" else "", registers=registers), read_hf, call
    )
    for name, kind, registers in (
        ("dinov2", "Dinov2", False),
        ("dinov2_with_registers", "Dinov2WithRegisters", True),
    )
    for suffix, call in (("Model", _FEATURES), ("ForImageClassification", _LOGITS))
}
