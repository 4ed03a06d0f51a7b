"""DeiT III."""

from __future__ import annotations

from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks.zoo import DeiT3

from .vit import timm_tower


def timm(config: Config) -> DeiT3:
    """timm's VisionTransformer with ``no_embed_class``."""
    config.only("no_embed_class", True)
    config.only("pre_norm", False)
    config.only("class_token", True)
    config.only("reg_tokens", 0)
    config.only("global_pool", "token")
    config.only("fc_norm", None)
    return DeiT3(**timm_tower(config))


BUILDERS = {("DeiT III", "timm"): Builder(timm)}
