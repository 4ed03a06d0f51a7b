"""How timm's distilled models are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...border import Origin, refuse_unless, timm
from ..pit import PiT
from ..pit.origins import timm_settings as pit_settings
from ..vit.origins import timm_settings

if TYPE_CHECKING:
    from ...model import Model


def read_deit(build: Callable[..., Model], module: Any) -> Model:
    """timm's VisionTransformerDistilled; in evaluation its output is the mean of both heads, as ours always is."""
    classes = both_heads(module)
    timm.refuse_identity(module, "fc_norm", module.fc_norm)
    return build(**timm_settings(module), num_classes=classes)


def read_pit(build: Callable[..., Model], module: Any) -> Model:
    """timm's PoolingVisionTransformer, which is distilled or not: then it becomes a plain :class:`PiT`."""
    if module.head_dist is None:
        return PiT(**pit_settings(module), num_classes=timm.head(module))
    return build(**pit_settings(module), num_classes=both_heads(module))


def both_heads(module: Any) -> int:
    """The classes of two heads."""
    classes = timm.head(module)
    refuse_unless(timm.head(module, "head_dist") == classes, module, "head_dist", module.head_dist)
    return classes


VIT_ORIGINS = {"timm.models.deit.VisionTransformerDistilled": Origin("timm", read_deit)}
PIT_ORIGINS = {"timm.models.pit.PoolingVisionTransformer": Origin("timm", read_pit)}
