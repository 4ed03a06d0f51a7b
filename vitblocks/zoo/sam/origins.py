"""How other libraries' image encoders of SAM are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ...border import Origin, activation_of, rate_of, refuse_unless, timm, transformers
from ...grid import to_pair
from ...norm import NormFactory
from ...position import DecomposedBias, resize_table_as_timm

if TYPE_CHECKING:
    from ...model import Model


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's VisionTransformerSAM, with rotary positions refused, and a hidden layer in its head."""
    for name in ("norm_pre", "patch_drop"):
        timm.refuse_identity(module, name, getattr(module, name))
    blocks = timm.named("blocks", module.blocks)
    settings = timm.alike(module, blocks, timm.block)
    for name, block in blocks.items():
        refuse_unless(block.attn.rope is None, module, f"rope of {name}", block.attn.rope)
    settings.pop("head_dim")
    gamma = getattr(module.blocks[0].ls1, "gamma", None)
    embed = timm.patches(module, module.patch_embed)
    refuse_unless("embed" not in embed, module, "dynamic_img_pad", True)
    return build(
        **embed,
        **settings,
        **_windows(module, blocks),
        **_neck(module, module.neck),
        num_classes=timm.classifier_head(module),
        depth=len(blocks),
        layer_scale=None if gamma is None else 1.0,  # any: weights come with the rest
        drop_path=timm.drop_path(module, blocks),
        emb_dropout=rate_of(module.pos_drop),
        positions=module.pos_embed is not None,
        resize=resize_table_as_timm,
    )


def _windows(module: nn.Module, blocks: Mapping[str, Any]) -> dict[str, Any]:
    """Which blocks attend globally, the window of the others, and whether attentions have relative positions."""
    sizes = {block.window_size for block in blocks.values()} - {0}
    refuse_unless(len(sizes) < 2, module, "window_size of its blocks", sorted(sizes))
    relative = {bool(block.attn.use_rel_pos) for block in blocks.values()}
    refuse_unless(len(relative) == 1, module, "use_rel_pos of its blocks", sorted(relative))
    return {
        "window": sizes.pop() if sizes else 14,
        "global_blocks": [i for i, block in enumerate(blocks.values()) if block.window_size == 0],
        "bias_factory": DecomposedBias if relative.pop() else None,
    }


def _neck(module: nn.Module, theirs: Any) -> dict[str, Any]:
    """The channels of a neck of four parts, or none, and its norms."""
    parts = [*theirs.children()]
    if not parts:
        refuse_unless(not isinstance(theirs, nn.Identity), module, "neck", theirs)
        return {"neck_dim": None, "neck_norm": timm.same_norm(module, {"neck": theirs})}
    refuse_unless(len(parts) == 4, module, "neck", theirs)
    norms: NormFactory = timm.same_norm(module, {"neck.1": parts[1], "neck.3": parts[3]})
    plain = [(parts[0], (1, 1), (0, 0)), (parts[2], (3, 3), (1, 1))]
    for conv, kernel, padding in plain:
        same = conv.bias is None and (conv.kernel_size, conv.stride, conv.padding) == (kernel, (1, 1), padding)
        refuse_unless(same, module, "neck", theirs)
    return {"neck_dim": parts[0].out_channels, "neck_norm": norms}


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' SamVisionModel. It takes images of one size."""
    encoder = module.vision_encoder
    layers = timm.named("vision_encoder.layers", encoder.layers)
    settings = timm.alike(module, layers, _hf_layer)
    return build(
        image_size=to_pair(encoder.patch_embed.image_size, "image_size"),
        **transformers.patches(module, encoder.patch_embed.projection),
        **settings,
        **_windows(module, layers),
        **_neck(module, encoder.neck),
        num_classes=0,
        depth=len(layers),
        positions=encoder.pos_embed is not None,
    )


def _hf_layer(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    attn, mlp = theirs.attn, theirs.mlp
    return {
        "dim": attn.proj.in_features,
        "heads": attn.num_attention_heads,
        "qkv_bias": attn.qkv.bias is not None,
        "attn_dropout": float(attn.dropout),
        "mlp_dim": mlp.lin1.out_features,
        "activation": activation_of(mlp.act),
        "norm": timm.same_norm(module, {f"{name}.layer_norm{i}": getattr(theirs, f"layer_norm{i}") for i in (1, 2)}),
    }


def _mean_of_neck(module: Any, images: Tensor) -> Tensor:
    """The mean of its last map."""
    found: Tensor = module(images).last_hidden_state.mean(dim=(2, 3))
    return found


ORIGINS = {
    "timm.models.vision_transformer_sam.VisionTransformerSAM": Origin("timm", read_timm),
    "transformers.models.sam.modeling_sam.SamVisionModel": Origin("hf", read_hf, _mean_of_neck),
}
