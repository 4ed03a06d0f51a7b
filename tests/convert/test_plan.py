"""Sensitivity and plans: each layer alone, and the best of all assignments."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from tests.zoo.tiny import TINY
from vitblocks import LocalWindowAttention
from vitblocks.convert import (
    KEPT,
    Entry,
    Sensitivity,
    answers,
    checked,
    converted,
    drift,
    global_layers,
    kernel,
    left_out,
    pareto,
    plan,
    reduced,
    sensitivity,
    windows,
)
from vitblocks.inspect.summary import macs

from .test_refit import IMAGES, vit


def made_up(layers: int = 4, seed: int = 0) -> Sensitivity:
    """A report of random numbers."""
    torch.manual_seed(seed)
    entries = []
    for i in range(layers):
        entries.append(Entry(f"layer{i}", KEPT, 0.0, 0.0, 1.0, 100, 1.0, 10))
        for kind in ("a", "b"):
            cost, moved = torch.rand(2).tolist()
            entries.append(Entry(f"layer{i}", kind, moved / 2, moved, 0.5, int(100 * cost), cost, 5))
    return Sensitivity(entries, 8, True, (16, 16), "nothing")


@pytest.mark.parametrize("cost", ["macs", "seconds"])
@pytest.mark.parametrize("budget", [0.3, 0.6, 0.9])
def test_the_plan_is_the_best_of_all(cost: Any, budget: float) -> None:
    report = made_up()
    choices = [[e for e in report.entries if e.layer == layer] for layer in report.layers]
    allowed = budget * sum(getattr(e, cost) for e in report.entries if e.kind == KEPT)
    every = [(sum(getattr(e, cost) for e in p), sum(e.tokens for e in p)) for p in product(*choices)]
    best = min(moved for spent, moved in every if spent <= allowed)
    found = plan(report, budget, cost=cost)
    assert found.drift == pytest.approx(best)
    assert found.cost <= allowed
    assert plan(report, allowed, cost=cost, share=False) == found
    front = pareto(report, cost=cost)
    for one in front:
        assert not any(spent <= one.cost and moved < one.drift - 1e-9 for spent, moved in every)


def test_plans_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="budget must be at least"):
        plan(made_up(), 0.0001)
    with pytest.raises(ValueError, match="cost must be one of"):
        pareto(made_up(), cost="money")


def test_each_layer_alone(tmp_path: Any) -> None:
    model = vit()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    kinds = [windows(2), reduced(2), left_out(), reduced(8)]  # the last does not fit a grid of 4x4
    report = sensitivity(model, IMAGES[:8], kinds, refitted=False)
    assert report.layers == global_layers(model)
    assert report.kinds == [KEPT, "windows of 2", "reduced by 2", "left out"]
    for layer in report.layers:
        for kind in kinds[:3]:
            entry = report.of(layer, kind.name)
            assert entry is not None
            alone = converted(model, {layer: kind.name}, kinds)
            moved = drift(answers(model, IMAGES[:8]), answers(alone, IMAGES[:8]))
            assert (entry.tokens, entry.logits) == pytest.approx((moved.tokens, moved.logits))
            assert entry.macs == macs(alone)[layer]
            assert entry.seconds > 0
    kept, none = (report.of(report.layers[0], kind) for kind in (KEPT, "left out"))
    assert kept is not None
    assert none is not None
    # Of 17 tokens of 8 channels at least the input, q, k, v and what goes into the projection are kept, as float32.
    assert kept.activations >= 5 * 17 * 8 * 4
    assert none.activations == 0
    assert plan(report, 0.6, cost="activations").cost <= 0.6 * 2 * kept.activations
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    report.save(tmp_path / "report.json")
    assert Sensitivity.load(tmp_path / "report.json") == report
    assert "windows of 2" in str(report)
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(ValueError, match="no sensitivity report"):
        Sensitivity.load(tmp_path / "other.json")


def test_refitting_comes_first_if_asked_for() -> None:
    model = vit()
    plain, fitted = (sensitivity(model, IMAGES, [kernel()], refitted=refitted) for refitted in (False, True))
    assert fitted.images == 6
    assert sum(e.logits for e in fitted.entries) < sum(e.logits for e in plain.entries)


def test_plans_are_run() -> None:
    model, kinds = vit(), [windows(2), left_out()]
    report = sensitivity(model, IMAGES, kinds)
    found = checked(model, pareto(report, cost="macs"), kinds, IMAGES)
    assert found[0].checked is not None
    assert found[0].checked.logits == 0  # nothing changed
    assert [one.checked.tokens for one in found if one.checked] == sorted(
        one.checked.tokens for one in found if one.checked
    )
    with pytest.raises(ValueError, match="kinds must hold"):
        converted(model, {"stages.0.layers.3.attn": "nothing"}, kinds)


def test_the_heat_map_is_drawn() -> None:
    pytest.importorskip("matplotlib")
    axes = made_up().draw("tokens").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert len(axes.texts) == 8


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("ATSViT", set()),  # whose later blocks call the parts of their attention
        ("LeViT", {"kernel features"}),  # whose biases need logits, and whose projections are no Linear
        ("MobileViT", set()),  # whose layers see patches in the batch
    ],
)
def test_models_that_run_their_attention_in_other_ways(name: str, lacking: set[str]) -> None:
    torch.manual_seed(0)
    model = TINY[name].build().eval()
    side = TINY[name].image_size
    report = sensitivity(model, torch.randn(8, 3, side, side), [kernel(), left_out()])
    assert report.layers == global_layers(model)
    assert {"kept", "left out", "kernel features"} - set(report.kinds) == lacking


def test_attention_of_other_kinds_is_converted_where_it_is_named() -> None:
    model = TINY["TwinsSVT"].build().eval()
    images = torch.randn(8, 3, TINY["TwinsSVT"].image_size, TINY["TwinsSVT"].image_size)
    with pytest.raises(ValueError, match="TwinsSVT has none: name attentions of other kinds as layers"):
        sensitivity(model, images)
    (name,) = (
        name
        for name, module in model.named_modules()
        if name.startswith("stages.2") and type(module) is LocalWindowAttention
    )
    report = sensitivity(model, images, [left_out()], layers=[name])
    assert [(entry.layer, entry.kind) for entry in report.entries] == [(name, KEPT), (name, "left out")]
