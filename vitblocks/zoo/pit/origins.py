"""How timm's PiT is read. The origin is that of the distilled student, as timm has one class for both."""

from __future__ import annotations

from typing import Any

from ...border import rate_of, refuse_unless, timm


def timm_settings(module: Any) -> dict[str, Any]:
    """The settings of timm's PoolingVisionTransformer as keywords of :class:`PiT`, but for its heads."""
    refuse_unless(module.global_pool == "token", module, "global_pool", module.global_pool)
    stages = [timm.named(f"transformers.{s}.blocks", stage.blocks) for s, stage in enumerate(module.transformers)]
    settings, each = timm.by_stage(module, stages, timm.block, own=("dim", "heads", "mlp_dim"))
    refuse_unless(settings.pop("qkv_bias"), module, "qkv_bias", False)
    timm.same_norm(module, {"norm1": module.transformers[0].blocks[0].norm1, "norm": module.norm})
    for s, stage in enumerate(module.transformers):
        timm.refuse_identity(module, f"transformers.{s}.norm", stage.norm)
        timm.refuse_identity(module, f"transformers.{s}.blocks.0.ls1", getattr(stage.blocks[0], "ls1", None))
        if s:
            conv = stage.pool.conv
            shape = (conv.kernel_size, conv.stride, conv.padding, conv.padding_mode)
            refuse_unless(shape == ((3, 3), (2, 2), (1, 1), "zeros"), module, f"transformers.{s}.pool", conv)
    conv = module.patch_embed.conv
    refuse_unless(conv.padding == (0, 0), module, "patch_embed.conv.padding", conv.padding)
    return {
        **settings,
        **each,
        "image_size": module.patch_embed.img_size,
        "patch_size": conv.kernel_size,
        "stride": conv.stride,
        "channels": conv.in_channels,
        "depth": [len(stage) for stage in stages],
        "emb_dropout": rate_of(module.pos_drop),
        "drop_path": timm.drop_path(module, {name: block for stage in stages for name, block in stage.items()}),
    }
