"""How transformers' CLIP is read; timm's is a VisionTransformer, see :mod:`vitblocks.zoo.vit.origins`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ...border import Origin, timm, transformers
from ...embed import ConvEmbed
from ...grid import to_pair
from ...pool import MeanPool
from .layouts import hf_clip

if TYPE_CHECKING:
    from ...model import Model


def settings(module: Any, *, normed: bool) -> dict[str, Any]:
    """Of a tower of images, which ``module`` is or holds, as keywords of :class:`CLIP`; the last norm is read where it is ``normed``."""
    base = getattr(module, "vision_model", module)
    layers, conv = base.encoder.layers, base.embeddings.patch_embedding
    norms = {"layers.0.layer_norm1": layers[0].layer_norm1, "pre_layrnorm": base.pre_layrnorm}
    timm.same_norm(module, norms | ({"post_layernorm": base.post_layernorm} if normed else {}))
    size = to_pair(base.embeddings.image_size, "image_size")
    return {
        **timm.alike(module, timm.named("encoder.layers", layers), transformers.tower_layer),
        "image_size": tuple(side // patch * patch for side, patch in zip(size, conv.kernel_size, strict=True)),
        **transformers.patches(module, conv, bias=False),
        "embed": ConvEmbed(
            conv.kernel_size, conv.out_channels, channels=conv.in_channels, bias=False, remainder="drop"
        ),
        "depth": len(layers),
    }


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' CLIPVisionModel: the class token after the last norm; with a projection where there is one."""
    head = getattr(module, "visual_projection", None)
    options = settings(module, normed=True)
    if head is None:
        return build(**options, num_classes=0)
    return build(**options, num_classes=head.out_features, head_bias=head.bias is not None)


def read_hf_classifier(build: Callable[..., Model], module: Any) -> Model:
    """transformers' CLIPForImageClassification: the mean of the patches, which are not normed; the tower's last norm is read by nothing."""
    classes = transformers.classes(module, "classifier")
    model = build(**settings(module, normed=False), num_classes=classes, head_bias=True)
    model.norm, model.pool = nn.Identity(), MeanPool()
    return model


def _embeddings(module: Any, images: Tensor) -> Tensor:
    found: Tensor = module(images, **transformers.interpolated(module, images)).image_embeds
    return found


_HF = "transformers.models.clip.modeling_clip"

ORIGINS = {
    f"{_HF}.CLIPVisionModel": Origin(hf_clip("", "head"), read_hf, transformers.features_of_any_size),
    f"{_HF}.CLIPVisionModelWithProjection": Origin(hf_clip("vision_model.", "visual_projection"), read_hf, _embeddings),
    f"{_HF}.CLIPForImageClassification": Origin(
        hf_clip("vision_model.", "classifier", normed=False), read_hf_classifier, transformers.logits_of_any_size
    ),
}
