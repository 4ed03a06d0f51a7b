"""Every attention kind into every zoo model: it trains and is saved, or an error says which layer lacks what."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vitblocks
from vitblocks import Windows, attention, checkpoint, swap_attention
from vitblocks.attention import Attention, ShiftedWindows
from vitblocks.inspect.summary import macs
from vitblocks.surgery import reapply
from vitblocks.surgery.attention import is_no_layer
from vitblocks.zoo.ats_vit import SmoothedSoftmaxAttend
from vitblocks.zoo.crossformer import LongDistanceWindows

from .zoo.common import check_compiles, check_exports
from .zoo.tiny import TINY

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "ClassAttention": [{}],
    "ConvProjectionAttention": [{}],
    "CrossCovarianceAttention": [{}],
    "DilatedWindowAttention": [{"window": 2, "dilation": 2}],
    "GlobalAttention": [{}, {"attend": SmoothedSoftmaxAttend()}],
    "LocalWindowAttention": [{"window": 2}],
    "PaddedRegionalAttention": [{"window": 2}],
    "ReAttention": [{}],
    "ReducedAttention": [{"reduction": 2}],
    "RegionalAttention": [{"window": 2}],
    "TalkingHeadsAttention": [{}],
    "WindowAttention": [{"windows": ShiftedWindows(2)}, {"windows": LongDistanceWindows(2, 2)}],
}
LAYERS: dict[str, type[Attention]] = {
    name: kind
    for name, kind in vitblocks.list_parts().items()
    if isinstance(kind, type) and issubclass(kind, Attention) and not is_no_layer(kind)
    if kind.__module__.startswith("vitblocks.")
}
KINDS = [(LAYERS[name], options) for name, cases in OPTIONS.items() for options in cases]


class Lack(NamedTuple):
    """What is said where a kind does not fit, and the models into which it does not go."""

    words: str
    models: frozenset[str]


# CvT's class token comes late, CaiT's too.
WITHOUT_PREFIX = frozenset(
    [
        "CCT",
        "CaiT",
        "CompactViT",
        "CrossFormer",
        "CvT",
        "Hiera",
        "MaxViT",
        "MobileViT",
        "NesT",
        "SAMViT",
        "SigLIP",
        "Swin",
        "SwinV2",
        "TwinsPCPVT",
        "TwinsSVT",
        "XCiT",
    ]
)
WITHOUT_ATTENTION = Lack("matches no attention", frozenset({"EfficientViT", "DistillableEfficientViT"}))
NOT_REGIONAL = frozenset(TINY) - {"RegionViT"} - WITHOUT_ATTENTION.models
LACKS: dict[str, list[Lack]] = {
    "ClassAttention": [
        Lack("proj is a Sequential", frozenset({"EVA"})),
        Lack("prefix token", WITHOUT_PREFIX),
        Lack("value_dim", frozenset({"LeViT"})),
        Lack("uses the project of GlobalAttention", frozenset({"ATSViT"})),
    ],
    "ConvProjectionAttention": [Lack("uses the project of GlobalAttention", frozenset({"ATSViT"}))],
    "CrossCovarianceAttention": [
        Lack("takes no bias|with the forward of GlobalAttention", frozenset({"ATSViT"})),
        Lack("value_dim", frozenset({"LeViT"})),
    ],
    "ReducedAttention": [
        Lack("proj is a Sequential", frozenset({"EVA"})),
        Lack("uses the project of GlobalAttention", frozenset({"ATSViT"})),
        Lack("smaller than the reduction", frozenset({"MobileViT"})),
        Lack("value_dim", frozenset({"LeViT"})),
    ],
    "RegionalAttention": [
        Lack("one prefix token per window", NOT_REGIONAL - {"ATSViT"}),
        Lack("with the forward of GlobalAttention|one prefix token per window", frozenset({"ATSViT"})),
    ],
    "PaddedRegionalAttention": [
        Lack("regional tokens", NOT_REGIONAL - {"ATSViT"}),
        Lack("with the forward of GlobalAttention|regional tokens", frozenset({"ATSViT"})),
    ],
    **{
        name: [Lack("with the forward of GlobalAttention", frozenset({"ATSViT"}))]
        for name in ("DilatedWindowAttention", "LocalWindowAttention", "WindowAttention")
    },
}


def lack(kind: type[Attention], model: str) -> str | None:
    lacks = [WITHOUT_ATTENTION, *LACKS.get(kind.__name__, [])]
    return next((lack.words for lack in lacks if model in lack.models), None)


def test_every_kind_is_in_the_matrix() -> None:
    assert set(LAYERS) == set(OPTIONS)


def cross_entropy(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(model(images), torch.arange(len(images)))


def check_trains(model: nn.Module, images: torch.Tensor) -> None:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    cross_entropy(model, images).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without
    optimizer.step()
    model.eval()


@pytest.mark.parametrize("name", TINY)
def test_matrix(name: str) -> None:
    torch.manual_seed(0)
    build, side = TINY[name]
    original, images = build().eval(), torch.randn(3, 3, side, side)
    kept = {key: id(part) for key, part in original.named_modules()}
    for kind, options in KINDS:
        case = f"{kind.__name__} {options} in {name}"
        missing = lack(kind, name)
        if missing is not None:
            with pytest.raises((TypeError, ValueError), match=rf"(?s)(\.attn\b|rounds\.0|where=None).*({missing})"):
                swap_attention(original, kind, sample=images, **options)
            assert kept == {key: id(part) for key, part in original.named_modules()}, case
            continue
        model = deepcopy(original)
        report = swap_attention(model, kind, sample=images, **options)
        assert all(layer.new_kind == kind.__name__ for layer in report.layers), case
        assert report.macs_before is not None, report.uncounted
        check_trains(model, images)
        with torch.no_grad():
            logits = model(images)
        assert logits.shape == (3, 5), case
        assert logits.isfinite().all(), case
        again = deepcopy(original)
        reapply(again, [report.config])
        again.load_state_dict(model.state_dict())
        with torch.no_grad():
            assert torch.equal(again(images), logits), case


AFTER: list[tuple[str, type[Attention], dict[str, Any]]] = [
    ("ViT", attention.TalkingHeadsAttention, {}),
    ("CaiT", attention.LocalWindowAttention, {"window": 2}),
    ("LeViT", attention.WindowAttention, {"windows": Windows(2)}),
    ("CrossViT", attention.ConvProjectionAttention, {}),
]


@pytest.mark.parametrize(
    ("name", "kind", "options"), [AFTER[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in AFTER[1:])]
)
def test_swapped_models_compile_export_and_are_saved(
    name: str, kind: type[Attention], options: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    build, side = TINY[name]
    model, images = build().eval(), torch.randn(2, 3, side, side)
    swap_attention(model, kind, sample=images, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    check_compiles(model, images)
    check_exports(model, images)
    checkpoint.save(model, tmp_path / "swapped.safetensors")
    fresh = build().eval()
    checkpoint.load_file(fresh, tmp_path / "swapped.safetensors")
    with torch.no_grad():
        assert torch.equal(fresh(images), model(images))


def test_multiply_adds_are_those_of_the_models() -> None:
    torch.manual_seed(0)
    build = TINY["ViT"].build
    model = build()
    before = macs(model)
    report = swap_attention(model, attention.ReducedAttention, where=0, reduction=2)
    assert report.macs_before == before[""]
    assert report.macs_after == macs(model)[""]
    layer = report.layers[0]
    assert layer.macs_before == before[layer.name]
    assert report.macs_after is not None
    assert layer.macs_after is not None
    assert layer.macs_before is not None
    assert report.macs_after - report.macs_before == layer.macs_after - layer.macs_before
    assert f"{layer.macs_before:,} -> {layer.macs_after:,}" in str(report)


def test_without_a_sample_the_models_own_size_is_tried() -> None:
    model = TINY["ViT"].build()
    with pytest.raises(ValueError, match=r"layers\.3\.attn .*image_size.*smaller than the reduction"):
        swap_attention(model, attention.ReducedAttention, reduction=5)
    unsized = TINY["TwinsSVT"].build()
    report = swap_attention(unsized, attention.GlobalAttention)
    assert report.macs_before is None
    assert "not counted, no sample" in str(report)
