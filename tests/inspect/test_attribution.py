"""Rollouts and class attention against what their papers write down, and where they are not defined."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks import (
    Attend,
    AttentionPool,
    ConvEmbed,
    Model,
    PerToken,
    SoftmaxAttend,
    Stage,
    attention_rollout,
    class_attention_map,
    gradient_rollout,
    record_attention,
)
from vitblocks.demo.hybrid import hybrid

from ..zoo.tiny import TINY
from .test_record import ATTENDING, image, no_hooks

GLOBAL = [
    "BEiT",
    "CCT",
    "CLIP",
    "CompactViT",
    "DINOv2",
    "DINOv3",
    "DeiT3",
    "DistillableViT",
    "EVA",
    "LocalViT",
    "RoPEViT",
    "ViT",
    "ViTLite",
]
"""Isotropic, with plain softmax attention among all tokens."""

MIXED = ["CaiT", "DeepViT"]
"""Isotropic, with heads mixed after the softmax."""


def model_and_image(name: str, **options: Any) -> tuple[Any, Tensor]:
    build, size = TINY[name]
    return build(**options).eval(), image(size)


@pytest.mark.parametrize("name", GLOBAL)
def test_rollout_is_the_product_over_layers(name: str) -> None:
    model, x = model_and_image(name)
    with record_attention(model) as records:
        model(x)
    eye = torch.eye(records[0].weights.shape[-1])
    expected = eye
    for weights in records.stacked().mean(dim=2).unbind(dim=1):
        expected = (0.5 * weights + 0.5 * eye) @ expected
    rollout = attention_rollout(model, x)
    torch.testing.assert_close(rollout.weights[:, 0, 0], expected)
    torch.testing.assert_close(rollout.matrix().sum(dim=-1), torch.ones(2, 1, len(eye)))
    assert rollout.key_map(-1).shape == (2, 1, *records[0].known()[1].grid)


def test_rollout_without_residual_is_the_product_of_the_weights() -> None:
    model, x = model_and_image("ViT")
    first, second = (attention_rollout(model, x, layers=i, residual=0).weights for i in (0, 1))
    torch.testing.assert_close(attention_rollout(model, x, residual=0).weights, second @ first)
    with pytest.raises(ValueError, match="residual"):
        attention_rollout(model, x, residual=1.5)


class Explicit(Attend):
    """Softmax attention that keeps its weights for a gradient: the reference of the gradient rollout."""

    kept: Tensor

    def __init__(self, attend: Attend) -> None:
        super().__init__(scale=attend.scale)
        self.attend = attend

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.attend.weights(q, k, bias)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        self.kept = self.weights(q, k, bias)
        self.kept.retain_grad()
        return self.kept @ v


@pytest.mark.parametrize("target", [None, 1, [3, 0]])
@pytest.mark.parametrize("name", [*GLOBAL, "DeepViT"])
def test_gradient_rollout_is_its_papers_rule(name: str, target: Any) -> None:
    """With the weights in the graph, where the library has fused kernels and takes the gradient from values and output."""
    model, x = model_and_image(name)
    target = torch.tensor(target) if isinstance(target, list) else target
    rollout = gradient_rollout(model, x, target)
    explicit = []
    for module in list(model.modules()):
        if isinstance(getattr(module, "attend", None), Attend) and not isinstance(module, Explicit):
            module.attend = Explicit(module.attend)
            explicit.append(module.attend)
    logits = model(x)
    classes = logits.argmax(dim=1) if target is None else torch.as_tensor(target).expand(2)
    logits[torch.arange(2), classes].sum().backward()
    relevance = torch.eye(explicit[0].kept.shape[-1]).expand(2, -1, -1)
    for attend in explicit:
        assert attend.kept.grad is not None
        relevance = relevance + (attend.kept.grad * attend.kept).clamp(min=0).mean(dim=1) @ relevance
    torch.testing.assert_close(rollout.weights[:, 0, 0], relevance, rtol=1e-4, atol=1e-6)
    assert not rollout.weights.requires_grad


def test_gradient_rollout_tells_classes_apart_and_leaves_the_model_alone() -> None:
    model, x = model_and_image("ViT")
    model.train().requires_grad_(False)
    model.norm.eval()
    modes = [module.training for module in model.modules()]
    zero, one = (gradient_rollout(model, x, target).key_map(0) for target in (0, 1))
    assert not torch.allclose(zero, one)
    assert [module.training for module in model.modules()] == modes
    assert no_hooks(model)
    assert x.grad is None
    assert not x.requires_grad


def test_gradient_rollout_through_recomputation() -> None:
    model, x = model_and_image("ViT")
    expected = gradient_rollout(model, x).weights
    torch.testing.assert_close(gradient_rollout(model.gradient_checkpointing(), x).weights, expected)


def test_class_attention_comes_after_the_patches() -> None:
    """CaiT's class token enters late and alone is updated: patches roll out as they were before it."""
    model, x = model_and_image("CaiT")
    for attend in model.modules():
        for mix in ("mix_logits", "mix_weights"):
            if hasattr(attend, mix):
                nn.init.eye_(getattr(attend, mix).weight)
    rollout = attention_rollout(model, x).weights[:, 0, 0]
    patches = attention_rollout(model, x, layers=slice(0, 2)).weights[:, 0, 0]
    torch.testing.assert_close(rollout[:, 1:, 1:], patches)
    assert rollout[:, 1:, 0].count_nonzero() == 0
    with record_attention(model, layers=-1) as records:
        model(x)
    weights = records[0].weights[:, 0].mean(dim=1)
    expected = 0.5 * weights[..., 1:] @ patches
    torch.testing.assert_close(rollout[:, :1, 1:], expected)
    torch.testing.assert_close(rollout.sum(dim=-1), torch.ones(2, 17))


@pytest.mark.parametrize("name", MIXED)
def test_mixed_heads_have_no_rollout_but_a_gradient_rollout(name: str) -> None:
    model, x = model_and_image(name)
    with pytest.raises(ValueError, match="gradient_rollout"):
        attention_rollout(model, x)
    weights = gradient_rollout(model, x).weights
    assert weights.shape == (2, 1, 1, 17, 17)
    assert weights.isfinite().all()


REASONS = {
    "ATSViT": "dropped|grids",
    "CrossFormer": "groups",
    "CrossViT": "two towers",
    "CvT": "keys on",
    "DistillablePiT": "of the grids",
    "DistillableT2TViT": "of the grids",
    "Hiera": "groups|keys on",
    "LeViT": "keys on|of the grids",
    "MaxViT": "groups",
    "MobileViT": "groups",
    "NesT": "groups",
    "PiT": "of the grids",
    "RegionViT": "groups|of the grids",
    "SAMViT": "groups",
    "SigLIP": "keys on",
    "Swin": "groups",
    "SwinV2": "groups",
    "T2TViT": "of the grids",
    "TwinsPCPVT": "keys on",
    "TwinsSVT": "groups",
    "XCiT": "not known",
}


@pytest.mark.parametrize("name", sorted(set(ATTENDING) - {*GLOBAL, *MIXED}))
def test_rollout_says_where_it_is_not_defined(name: str) -> None:
    model, x = model_and_image(name)
    for rollout in (attention_rollout, gradient_rollout):
        with pytest.raises(ValueError, match=REASONS[name]):
            rollout(model, x)
    assert no_hooks(model)


def test_rollout_over_a_part_of_a_model() -> None:
    model, x = model_and_image("T2TViT")
    assert attention_rollout(model, x, layers="stages.1").key_map(0).shape == (2, 1, 4, 4)
    mixed = hybrid(dim=16, heads=2).eval()
    rollout = gradient_rollout(mixed, torch.randn(2, 1, 16, 16), layers="stages.1")
    assert rollout.key_map((0, 7)).shape == (2, 1, 8, 8)


def test_logits_are_needed_for_a_gradient() -> None:
    model, x = model_and_image("ViT")
    model.pool, model.head = PerToken(nn.Identity()), nn.Identity()
    with pytest.raises(ValueError, match="logits"):
        gradient_rollout(model, x)


@pytest.mark.parametrize("name", ["ViT", "DeepViT", "LocalViT", "PiT", "ViTLite", "CvT", "T2TViT", "CaiT", "CrossViT"])
def test_class_attention_map_is_the_class_tokens_row(name: str) -> None:
    model, x = model_and_image(name)
    with record_attention(model) as records:
        model(x)
    record = records[-1]
    keys = record.known()[1]
    expected = record.weights[:, 0, :, 0, keys.prefix :].unflatten(-1, keys.grid)
    torch.testing.assert_close(class_attention_map(model, x), expected)
    torch.testing.assert_close(class_attention_map(model, x, record.name), expected)


def test_class_attention_map_of_each_layer() -> None:
    """CaiT has a class token in its class blocks alone; every fusion of CrossViT looks at the other tower."""
    model, x = model_and_image("CaiT", cls_depth=2)
    torch.testing.assert_close(class_attention_map(model, x, 0), class_attention_map(model, x, -2))
    with pytest.raises(ValueError, match="one of 2"):
        class_attention_map(model, x, 2)
    cross, x = model_and_image("CrossViT")
    assert class_attention_map(cross, x, "stages.0.fusions.0").shape == (2, 2, 2, 2)
    assert class_attention_map(cross, x, "stages.0.fusions.1").shape == (2, 2, 4, 4)
    x.requires_grad_()
    assert torch.autograd.grad(class_attention_map(cross, x).square().sum(), x)[0].abs().sum() > 0


def test_class_attention_map_where_there_is_none() -> None:
    for name in ("CCT", "Swin", "RegionViT", "LeViT"):
        model, x = model_and_image(name)
        with pytest.raises(ValueError, match="class token"):
            class_attention_map(model, x)
    model, x = model_and_image("ATSViT")
    with pytest.raises(ValueError, match="dropped"):
        class_attention_map(model, x)
    assert class_attention_map(model, x, 1).shape == (2, 2, 4, 4)


def test_an_attention_pools_map() -> None:
    pool = AttentionPool(8, 2, attend=SoftmaxAttend())
    model = Model(embed=ConvEmbed(4, 8), stages=[Stage()], pool=pool)
    seen = class_attention_map(model, torch.randn(2, 3, 12, 20))
    assert seen.shape == (2, 2, 3, 5)
    torch.testing.assert_close(seen.sum(dim=(2, 3)), torch.ones(2, 2))
