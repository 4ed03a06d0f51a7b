"""fast.optimize and what all passes share: reports, the way back, and classes that stand for others."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import vitblocks
from tests.fast.models import PlainAttention, PlainViT, gradients
from vitblocks import fast
from vitblocks.fast import attention, convolution, product
from vitblocks.fast.extend import Extension, extend, retract
from vitblocks.fast.report import Report


@pytest.fixture(autouse=True)
def gains(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine where every pass helps."""
    with monkeypatch.context() as patch:
        patch.setattr(product, "prefers_onednn", lambda: True)
        patch.setattr(attention, "faster", lambda *, wide, training: True)
        patch.setattr(convolution, "two_of_each_gain", lambda: 2.0)
        yield


def types(model: nn.Module) -> list[type]:
    return [type(module) for module in model.modules()]


def zoo() -> nn.Module:
    options = {"image_size": 16, "patch_size": 8, "num_classes": 3, "dim": 8, "depth": 2, "heads": 2, "mlp_dim": 16}
    return vitblocks.ViT(**options)


@pytest.mark.parametrize("make", [PlainViT, zoo])
@pytest.mark.parametrize("autocast", [False, True])
def test_all_passes_give_the_same_and_go_back(make: type[nn.Module], autocast: bool) -> None:
    model, images = make(), torch.randn(2, 3, 16, 16)
    plain = copy.deepcopy(model)
    report = fast.optimize(model, dtype=torch.bfloat16 if autocast else None)
    assert [part.name for part in report.parts] == ["linears", "convolutions", "attends", "biases", "recompute"]
    assert all(bool(part) for part in report.parts if part.name in ("linears", "recompute"))
    assert bool(report.parts[2]) is autocast
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found, expected = (gradients(way, images) for way in (model, plain))
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= (5e-2 if autocast else 1e-4) * b.abs().max()
    assert not fast.optimize(model, dtype=torch.bfloat16 if autocast else None)
    report.undo()
    assert types(model) == types(plain)


def test_evaluation_keeps_nothing_anyway() -> None:
    report = fast.optimize(PlainViT().eval())
    assert report.parts[-1].aside == "the model is in evaluation mode"


def test_passes_are_taken_back_in_any_order() -> None:
    model = PlainAttention(8, 2)
    model.act = nn.GELU()
    before = types(model)
    reports = [fast.attends(model, dtype=torch.bfloat16), fast.recompute(model), fast.linears(model)]
    assert type(model).__name__ == "RecomputingPlainProductsPlainAttention"
    reports[0].undo()
    assert type(model).__name__ == "RecomputingPlainAttention"
    reports[2].undo()
    reports[1].undo()
    assert types(model) == before


def test_a_model_that_is_one_layer() -> None:
    model = nn.Linear(3, 2)
    extend(model, Silent)
    report = fast.linears(model)
    assert fast.plain_type(type(model)) is nn.Linear
    assert issubclass(type(model), fast.FastLinear)
    report.undo()
    assert type(model).__name__ == "SilentLinear"
    retract(model, Silent)
    assert type(model) is nn.Linear


class Silent(Extension):
    prefix = "Silent"

    def forward(self, *args: Tensor) -> Tensor:
        return super().forward(*args)


def test_undo_of_a_copy() -> None:
    model = zoo()
    before = types(model)
    fast.optimize(model)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        fast.undo(other)
        assert types(other) == before
    assert types(model) != before


def test_classes_say_what_they_stand_for() -> None:
    model = zoo()
    plain = types(model)
    fast.optimize(model)
    assert [fast.plain_type(kind) for kind in types(model)] == plain
    assert fast.plain_type(nn.Linear) is nn.Linear


def test_an_optimized_model_is_described_as_the_plain_one() -> None:
    model = zoo()
    expected = vitblocks.describe(model)
    fast.optimize(model)
    assert vitblocks.describe(model) == expected


def test_weights_go_in_and_out_as_before() -> None:
    model, other = zoo(), zoo()
    fast.optimize(model)
    model.load_state_dict(other.state_dict())
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(model(images), other(images))
    assert (
        vitblocks.checkpoint.export(model, layout="timm").keys()
        == vitblocks.checkpoint.export(other, layout="timm").keys()
    )


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_exported_has_nothing_of_it(strict: bool) -> None:
    model, images = zoo(), torch.randn(2, 3, 16, 16)
    fast.optimize(model)
    program = torch.export.export(model.eval(), (images,), strict=strict)
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not any("vitblocks" in name or "mkldnn" in name for name in targets)
    assert "aten.linear.default" in targets


def test_a_folded_model_can_be_optimized() -> None:
    images = torch.randn(2, 3, 16, 16)
    folded = vitblocks.fold(zoo().eval(), images).model
    expected = folded(images)
    assert fast.optimize(folded)
    torch.testing.assert_close(folded(images), expected)


def test_a_report_reads_well() -> None:
    report = Report("passes", parts=[Report("first", note="in 2 ways"), Report("second", aside="no use here")])
    first = report.parts[0]
    for i in range(3):
        first.add(f"blocks.{i}.fc1", "faster", lambda: None)
    first.add("head2", "faster", lambda: None)
    first.left["0"] = "too small"
    assert str(report).splitlines() == [
        "passes: 4 modules changed",
        "  first, 4 changed: in 2 ways",
        "    3 blocks.*.fc1: faster",
        "    head2: faster",
        "    left: 0: too small",
        "  second stood aside: no use here",
    ]
    assert repr(report) == "<Report of passes: 4 changed>"
    assert len(report) == 4
    assert not report.parts[1]


@pytest.mark.parametrize("make", [PlainViT, zoo])
def test_exported_to_onnx_by_tracing_at_any_batch(make: type[nn.Module]) -> None:
    model, images = make().eval(), torch.randn(2, 3, 16, 16)
    files = []
    for optimized in (False, True):
        if optimized:
            fast.optimize(model, dtype=torch.bfloat16)
            fast.recompute(model)
        file = io.BytesIO()
        torch.onnx.export(
            model, (images,), file, input_names=["images"], dynamic_axes={"images": {0: "batch"}}, dynamo=False
        )
        files.append(file.getvalue())
    assert len(files[0]) == len(files[1])
    assert b"mkldnn" not in files[1]
