"""vit-pytorch's models come in as they are, as far as they compute what ours do."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import ClassToken, SinePosition1d
from vitblocks.border import adopt

from .cases import changed, check, randomised

pytest.importorskip("vit_pytorch")
from vit_pytorch import SimpleViT, ViT
from vit_pytorch.cct import CCT

VIT: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "channels": 1},
    "no head": {"num_classes": 0},
    "mean": {"pool": "mean"},
    "mean without head, 1 channel": {"pool": "mean", "num_classes": 0, "channels": 1},
    "rectangle": {"image_size": (32, 48), "patch_size": (8, 16)},
    "one head without a projection": {"heads": 1, "dim_head": 32, "dropout": 0.1},
    "other sizes, drop rates": {"depth": 1, "heads": 3, "dim_head": 8, "dropout": 0.1, "emb_dropout": 0.2},
}


def vit(**options: Any) -> nn.Module:
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 10, "dim": 32, "depth": 2, "heads": 2, "mlp_dim": 48}
    return ViT(**sizes | {"dim_head": 16} | options)


@pytest.mark.parametrize("options", VIT.values(), ids=VIT)
def test_vit(options: dict[str, Any]) -> None:
    model, _ = check(lambda: vit(**options))
    has_class = any(isinstance(layer, ClassToken) for layer in model.modules())
    assert has_class == ("pool" not in options)


def test_smaller_sizes_read_the_first_positions() -> None:
    for options in ({}, {"pool": "mean"}):
        _, report = adopt(randomised(vit(**options)), sizes=[16, (64, 16), (24, 40), 32])
        assert len(report.errors) == 4
    model, report = adopt(randomised(vit()))
    assert report.notes
    with pytest.raises(ValueError, match="too few for a grid"):
        model(torch.rand(1, 3, 40, 40))


CCTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "7 classes, 1 channel": {"num_classes": 7, "n_input_channels": 1},
    "sines": {"positional_embedding": "sine"},
    "rectangle, other sizes": {"img_size": (32, 48), "n_conv_layers": 2, "num_heads": 4, "mlp_ratio": 1.3},
    "other kernels": {"kernel_size": 3, "stride": 1, "padding": 1, "pooling_stride": 3},
    "drop rates": {"dropout_rate": 0.1, "attention_dropout": 0.2, "stochastic_depth_rate": 0.3},
}


def cct(**options: Any) -> nn.Module:
    sizes = {"img_size": 32, "embedding_dim": 32, "num_layers": 2, "num_heads": 2, "mlp_ratio": 2, "num_classes": 10}
    return CCT(**sizes | {"positional_embedding": "learnable"} | options)


@pytest.mark.parametrize("options", CCTS.values(), ids=CCTS)
def test_cct(options: dict[str, Any]) -> None:
    check(lambda: cct(**options))


def test_sines_are_told_by_their_numbers() -> None:
    model, _ = adopt(cct(positional_embedding="sine").eval())
    assert any(isinstance(layer, SinePosition1d) for layer in model.modules())
    assert model.image_size == (32, 32)


def test_rectangles_of_as_many_tokens_read_positions_in_their_order() -> None:
    adopt(randomised(cct(kernel_size=3, stride=1, padding=1)), sizes=[32, (16, 64)])


REFUSED: dict[str, tuple[Any, str]] = {
    "another epsilon": (lambda: changed(vit(), "transformer.norm.eps", 1e-6), "transformer.norm = LayerNorm"),
    "CCT: no classes": (lambda: cct(num_classes=0), "num_classes = 0"),
    "CCT: an epsilon": (lambda: changed(cct(), "classifier.norm.eps", 1e-6), "classifier.norm = LayerNorm"),
}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(("case", "message"), REFUSED.values(), ids=REFUSED)
def test_what_no_part_does_is_refused_by_name(case: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){re.escape(message)}.*for which there is no part here"):
        adopt(case())


def test_models_that_compute_something_else_are_not_known() -> None:
    theirs = SimpleViT(image_size=16, patch_size=8, num_classes=2, dim=16, depth=1, heads=1, mlp_dim=16)
    with pytest.raises(ValueError, match=r"got vit_pytorch\.simple_vit\.SimpleViT; those are: .*vit_pytorch\.vit\.ViT"):
        adopt(theirs)
