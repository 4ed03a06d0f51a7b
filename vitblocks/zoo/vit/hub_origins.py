"""How the authors' ViTs of DINO and DINOv2 are read, which PyTorch's Hub gives: told by what they have, under whatever names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from ...border import Origin, activation_of, rate_of, refuse_unless, timm
from ...feedforward import GatedMlp
from ...grid import to_pair
from ...position import resize_table, resize_table_as_dino

if TYPE_CHECKING:
    from ...model import Model


def is_dino(module: nn.Module) -> bool:
    """A ``VisionTransformer`` of DINO's ``vision_transformer.py``, whatever that was imported as."""
    methods = ("prepare_tokens", "get_last_selfattention", "interpolate_pos_encoding")
    return _has(module, *methods, "cls_token", "pos_embed", "patch_embed", "blocks") and not is_dinov2(module)


def is_dinov2(module: nn.Module) -> bool:
    """A ``DinoVisionTransformer`` of DINOv2."""
    return _has(
        module, "prepare_tokens_with_masks", "num_register_tokens", "interpolate_offset", "mask_token", "blocks"
    )


def _has(module: nn.Module, *names: str) -> bool:
    return all(hasattr(module, name) for name in names)


def read_dino(build: Callable[..., Model], module: Any) -> Model:
    """DINO's VisionTransformer, which gives the class token after the norm: its head is in no call."""
    return build(**_settings(module, _block), num_classes=0, resize=resize_table_as_dino)


def read_dinov2(build: Callable[..., Model], module: Any) -> Model:
    """DINOv2's DinoVisionTransformer, with registers or without, as it resizes positions."""
    refuse_unless(not getattr(module, "chunked_blocks", False), module, "chunked_blocks", True)
    offset, antialias = module.interpolate_offset, module.interpolate_antialias
    refuse_unless(offset in (0.0, 0.1), module, "interpolate_offset", offset)
    refuse_unless(not (offset and antialias), module, "interpolate_antialias with an offset", antialias)
    resize = resize_table_as_dino if offset else partial(resize_table, antialias=antialias)
    settings = _settings(module, _scaled_block)
    scaled = settings.pop("scaled")
    return build(
        **settings,
        num_classes=0,
        registers=module.num_register_tokens,
        mask_token=True,
        layer_scale=1.0 if scaled else None,  # any: weights come with the rest
        resize=resize,
    )


def _settings(module: Any, block: timm.Read) -> dict[str, Any]:
    timm.refuse_identity(module, "head", module.head)
    embed, blocks = module.patch_embed, timm.named("blocks", module.blocks)
    timm.refuse_identity(module, "patch_embed.norm", getattr(embed, "norm", None))
    settings = timm.alike(module, blocks, block)
    timm.same_norm(module, {"blocks.0.norm1": module.blocks[0].norm1, "norm": module.norm})
    refuse_unless(embed.proj.stride == embed.proj.kernel_size, module, "patch_embed.proj", embed.proj)
    rates = {name: rate_of(getattr(part, "drop_path", None) or part.drop_path1) for name, part in blocks.items()}
    if len({*rates.values()}) > 1:
        timm.drop_path(module, {name: _Rate(rate) for name, rate in rates.items()})
    else:
        refuse_unless({*rates.values()} == {0.0}, module, "drop path rates", [*rates.values()])
    return {
        **settings,
        "image_size": to_pair(embed.img_size, "img_size"),
        "patch_size": embed.proj.kernel_size,
        "channels": embed.proj.in_channels,
        "depth": len(blocks),
        "drop_path": [*rates.values()][-1],
        "emb_dropout": rate_of(getattr(module, "pos_drop", None)),
    }


class _Rate:
    """A block of which only the rate is known."""

    def __init__(self, rate: float) -> None:
        self.drop_path = nn.Dropout(rate)


def _block(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    attn = theirs.attn
    head_dim = attn.qkv.out_features // (3 * attn.num_heads)
    scale = getattr(attn, "scale", head_dim**-0.5)
    refuse_unless(abs(scale * head_dim**0.5 - 1) < 1e-6, module, f"{name}.attn.scale", scale)
    feedforward = _feedforward(module, f"{name}.mlp", theirs.mlp)
    dropout = rate_of(attn.proj_drop)
    refuse_unless(feedforward.pop("rate") in (None, dropout), module, f"drop rates of {name}", dropout)
    return {
        "dim": attn.proj.out_features,
        "heads": attn.num_heads,
        "head_dim": head_dim,
        "qkv_bias": attn.qkv.bias is not None,
        "attn_dropout": rate_of(attn.attn_drop),
        "dropout": dropout,
        "norm": timm.same_norm(module, {f"{name}.norm1": theirs.norm1, f"{name}.norm2": theirs.norm2}),
        **feedforward,
    }


def _scaled_block(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    scales = [hasattr(getattr(theirs, part), "gamma") for part in ("ls1", "ls2")]
    refuse_unless(scales[0] == scales[1], module, f"{name}.ls2", theirs.ls2)
    return {**_block(module, name, theirs), "scaled": scales[0]}


def _feedforward(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    if hasattr(theirs, "w12"):
        refuse_unless(theirs.w12.bias is not None, module, f"bias of {name}.w12", None)
        return {"mlp_dim": theirs.w3.in_features, "feedforward": GatedMlp, "activation": nn.SiLU, "rate": None}
    refuse_unless(theirs.fc1.bias is not None, module, f"bias of {name}.fc1", None)
    activation = activation_of(theirs.act)
    return {"mlp_dim": theirs.fc1.out_features, "activation": activation, "rate": rate_of(theirs.drop)}


DINO_ORIGINS: dict[str, Origin] = {"vision_transformer.VisionTransformer": Origin("official", read_dino, fits=is_dino)}
DINOV2_ORIGINS: dict[str, Origin] = {
    "dinov2.models.vision_transformer.DinoVisionTransformer": Origin("official", read_dinov2, fits=is_dinov2)
}
