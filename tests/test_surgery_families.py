"""Swapping feed-forwards, norms, positions and pools: what is exact is exact, what is carried arrives, what is new is said."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks import (
    PEG,
    AttentionPool,
    BatchNorm,
    Block,
    ClassPool,
    ClassRelativeBias,
    ConvEmbed,
    ConvFeedForward,
    ConvProjectionAttention,
    DistanceBias,
    DynamicBias,
    GatedMlp,
    GlobalAttention,
    LayerNorm,
    LearnedPosition,
    LinearNorm,
    MeanPool,
    Mlp,
    Model,
    ReAttention,
    RelativeBias,
    RMSNorm,
    SequencePool,
    SinePosition1d,
    SinePosition2d,
    Stage,
    SwapReport,
    ViT,
    swap,
)
from vitblocks.inspect.frames import evaluating
from vitblocks.surgery import NormAfter, swaps_of

DIM, HEADS, GRID = 16, 2, (4, 4)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def model_of(
    mlp: nn.Module | None = None,
    position: nn.Module | None = None,
    bias: nn.Module | None = None,
    pool: nn.Module | None = None,
) -> Model:
    """One block without prefix tokens, its weights and statistics away from every special start."""
    block = Block(DIM, GlobalAttention(DIM, HEADS, position_bias=bias), Mlp(DIM, 24) if mlp is None else mlp)
    layers = [*([] if position is None else [position]), block]
    pool = MeanPool() if pool is None else pool
    model = Model(ConvEmbed(4, DIM), [Stage(layers)], norm=LayerNorm(DIM), pool=pool, head=nn.Linear(DIM, 5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand_like(buffer))
    model.image_size = (16, 16)
    return model.double()


def vit(**options: Any) -> ViT:
    return ViT(
        image_size=16, patch_size=4, num_classes=5, dim=DIM, depth=2, heads=HEADS, mlp_dim=24, **options
    ).double()


def images() -> Tensor:
    return torch.randn(3, 3, 16, 16, dtype=torch.float64)


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    with evaluating(model), torch.no_grad():
        return model(x)


def check_trains(model: nn.Module, x: Tensor) -> None:
    model.train()
    model(x).square().sum().backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


# ---- what the mathematics keeps -------------------------------------------------------------------------------------

Case = tuple[Callable[[], Model], str, Any, dict[str, Any]]
EXACT: dict[str, Case] = {
    "mlp to gated": (model_of, "feedforward", GatedMlp, {}),
    "relu mlp to convolutional": (
        lambda: model_of(Mlp(DIM, 24, activation=nn.ReLU)),
        "feedforward",
        ConvFeedForward,
        {"kernel_size": 5},
    ),
    "folded norms to gated": (lambda: model_of(Mlp(DIM, 24, linear=LinearNorm)), "feedforward", GatedMlp, {}),
    "norms in a feed-forward to the same": (
        lambda: model_of(Mlp(DIM, 24, linear=LinearNorm, activation=nn.Hardswish)),
        "feedforward",
        Mlp,
        {},
    ),
    "sines to learned": (lambda: model_of(position=SinePosition2d(DIM, GRID)), "position", LearnedPosition, {}),
    "sines of a sequence to learned": (
        lambda: model_of(position=SinePosition1d(DIM, GRID)),
        "position",
        LearnedPosition,
        {},
    ),
    "peg to a larger one": (lambda: model_of(position=PEG(DIM, 3)), "position", PEG, {"kernel_size": 5}),
    "distances to offsets": (lambda: model_of(bias=DistanceBias(HEADS, GRID)), "position", RelativeBias, {}),
    "dynamic to offsets": (lambda: model_of(bias=DynamicBias(HEADS, 4)), "position", RelativeBias, {}),
    "offsets with a class": (lambda: model_of(bias=RelativeBias(HEADS, GRID)), "position", ClassRelativeBias, {}),
    "offsets without a class": (lambda: model_of(bias=ClassRelativeBias(HEADS, GRID)), "position", RelativeBias, {}),
    "mean to sequence": (model_of, "pool", SequencePool, {}),
    "mean to attention": (model_of, "pool", AttentionPool, {"heads": 4}),
    "mean and norm to sequence": (lambda: model_of(pool=MeanPool(LayerNorm(DIM))), "pool", SequencePool, {}),
    "mean and norm to attention": (lambda: model_of(pool=MeanPool(LayerNorm(DIM))), "pool", AttentionPool, {}),
    "layer norms to themselves": (model_of, "norm", nn.LayerNorm, {}),
}


@pytest.mark.parametrize("case", EXACT, ids=[name.replace(" ", "-") for name in EXACT])
def test_function_is_kept(case: str) -> None:
    build, family, to, options = EXACT[case]
    model, x = build(), images()
    before = outputs(model, x)
    report = swap(model, family, to, sample=x, **options)
    after = outputs(model, x)
    assert float((after - before).abs().max() / before.abs().max()) < 1e-12
    assert report.drift is not None
    assert report.drift.logits < 1e-12
    check_trains(model, x)


BACK: dict[str, tuple[Callable[[], Model], str, Any, Any]] = {
    "mlp, gated, mlp": (model_of, "feedforward", GatedMlp, Mlp),
    "mlp, convolutional, mlp": (model_of, "feedforward", ConvFeedForward, Mlp),
    "distances, offsets, distances": (
        lambda: model_of(bias=DistanceBias(HEADS, GRID)),
        "position",
        RelativeBias,
        DistanceBias,
    ),
    "mean and norm, sequence, mean and norm": (
        lambda: model_of(pool=MeanPool(LayerNorm(DIM))),
        "pool",
        SequencePool,
        MeanPool,
    ),
}


@pytest.mark.parametrize("case", BACK)
def test_there_and_back_is_where_it_was(case: str) -> None:
    build, family, there, back = BACK[case]
    model, x = build(), images()
    before, state = outputs(model, x), deepcopy(model.state_dict())
    swap(model, family, there, sample=x)
    swap(model, family, back, sample=x)
    assert model.state_dict().keys() == state.keys()
    assert float((outputs(model, x) - before).abs().max()) < 1e-10


@pytest.mark.parametrize(
    ("build", "family", "to", "options"),
    [
        (model_of, "feedforward", ConvFeedForward, {}),  # GELU twice is another function
        (lambda: model_of(GatedMlp(DIM, 24)), "feedforward", Mlp, {}),
        (model_of, "norm", RMSNorm, {}),
        (model_of, "norm", BatchNorm, {}),
        (lambda: model_of(position=LearnedPosition(DIM, GRID)), "position", PEG, {}),
        (lambda: model_of(position=LearnedPosition(DIM, GRID)), "position", SinePosition2d, {}),
        (lambda: model_of(position=PEG(DIM)), "position", LearnedPosition, {}),
        (lambda: model_of(bias=RelativeBias(HEADS, GRID)), "position", DistanceBias, {}),
        (lambda: model_of(bias=RelativeBias(HEADS, GRID)), "position", DynamicBias, {"mlp_dim": 4}),
        (lambda: model_of(pool=SequencePool(DIM)), "pool", MeanPool, {}),
    ],
)
def test_what_changes_the_function_runs_trains_and_says_how_far(
    build: Callable[[], Model], family: str, to: Any, options: dict[str, Any]
) -> None:
    model, x = build(), images()
    report = swap(model, family, to, sample=x, **options)
    assert report.drift is not None
    assert 1e-9 < report.drift.logits < float("inf")
    assert any(layer.dropped or layer.new or layer.carried for layer in report.layers)
    check_trains(model, x)


# ---- what arrives ---------------------------------------------------------------------------------------------------


def layer(report: SwapReport, i: int = 0) -> tuple[list[str], list[str], list[str]]:
    swapped = report.layers[i]
    return swapped.carried, swapped.new, swapped.dropped


def test_feedforward_report() -> None:
    model = model_of()
    weight = model.get_submodule("stages.0.layers.0.mlp.fc1").weight
    report = swap(model, "feedforward", GatedMlp)
    assert layer(report) == (
        ["gate.weight", "gate.bias", "fc2.weight", "fc2.bias"],
        ["fc1.weight", "fc1.bias"],
        [],
    )
    assert torch.equal(model.get_submodule("stages.0.layers.0.mlp.gate").weight, weight)
    assert report.layers[0].macs_after is not None
    assert report.layers[0].macs_before is not None
    assert report.layers[0].macs_after * 2 == report.layers[0].macs_before * 3


def test_another_hidden_width_starts_anew_and_says_so() -> None:
    model = model_of()
    report = swap(model, "feedforward", GatedMlp, mlp_dim=16, sample=images())
    carried, new, dropped = layer(report)
    assert carried == []
    assert "gate.weight" in new
    assert dropped == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert model.get_submodule("stages.0.layers.0.mlp.fc1").weight.any()


def test_activation_and_dropout_go_along() -> None:
    model = model_of(Mlp(DIM, 24, activation=nn.ReLU6, dropout=0.3))
    swap(model, "feedforward", GatedMlp)
    gated = model.get_submodule("stages.0.layers.0.mlp")
    assert isinstance(gated.act, nn.ReLU6)
    assert isinstance(gated.dropout1, nn.Dropout)
    assert gated.dropout1.p == 0.3


def test_norm_report_and_epsilon() -> None:
    model = vit()
    norm = model.get_submodule("stages.0.layers.3.norm1")
    assert isinstance(norm, nn.LayerNorm)
    norm.weight.requires_grad_(False)
    report = swap(model, "norm", RMSNorm, where="stages.0.layers.3.norm1", eps=1e-3)
    assert layer(report) == (["weight"], [], ["bias"])
    new = model.get_submodule("stages.0.layers.3.norm1")
    assert isinstance(new, nn.RMSNorm)
    assert new.eps == 1e-3
    assert not new.weight.requires_grad
    assert len(swap(model, nn.LayerNorm, BatchNorm).layers) == 4


def test_norms_of_projections_are_left_alone() -> None:
    model = model_of(Mlp(DIM, 24, linear=LinearNorm))
    report = swap(model, "norm", nn.LayerNorm, where="*")
    assert not [swapped.name for swapped in report.layers if ".fc" in swapped.name]


def test_prefix_positions_of_a_vit() -> None:
    model, x = vit(), images()
    name = "stages.0.layers.1"
    assert layer(swap(model, "position", SinePosition1d)) == ([], ["table"], ["table"])
    table = model.get_submodule(name).table
    swap(model, "position", LearnedPosition, sample=x)
    learned = model.get_submodule(name)
    assert isinstance(learned, LearnedPosition)
    assert learned.num_prefix == 1
    assert torch.equal(learned.table, table)
    swap(model, "position", PEG)
    assert not model.get_submodule(f"{name}.conv").weight.any()
    back = swap(model, "position", LearnedPosition)
    assert back.config["layers"][name]["new"]["args"] == {"dim": DIM, "grid": {"tuple": [4, 4]}}


def test_a_grid_that_nobody_knows() -> None:
    model = model_of(position=PEG(DIM))
    model.image_size = None
    with pytest.raises(ValueError, match=r"layers\.0 \(PEG\): LearnedPosition needs the grid .*sample="):
        swap(model, "position", LearnedPosition)
    swap(model, "position", LearnedPosition, grid=GRID)
    model(images())


def test_biases_and_layers_of_position_are_told_apart() -> None:
    model = model_of(position=LearnedPosition(DIM, GRID), bias=RelativeBias(HEADS, GRID))
    assert [s.name for s in swap(model, "position", PEG).layers] == ["stages.0.layers.0"]
    assert [s.name for s in swap(model, "position", DistanceBias).layers] == ["stages.0.layers.1.attn.position_bias"]


def test_a_norm_after_pooling_is_kept() -> None:
    model = vit(pool="mean")
    report = swap(model, "pool", SequencePool, sample=images())
    assert isinstance(model.pool, NormAfter)
    assert layer(report) == (["norm.weight", "norm.bias"], ["pool.logit.weight", "pool.logit.bias"], [])


def test_class_token_to_mean() -> None:
    model = vit()
    report = swap(model, ClassPool, MeanPool, sample=images())
    assert type(model.pool) is MeanPool
    assert report.drift is not None
    assert report.drift.logits > 0


def test_a_pool_that_does_not_fit_says_why() -> None:
    model = model_of()
    pool = model.pool
    with pytest.raises(ValueError, match=r"pool \(MeanPool -> ClassPool\) fails on .*prefix token"):
        swap(model, "pool", ClassPool, sample=images())
    with pytest.raises(ValueError, match=r"pool \(MeanPool -> ClassPool\) fails on the model's image_size"):
        swap(model, "pool", ClassPool)
    assert model.pool is pool
    assert swaps_of(model) == []


# ---- which ----------------------------------------------------------------------------------------------------------


def test_depth_counts_blocks() -> None:
    report = swap(vit(), "feedforward", GatedMlp, where=-1)
    assert [swapped.name for swapped in report.layers] == ["stages.0.layers.4.mlp"]


def test_a_function_of_the_caller() -> None:
    model, x = model_of(), images()
    report = swap(model, "feedforward", lambda old: nn.Identity() if False else GatedMlp(DIM, 24, activation=nn.GELU))
    assert report.layers[0].carried == ["gate.weight", "gate.bias", "fc2.weight", "fc2.bias"]
    assert report.config["layers"]["stages.0.layers.0.mlp"]["new"]["class"] == "GatedMlp"
    model(x)


@pytest.mark.parametrize(
    ("family", "to", "error", "message"),
    [
        ("attentions", GatedMlp, ValueError, "family must be one of attention, feedforward, norm, pool, position"),
        (nn.Conv2d, GatedMlp, TypeError, "got the class Conv2d"),
        (nn.Module, GatedMlp, TypeError, "got the class Module"),
        ("feedforward", GlobalAttention, TypeError, "must be a feedforward class.*got GlobalAttention"),
        ("norm", 3, TypeError, "must be a norm class"),
        ("pool", NormAfter, TypeError, "a layer of its own"),
        ("position", PEG, ValueError, r"matches no position; there are:\n  none"),
        ("feedforward", lambda old: 3, TypeError, "must return"),
    ],
)
def test_of_no_use(family: Any, to: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        swap(model_of(), family, to)


def test_undo_takes_the_record_back() -> None:
    model = model_of()
    first = swap(model, "norm", RMSNorm)
    second = swap(model, "feedforward", GatedMlp)
    assert [record["family"] for record in swaps_of(model)] == ["norm", "feedforward"]
    first.undo()
    assert swaps_of(model) == [second.config]
    second.undo()
    assert swaps_of(model) == []


# ---- statistics -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "to", "options"),
    [
        ("attention", ReAttention, {}),
        ("attention", ConvProjectionAttention, {"kv_stride": 1}),
        ("attention", GlobalAttention, {"proj": LinearNorm(DIM, DIM)}),
        ("feedforward", ConvFeedForward, {}),
    ],
)
def test_with_a_sample_training_starts_from_what_evaluation_keeps(
    family: str, to: Any, options: dict[str, Any]
) -> None:
    mlp = Mlp(DIM, 24, activation=nn.ReLU)
    model, x = model_of(mlp), images()
    before = outputs(model, x)
    swap(model, family, to, sample=x, **options)
    for mode in (False, True):
        model.train(mode)
        with torch.no_grad():
            assert float((model(x) - before).abs().max() / before.abs().max()) < 1e-10


def test_batch_norms_in_place_of_others_norm_the_sample() -> None:
    model, x = model_of(), images()
    model.requires_grad_(False)
    before = deepcopy(model.state_dict())
    swap(model, "norm", BatchNorm, sample=x)
    state = model.state_dict()
    assert torch.equal(state["norm.bn.weight"], before["norm.weight"])
    evaluated = outputs(model, x)
    model.train()
    assert float((model(x) - evaluated).abs().max() / evaluated.abs().max()) < 1e-10
