"""DeiT: Training data-efficient image transformers & distillation through attention (arXiv:2012.12877).

A student carries a distillation token beside its class token, and a head for each. ``student(image)`` is one tensor in training and
inference alike, the mean of both heads; ``student.head.each(student.forward_features(image))`` gives the logits of both, the class
head's first.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from ...head import AveragedHeads, linear_head
from ...init import trunc_normal_linear
from ...model import Model
from ...objectives.distillation import DistillWrapper as DistillWrapper
from ...pool import ClassPool
from ...position import LearnedPosition, SinePosition1d
from ...prefix import ClassToken
from ...recipe import noted_as
from ...registry import Variant, Variants, part
from .. import pit, vit
from ..efficient import EfficientViT, EfficientViTOptions
from ..sizes import per_level
from ..t2t import T2TViT, T2TViTOptions
from .configs import VIT_CONFIGS
from .layouts import PIT_LAYOUTS, VIT_LAYOUTS
from .origins import PIT_ORIGINS, VIT_ORIGINS

AnyModel = TypeVar("AnyModel", bound=Model)


@part
class DistillableViT(vit.ViT):
    """ViT with a distillation token (Section 4): ``[class, distillation, patches]``, all with positions, and a head for each token.

    The second head is initialised as the first.

    Args:
        image_size, patch_size, num_classes, dim, depth, heads, mlp_dim, channels, dropout, emb_dropout, head_dim, attn_dropout, drop_path,
            qkv_bias, norm, embed, activation, layer_scale, resize, prefix_positions, qk_norm: see :class:`~vitblocks.zoo.vit.ViT`.
        pool: ``"cls"`` alone.
    """

    layouts = VIT_LAYOUTS
    origins = VIT_ORIGINS
    configs = VIT_CONFIGS
    two_heads = True

    def __init__(self, *, dim: int, num_classes: int, **options: Unpack[vit.ViTOptions]) -> None:
        super().__init__(dim=dim, num_classes=num_classes, prefix_tokens=2, **options)
        read_both_tokens(self, linear_head(dim, num_classes).apply(trunc_normal_linear))

    def to_vit(self) -> vit.ViT:
        """A plain ViT with copies of this student's weights, without distillation token and head."""
        return without_distillation(self, vit.ViT)


@part
class DistillableT2TViT(T2TViT):
    """T2T-ViT with a distillation token and a head for it.

    Args:
        dim, image_size, depth, heads, mlp_dim, num_classes, t2t_layers, channels, dropout, emb_dropout, attn_dropout, drop_path,
            token_dim, token_layer, qkv_bias, attn_scale: see :class:`~vitblocks.zoo.t2t.T2TViT`.
    """

    two_heads = True

    def __init__(self, *, dim: int, num_classes: int, **options: Unpack[T2TViTOptions]) -> None:
        super().__init__(dim=dim, num_classes=num_classes, prefix_tokens=2, **options)
        read_both_tokens(self, linear_head(dim, num_classes).apply(trunc_normal_linear))

    def to_vit(self) -> T2TViT:
        """A plain T2T-ViT with copies of this student's weights, without distillation token and head."""
        return without_distillation(self, T2TViT)


@part
class DistillableEfficientViT(EfficientViT):
    """ViT around a transformer of yours, with a distillation token and a head for it.

    Args:
        image_size, patch_size, num_classes, dim, transformer, channels, emb_dropout: see :class:`vitblocks.EfficientViT`.
        pool: ``"cls"`` alone.
    """

    two_heads = True

    def __init__(self, *, dim: int, num_classes: int, **options: Unpack[EfficientViTOptions]) -> None:
        super().__init__(dim=dim, num_classes=num_classes, prefix_tokens=2, **options)
        read_both_tokens(self, linear_head(dim, num_classes).apply(trunc_normal_linear))

    def to_vit(self) -> EfficientViT:
        """A plain model with copies of this student's weights, the transformer's among them, without distillation token and head."""
        return without_distillation(self, EfficientViT)


@part
class DistillablePiT(pit.PiT):
    """PiT with a distillation token that is pooled along with the class token, and a head for it.

    Args:
        image_size, patch_size, dim, num_classes, depth, heads, mlp_dim, dropout, emb_dropout, channels, attn_dropout, drop_path, stride,
            norm, activation: see :class:`~vitblocks.zoo.pit.PiT`.
    """

    layouts = PIT_LAYOUTS
    origins = PIT_ORIGINS
    two_heads = True

    def __init__(
        self, *, dim: int | Sequence[int], depth: Sequence[int], num_classes: int, **options: Unpack[pit.PiTOptions]
    ) -> None:
        super().__init__(dim=dim, depth=depth, num_classes=num_classes, prefix_tokens=2, **options)
        read_both_tokens(self, linear_head(per_level("dim", dim, len(depth), growth=2)[-1], num_classes))

    def to_vit(self) -> pit.PiT:
        """A plain PiT with copies of this student's weights, without distillation token and head."""
        return without_distillation(self, pit.PiT)


def read_both_tokens(model: Model, second: nn.Module) -> None:
    """Let the head of a model with two prefix tokens read the first, and ``second`` the other.

    Raises:
        ValueError: the model's pool does not read prefix tokens.
    """
    if not isinstance(model.pool, ClassPool):
        raise ValueError("pool must be 'cls': each head of a distilled model reads a token of its own")
    model.pool = ClassPool(2)
    model.head = AveragedHeads([model.head, second])


def without_distillation(student: Model, plain: type[AnyModel]) -> AnyModel:
    """A copy of the student as a model of its plain class: what the second prefix token and its head own is left out."""
    model: Any = deepcopy(student)
    # A zoo class composes and does nothing else: with the student's second token gone, its parts are the plain class's.
    model.__class__ = plain
    model.pool = ClassPool()
    model.head = model.head.heads[0]
    noted_as(model, plain)
    for layer in (layer for stage in model.stages for layer in stage.layers):
        if isinstance(layer, ClassToken):
            layer.token = _without_second(layer.token)
            noted_as(layer, ClassToken, count=layer.token.shape[1])
        elif isinstance(layer, (LearnedPosition, SinePosition1d)) and layer.num_prefix:
            layer.table = _without_second(layer.table)
            layer.num_prefix -= 1
            noted_as(layer, type(layer), num_prefix=layer.num_prefix)
    return model


def _without_second(rows: Tensor) -> Any:
    """``(1, N, C)`` without the row of index 1, a parameter if it was one."""
    kept = torch.cat([rows[:, :1], rows[:, 2:]], dim=1).detach()
    return nn.Parameter(kept, requires_grad=rows.requires_grad) if isinstance(rows, nn.Parameter) else kept


def _deit(name: str, size: int) -> Variants:
    options = {**vit.VARIANTS[f"vit_{name}_patch16_{size}"].options}
    return {
        f"deit_{name}_patch16_{size}": Variant(vit.ViT, options),
        f"deit_{name}_distilled_patch16_{size}": Variant(DistillableViT, options),
    }


# Table 1 of the paper, with and without the distillation token, and PiT's distilled variants.
VARIANTS: Variants = {
    **_deit("tiny", 224),
    **_deit("small", 224),
    **_deit("base", 224),
    **_deit("base", 384),
    **{
        name.replace("_224", "_distilled_224"): Variant(DistillablePiT, variant.options)
        for name, variant in pit.VARIANTS.items()
    },
}
