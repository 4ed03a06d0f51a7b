"""Folding keeps the function, folds what it should, and leaves alone what it must."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import nn

from tests.zoo.tiny import TINY
from vitblocks import (
    Block,
    ClassAttention,
    ClassBlock,
    ClassToken,
    ConvFeedForward,
    ConvProjectionAttention,
    DynamicBias,
    FoldReport,
    GatedMlp,
    GlobalAttention,
    InvertedResidual,
    KernelAttend,
    LinearNorm,
    LocalWindowAttention,
    Mlp,
    OnMap,
    ParallelBlock,
    PatchMerging,
    PostNormBlock,
    QuickGELU,
    ReAttend,
    ReAttention,
    ReducedAttention,
    RelativeBias,
    Residual,
    TalkingHeadsAttend,
    TalkingHeadsAttention,
    fold,
)
from vitblocks.embed.adaptors import Downsample, PatchConv2d
from vitblocks.norm import BatchNorm, rms_norm
from vitblocks.zoo.ats_vit import SmoothedSoftmaxAttend
from vitblocks.zoo.cct import CompactBlock
from vitblocks.zoo.deepvit import RescaledBlock

from .models import DIM, images, model_of, shaken

EXPECTED = {
    "ATSViT": {"LayerNorm into the linear after it"},
    "CaiT": {"layer scale into the projection", "LayerNorm into the linear after it"},
    "CrossFormer": {"position bias materialised", "LayerNorm into the linear after it"},
    "CvT": {"BatchNorm into the convolution before it", "QuickGELU's factor into the linears around it"},
    "DeepViT": {"BatchNorm into the HeadMix before it", "LayerNorm into the linear after it"},
    "LeViT": {
        "BatchNorm into the linear before it",
        "BatchNorm into the convolution before it",
        "BatchNorm into the linear after it",
        "position bias materialised",
    },
    "LocalViT": {"BatchNorm into the convolution before it", "LayerNorm into the linear after it"},
    "MobileViT": {"BatchNorm into the convolution before it", "BatchNorm into the linear before it"},
    "Swin": {"position bias materialised", "LayerNorm into the linear after it"},
    "SwinV2": {"position bias materialised", "biases of queries and values as one"},
    "ViT": {"LayerNorm into the linear after it", "position table frozen"},
}


def difference(model: nn.Module, folded: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(x) - folded(x)).abs().amax())


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_model_keeps_its_outputs(name: str) -> None:
    model = shaken(TINY[name].build())
    x = images(TINY[name].image_size)
    before = deepcopy(model.state_dict())
    folded, report = fold(model)
    assert difference(model, folded, x) < 1e-9
    assert report.counts
    frozen, report = fold(model, x)
    assert difference(model, frozen, x) < 1e-9
    assert report.drift is not None
    assert report.drift < 1e-9
    assert EXPECTED.get(name, set()) <= report.counts.keys()
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", ["CvT", "DeepViT", "LeViT", "LocalViT", "MobileViT"])
def test_no_batch_norm_is_left(name: str) -> None:
    folded, _ = fold(shaken(TINY[name].build()))
    assert not [m for m in folded.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def test_no_layer_scale_and_no_affine_norm_is_left_in_a_block() -> None:
    folded, _ = fold(model_of(Block(DIM, GlobalAttention(DIM, 2), Mlp(DIM), layer_scale=0.5)))
    assert not [name for name, _ in folded.named_parameters() if "scale" in name or "norm" in name]


HYBRIDS: dict[str, Callable[[], list[nn.Module]]] = {
    "layer scale": lambda: [Block(DIM, GlobalAttention(DIM, 2), Mlp(DIM), layer_scale=0.5)],
    "rms norm": lambda: [Block(DIM, GlobalAttention(DIM, 2), Mlp(DIM), norm=rms_norm())],
    "batch norm": lambda: [Block(DIM, GlobalAttention(DIM, 2), Mlp(DIM), norm=BatchNorm, layer_scale=0.5)],
    "padded windows": lambda: [
        Block(DIM, LocalWindowAttention(DIM, 2, window=2, shift=1, position_bias=RelativeBias(2, 2)), GatedMlp(DIM))
    ],
    "mixed heads in windows": lambda: [
        Block(DIM, LocalWindowAttention(DIM, 2, window=2, attend=attend), Mlp(DIM))
        for attend in (ReAttend(2, weight_scale=1.5), TalkingHeadsAttend(2))
    ],
    "smoothed in padded windows": lambda: [
        Block(DIM, LocalWindowAttention(DIM, 2, window=2, attend=SmoothedSoftmaxAttend(eps=0.1)), Mlp(DIM))
    ],
    "padding that windows see": lambda: [
        Block(DIM, LocalWindowAttention(DIM, 2, window=2, shift=shift, padding="attended"), Mlp(DIM)) for shift in (0, 1)
    ],
    "prefix in windows": lambda: [
        ClassToken(DIM, 3),
        Block(DIM, LocalWindowAttention(DIM, 2, window=2, position_bias=DynamicBias(2, 4)), ConvFeedForward(DIM)),
    ],
    "class attention": lambda: [ClassToken(DIM), ClassBlock(DIM, ClassAttention(DIM, 2), Mlp(DIM), layer_scale=0.5)],
    "compact": lambda: [CompactBlock(DIM, GlobalAttention(DIM, 2), Mlp(DIM), layer_scale=0.5)],
    "post-norm": lambda: [PostNormBlock(DIM, GlobalAttention(DIM, 2), Mlp(DIM), layer_scale=0.5)],
    "parallel": lambda: [ParallelBlock(DIM, TalkingHeadsAttention(DIM, 2), Mlp(DIM), layer_scale=0.5)],
    "rescaled": lambda: [RescaledBlock(DIM, ReAttention(DIM, 2), Mlp(DIM), scale=0.5, layer_scale=0.5)],
    "rescaled batch norm": lambda: [RescaledBlock(DIM, ReAttention(DIM, 2), Mlp(DIM), scale=0.5, norm=BatchNorm)],
    "reduced with prefix": lambda: [
        ClassToken(DIM),
        Block(DIM, ReducedAttention(DIM, 2, reduction=2, norm=BatchNorm), Mlp(DIM), layer_scale=0.5),
    ],
    "reduced by nothing": lambda: [Block(DIM, ReducedAttention(DIM, 2, reduction=1), Mlp(DIM))],
    "convolutional": lambda: [
        ClassToken(DIM),
        Block(DIM, ConvProjectionAttention(DIM, 2), ConvFeedForward(DIM), layer_scale=0.5),
        Residual(DIM, ConvFeedForward(DIM, activation=nn.ReLU6), layer_scale=0.5),
    ],
    "quick": lambda: [
        Block(DIM, GlobalAttention(DIM, 2), Mlp(DIM, activation=QuickGELU)),
        Block(DIM, GlobalAttention(DIM, 2), GatedMlp(DIM, activation=QuickGELU)),
    ],
    "linear norms": lambda: [Block(DIM, GlobalAttention(DIM, 2), Mlp(DIM, linear=LinearNorm), layer_scale=0.5)],
    "kernel": lambda: [Block(DIM, GlobalAttention(DIM, 2, attend=KernelAttend(4)), Mlp(DIM))],
    "on a map": lambda: [OnMap(InvertedResidual(DIM, DIM)), OnMap(nn.Sequential(nn.BatchNorm2d(DIM), nn.Conv2d(DIM, DIM, 1)))],
    "padded after a norm": lambda: [OnMap(nn.Sequential(nn.BatchNorm2d(DIM), nn.Conv2d(DIM, DIM, 3, padding=1)))],
}  # fmt: skip


@pytest.mark.parametrize("name", HYBRIDS)
def test_hybrids_keep_their_outputs(name: str) -> None:
    model = model_of(*HYBRIDS[name]())
    folded, report = fold(model, images())
    assert difference(model, folded, images()) < 1e-9
    assert report.drift is not None


def folds(name: str) -> dict[str, int]:
    return fold(model_of(*HYBRIDS[name]())).report.counts


def test_merging_norm_goes_into_its_projection() -> None:
    model = model_of(transition=PatchMerging(DIM))
    folded, report = fold(model)
    assert difference(model, folded, images(24)) < 1e-9
    assert report.counts == {"LayerNorm into the linear after it": 1}


def test_zeros_that_pad_windows_and_are_seen_keep_the_norm() -> None:
    assert folds("smoothed in padded windows")["LayerNorm into the linear after it"] == 1  # the feed-forward's
    assert folds("padded windows")["LayerNorm into the linear after it"] == 2
    assert folds("padding that windows see")["LayerNorm into the linear after it"] == 2


def test_a_norm_that_others_read_is_kept() -> None:
    assert folds("compact")["LayerNorm into the linear after it"] == 1
    assert "LayerNorm into the linear after it" not in folds("post-norm")


def test_a_norm_before_a_padded_convolution_is_kept() -> None:
    assert not folds("padded after a norm")
    kept = {"pad": 0, "drop": 1}
    for remainder, count in kept.items():
        patches = nn.Sequential(nn.BatchNorm2d(DIM), PatchConv2d(DIM, DIM, 2, remainder=remainder))
        model = model_of(transition=Downsample(patches))
        folded, report = fold(model)
        assert report.counts.get("BatchNorm into the linear after it", 0) == count
        assert difference(model, folded, images()) < 1e-9


def test_rescaled_blocks_become_plain_ones() -> None:
    folded, report = fold(model_of(*HYBRIDS["rescaled"]()))
    assert report.counts["rescaling into the norms and projections"] == 1
    assert [type(m) for m in folded.modules() if isinstance(m, (Block, RescaledBlock))] == [Block]


def test_what_is_shared_is_left_alone() -> None:
    mlp = Mlp(DIM)
    model = model_of(*(Block(DIM, GlobalAttention(DIM, 2), mlp, layer_scale=0.5) for _ in range(2)))
    folded, report = fold(model, images())
    assert difference(model, folded, images()) < 1e-9
    assert report.counts["layer scale into the projection"] == 2  # the attentions' alone


def test_tied_weights_are_left_alone() -> None:
    model = model_of(*(Block(DIM, GlobalAttention(DIM, 2), Mlp(DIM)) for _ in range(2)))
    model.stages[0].layers[1].mlp.fc1.weight = model.stages[0].layers[0].mlp.fc1.weight
    folded, report = fold(model, images())
    assert difference(model, folded, images()) < 1e-9
    assert report.counts["LayerNorm into the linear after it"] == 2


def test_what_carries_hooks_is_left_alone() -> None:
    model = model_of(Block(DIM, GlobalAttention(DIM, 2), Mlp(DIM)))
    seen: list[torch.Tensor] = []
    norm = model.stages[0].layers[0].norm1
    norm.register_forward_hook(lambda module, args, output: seen.append(output))
    folded, _ = fold(model)
    assert difference(model, folded, images()) < 1e-9
    assert torch.allclose(seen[0], seen[1], rtol=0, atol=1e-12)


class Doubled(Mlp):
    """A subclass that computes something else."""

    def forward(self, x: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
        return super().forward(x, grid) + x


def test_a_subclass_with_a_forward_of_its_own_is_left_alone() -> None:
    model = model_of(Block(DIM, GlobalAttention(DIM, 2), Doubled(DIM), layer_scale=0.5))
    folded, report = fold(model, images())
    assert difference(model, folded, images()) < 1e-9
    assert report.counts["layer scale into the projection"] == 1
    assert report.counts["LayerNorm into the linear after it"] == 1


def test_folding_twice_folds_nothing_more() -> None:
    folded, _ = fold(shaken(TINY["LeViT"].build()), images(32))
    assert fold(folded, images(32)).report.counts == {}


def test_models_of_other_packages_fold_too() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)
    )
    model = shaken(net)
    folded, report = fold(model)
    assert difference(model, folded, images(8)) < 1e-9
    assert report.counts == {"BatchNorm into the convolution before it": 1}


def test_batch_norm_by_each_batch_is_kept() -> None:
    model = shaken(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)))
    folded, report = fold(model)
    assert report.counts == {}
    assert difference(model, folded, images(8)) == 0


@pytest.mark.parametrize("name", ["LeViT", "ViT"])
def test_another_size_than_the_samples_is_refused(name: str) -> None:
    model = shaken(TINY[name].build(), torch.float32)
    size = TINY[name].image_size
    other = images(2 * size, torch.float32)
    folded, _ = fold(model, images(size, torch.float32))
    with pytest.raises(ValueError, match="was frozen for grid"):
        folded(other)
    folded = fold(model).model
    assert torch.allclose(folded(other), model(other), rtol=1e-4, atol=1e-4)


def test_folded_models_compile_and_export() -> None:
    model = shaken(TINY["LeViT"].build(), torch.float32)
    x = images(32, torch.float32)
    folded, _ = fold(model, x)
    with torch.no_grad():
        assert torch.allclose(torch.compile(folded, backend="eager", fullgraph=True)(x), folded(x))
        assert torch.allclose(torch.export.export(folded, (x,)).module()(x), folded(x))


def test_in_place_needs_evaluation_mode_and_a_copy_is_put_in_it() -> None:
    model = model_of(Block(DIM, GlobalAttention(DIM, 2), Mlp(DIM))).train()
    with pytest.raises(ValueError, match="inplace=True"):
        fold(model, inplace=True)
    folded, _ = fold(model)
    assert model.training
    assert not folded.training
    assert fold(model.eval(), inplace=True).model is model


def test_bad_arguments_are_named() -> None:
    with pytest.raises(TypeError, match="model must be a module"):
        fold(3)


def test_the_report_reads() -> None:
    report = fold(model_of(*HYBRIDS["layer scale"]())).report
    assert isinstance(report, FoldReport)
    assert "2 x layer scale into the projection" in str(report)
    assert all(done.source and done.into for done in report.folds if "dropout" not in done.rule)
