"""How timm's Eva is read, which is one class for EVA, EVA-02, DINOv3 and RoPE-ViT."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from ...block import Block, ResidualPostNormBlock
from ...border import Origin, activation_of, norm_of, rate_of, refuse_unless, timm
from ...feedforward import GatedMlp
from ...pool import ClassPool, MeanPool
from ...position import Rotary2d, resize_table_as_timm

if TYPE_CHECKING:
    from ...model import Model


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's Eva with learned positions of class token and patches, and keys without a bias.

    With the rotary ones of DINOv3 in their place it becomes a ``DINOv3``, with others, or a bias of keys, a ``RoPEViT``.
    """
    if type(module.rope).__name__ == "RotaryEmbeddingDinoV3":
        return read_dinov3(module)
    if module.rope is not None and _is_rope_vit(module):
        return read_rope_vit(module)
    refuse_unless(module.reg_token is None, module, "reg_tokens with learned positions of the class token", True)
    refuse_unless(not module.no_embed_class, module, "no_embed_class", True)
    refuse_unless(module.pos_embed is not None, module, "pos_embed", None)
    settings = _settings(module)
    kind = settings.pop("attn")
    refuse_unless(kind == "EvaAttention", module, "blocks.0.attn", kind)
    refuse_unless(settings.pop("qkv_bias"), module, "qkv_bias", False)
    normed, separate = settings.pop("normed"), settings.pop("separate")
    refuse_unless(separate == normed, module, "qkv_fused with such a feed-forward", not separate)
    split = settings.pop("split")
    refuse_unless(split in (None, normed), module, "SwiGLU without an inner norm", split)
    return _pooled(
        module,
        build,
        **settings,
        positions_rotary=_rotary(module),
        resize=resize_table_as_timm,
    )


def read_dinov3(module: Any) -> Model:
    """timm's Eva with rotary positions of patch centres, and registers."""
    from ..dinov3 import DINOv3  # whose layouts are made of this paper's

    rope, settings = module.rope, _settings(module)
    refuse_unless(module.pos_embed is None, module, "pos_embed with rope_type = 'dinov3'", True)
    heads = settings["heads"]
    head_dim = settings["head_dim"]
    found = (rope.rotate_half, rope.grid_offset, rope.grid_indexing, rope.normalize_coords, rope.aug_active)
    refuse_unless(found == (True, 0.0, "ij", "separate", False), module, "rope", found)
    refuse_unless(rope.min_period is None and rope.max_period is None, module, "rope.min_period", rope.min_period)
    refuse_unless(rope.dim == head_dim, module, f"rope.dim for {heads} heads", rope.dim)
    plain = {"attn": "EvaAttention", "normed": False, "separate": False, "attn_norm": None, "block": Block}
    for name, wanted in plain.items():
        found = settings.pop(name)
        refuse_unless(found == wanted, module, f"{name} with rope_type = 'dinov3'", found)
    split = settings.pop("split")
    refuse_unless(split is not False, module, "GluMlp with rope_type = 'dinov3'", True)
    registers = 0 if module.reg_token is None else module.reg_token.shape[1]
    return _pooled(module, DINOv3, **settings, registers=registers, base=rope.temperature)


def _is_rope_vit(module: Any) -> bool:
    """Whether it has the attention of RoPE-ViT, learned frequencies, no class token, or no learned positions of a class token."""
    plain = module.cls_token is not None and module.pos_embed is not None and not module.no_embed_class
    kinds = type(module.blocks[0].attn).__name__, type(module.rope).__name__
    return not plain or "AttentionRope" in kinds or "RotaryEmbeddingMixed" in kinds


def read_rope_vit(module: Any) -> Model:
    """timm's Eva with rotary positions, and learned ones of patches or none: the class token is read, or there is none."""
    from ..rope_vit import RoPEViT  # whose layouts are made of this paper's

    settings = _settings(module, class_token=module.global_pool == "token")
    kind = settings.pop("attn")
    for name, wanted in (
        ("normed", False),
        ("separate", False),
        ("attn_norm", None),
        ("block", Block),
        ("split", None),
    ):
        found = settings.pop(name)
        refuse_unless(found is wanted, module, f"{name} with rotary positions alone", found)
    own_place = module.cls_token is None or module.no_embed_class or module.pos_embed is None
    refuse_unless(own_place, module, "pos_embed of the class token", True)
    registers = 0 if module.reg_token is None else module.reg_token.shape[1]
    refuse_unless(
        module.pos_embed is None or module.no_embed_class or not registers, module, "pos_embed of reg_token", True
    )
    return _pooled(
        module,
        partial(RoPEViT, **settings),
        mean="mean",
        positions_rotary=_rotary(module, settings["heads"]),
        absolute_positions=module.pos_embed is not None,
        registers=registers,
        key_bias=kind == "AttentionRope",
        resize=resize_table_as_timm,
    )


def _settings(module: Any, *, class_token: bool = True) -> dict[str, Any]:
    """What all models have in common."""
    timm.refuse_identity(module, "norm_pre", module.norm_pre)
    timm.refuse_identity(module, "patch_drop", module.patch_drop)
    refuse_unless((module.cls_token is not None) == class_token, module, "class_token", not class_token)
    refuse_unless(module.attn_pool is None, module, "global_pool", module.global_pool)
    blocks = timm.named("blocks", module.blocks)
    settings = timm.alike(module, blocks, _block)
    gamma = settings.pop("layer_scale")
    return {
        **timm.patches(module, module.patch_embed),
        **settings,
        "depth": len(blocks),
        "layer_scale": 1.0 if gamma else None,  # any: weights come with the rest
        "drop_path": timm.drop_path(module, blocks),
        "emb_dropout": rate_of(module.pos_drop),
        "num_classes": timm.head(module),
    }


def _pooled(module: Any, build: Callable[..., Model], mean: str = "cls", **settings: Any) -> Model:
    """The model, with the norm before the pooling or after it. ``mean`` is the pool of one without a class token."""
    last, by_class = timm.last_norm(module)
    model = build(**settings, pool="cls" if by_class else mean)
    if by_class:
        return model
    norm = model.norm if isinstance(model.pool, ClassPool) else model.pool.get_submodule("norm")
    after = last == "fc_norm"
    model.pool, model.norm = MeanPool(norm) if after else MeanPool(), nn.Identity() if after else norm
    return model


def _rotary(module: Any, heads: int | None = None) -> Any:
    """The factory of rotary positions that are counted in places, scaled to the grid they were trained with; None of none.

    With ``heads`` those of RoPE-ViT are read, too, which count columns first and may have learned frequencies.
    """
    rope = module.rope
    if rope is None:
        return None
    kind, kinds = type(rope).__name__, ("RotaryEmbeddingCat", "RotaryEmbeddingMixed")
    refuse_unless(kind in kinds[: 2 if heads else 1], module, "rope", kind)
    refuse_unless(not rope.aug_active, module, "rope.aug_active", True)
    orders = {"ij": "row", "xy": "column"} if heads else {"ij": "row"}
    refuse_unless(rope.grid_indexing in orders, module, "rope.grid_indexing", rope.grid_indexing)
    options: dict[str, Any] = {"base": float(rope.temperature), "first": orders[rope.grid_indexing]}
    if kind == "RotaryEmbeddingMixed":
        return partial(Rotary2d, **options, mixed_heads=heads)
    plain = (rope.grid_type, rope.linear_bands, rope.grid_offset)
    refuse_unless(plain == ("index", False, 0.0), module, "rope", plain)
    grid = None if rope.ref_feat_shape is None else tuple(rope.ref_feat_shape)
    return partial(Rotary2d, **options, grid=grid, pairs="halves" if rope.rotate_half else "neighbours")


def _block(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    kinds = {"EvaBlock": Block, "EvaBlockPostNorm": ResidualPostNormBlock}
    kind = type(theirs).__name__
    refuse_unless(kind in kinds, module, name, kind)
    scales = [getattr(theirs, gamma, None) is not None for gamma in ("gamma_1", "gamma_2")]
    refuse_unless(scales[0] == scales[1], module, f"{name}.gamma_2", None)
    attn, feedforward = _attention(module, f"{name}.attn", theirs.attn), _feedforward(module, f"{name}.mlp", theirs.mlp)
    rates = (attn["dropout"], feedforward["dropout"])
    refuse_unless(rates[0] == rates[1], module, f"drop rates of {name}", rates)
    norm = timm.same_norm(module, {f"{name}.norm1": theirs.norm1, f"{name}.norm2": theirs.norm2})
    return {"block": kinds[kind], "norm": norm, "layer_scale": scales[0], **attn, **feedforward}


def _attention(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    kind = type(theirs).__name__
    refuse_unless(kind in ("EvaAttention", "AttentionRope"), module, name, kind)
    timm.refuse_identity(module, f"{name}.gate", getattr(theirs, "gate", None))
    refuse_unless(theirs.proj.bias is not None, module, f"bias of {name}.proj", None)
    separate = theirs.qkv is None
    bias = theirs.q_proj.bias if separate else theirs.qkv.bias if kind == "AttentionRope" else theirs.q_bias
    return {
        "dim": theirs.proj.out_features,
        "heads": theirs.num_heads,
        "head_dim": theirs.proj.in_features // theirs.num_heads,
        "attn": kind,
        "qk_norm": timm.qk_norm(module, name, theirs),
        "separate": separate,
        "qkv_bias": bias is not None,
        "attn_norm": None if isinstance(theirs.norm, nn.Identity) else norm_of(theirs.norm),
        "attn_dropout": rate_of(theirs.attn_drop),
        "dropout": rate_of(theirs.proj_drop),
    }


def _feedforward(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    """``split``: whether a gated one has a matrix for the gate of its own; None of a plain one."""
    kind = type(theirs).__name__
    if kind == "Mlp":
        return {**timm.mlp(module, name, theirs), "normed": False, "split": None}
    refuse_unless(kind in ("GluMlp", "SwiGLU"), module, name, kind)
    refuse_unless(kind == "SwiGLU" or not theirs.gate_last, module, f"{name}.gate_last", True)
    fc1 = theirs.fc1_g if kind == "SwiGLU" else theirs.fc1
    refuse_unless(fc1.bias is not None and theirs.fc2.bias is not None, module, f"bias of {name}", None)
    rates = (rate_of(theirs.drop1), rate_of(theirs.drop2))
    refuse_unless(rates[0] == rates[1], module, f"drop rates of {name}", rates)
    normed = not isinstance(theirs.norm, nn.Identity)
    return {
        "mlp_dim": theirs.fc2.in_features,
        "activation": activation_of(theirs.act),
        "feedforward": partial(GatedMlp, norm=norm_of(theirs.norm)) if normed else GatedMlp,
        "dropout": rates[0],
        "normed": normed,
        "split": kind == "SwiGLU",
    }


ORIGINS = {"timm.models.eva.Eva": Origin("timm", read_timm)}
