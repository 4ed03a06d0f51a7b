"""timm's models come in as they are, whatever they were made with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitblocks import preprocess
from vitblocks.border import adopt

from .cases import check

timm = pytest.importorskip("timm")

VIT: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "in_chans": 1},
    "no head": {"num_classes": 0},
    "mean of the patches": {"global_pool": "avg"},
    "mean without class token": {"global_pool": "avg", "class_token": False},
    "rectangle": {"img_size": (32, 48)},
    "layer scale, no bias of qkv": {"init_values": 1e-2, "qkv_bias": False},
    "tanh GELU, another epsilon": {"act_layer": "gelu_tanh", "norm_layer": "layernorm"},
    "any size": {"dynamic_img_size": True},
}


@pytest.mark.parametrize("options", VIT.values(), ids=VIT)
def test_vit(options: dict[str, Any]) -> None:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, **options}
    check(
        lambda: timm.models.vision_transformer.VisionTransformer(**sizes),
        sizes=2 if "dynamic_img_size" in options else 1,
    )


@pytest.mark.parametrize("options", [{"global_pool": "map"}, {"qk_norm": True}, {"pre_norm": True}, {"reg_tokens": 2}])
def test_what_no_part_does_is_refused_by_name(options: dict[str, Any]) -> None:
    theirs = timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2, **options
    )
    with pytest.raises(ValueError, match="for which there is no part here"):
        adopt(theirs)


def test_preprocessing_comes_along() -> None:
    theirs = timm.create_model("vit_tiny_patch16_224", depth=1, img_size=(32, 48))
    model, _ = adopt(theirs)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({"input_size": (3, 32, 48)}, model=theirs))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    assert torch.equal(preprocess(model)(image), transform(image))
