"""Checkpoints as they lie on disk: what is around the weights, and numbers that are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor, nn

from vitblocks import checkpoint as ck
from vitblocks.checkpoint.tensor_file import write_tensors

from .common import bits, vit

State: TypeAlias = Mapping[str, Any]


def under(prefix: str, state: State) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


# What is around the weights

OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}

AROUND: dict[str, tuple[Callable[[State], State], tuple[str, ...]]] = {
    "nothing": (lambda s: s, ()),
    "DDP": (lambda s: under("module.", s), ("the prefix 'module.'",)),
    "compiled": (lambda s: under("_orig_mod.", s), ("'_orig_mod.' within names",)),
    "compiled, then DDP": (
        lambda s: under("module._orig_mod.", s),
        ("'_orig_mod.' within names", "the prefix 'module.'"),
    ),
    "compiled blocks": (
        lambda s: {k.replace("blocks.1.", "blocks.1._orig_mod."): v for k, v in s.items()},
        ("'_orig_mod.' within names",),
    ),
    "Lightning": (
        lambda s: {"state_dict": under("model.", s), "optimizer_states": [OPTIMIZER], "epoch": 3},
        ("the entries of 'state_dict' alone", "the prefix 'model.'"),
    ),
    "training code": (lambda s: {"model": s, "optimizer": OPTIMIZER}, ("the entries of 'model' alone",)),
    "nested": (lambda s: {"model": {"state_dict": s}}, ("the entries of 'model'", "the entries of 'state_dict'")),
    "DINO's teacher": (
        lambda s: {"teacher": under("module.backbone.", s)},
        ("the entries of 'teacher'", "the prefix 'module.backbone.'"),
    ),
    "of one's own": (lambda s: under("my.net.", s), ("the prefix 'my.net.'",)),
}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", AROUND)
def test_what_is_around_is_taken_away_and_named(name: str, strict: bool) -> None:
    around, said = AROUND[name]
    source, target = vit(), vit()
    report = ck.load(target, around(ck.export(source, "timm")), layout="timm", strict=strict)
    assert report.ok
    assert report.unwrapped == said
    assert all(line in str(report) for line in said)
    assert bits(target) == bits(source)
    assert ck.convert(vit(), around(ck.export(source, "timm")), "timm").keys() == source.state_dict().keys()


def test_what_lies_beside_a_prefix_is_unexpected() -> None:
    source, target = vit(num_classes=0), vit(num_classes=0)
    state = {
        **under("backbone.", ck.export(source, "timm")),
        "head.mlp.0.weight": torch.zeros(4, 8),
        "norm.weight": torch.ones(8),
    }
    with pytest.raises(
        ValueError, match=r"the prefix 'backbone\.'\n  unexpected: 2\n    head\.mlp\.0\.weight\n    norm\.weight"
    ):
        ck.load(target, state, layout="timm")
    report = ck.load(target, state, layout="timm", strict=False)
    assert report.unexpected == ("head.mlp.0.weight", "norm.weight")
    assert bits(target) == bits(source)


def test_a_file_of_ours_under_a_prefix(tmp_path: Path) -> None:
    source, target = vit(), vit()
    write_tensors(tmp_path / "x", under("_orig_mod.", source.state_dict()), {})  # as version 0.1 saved a compiled model
    assert ck.load_file(target, tmp_path / "x").unwrapped == ("'_orig_mod.' within names",)
    assert bits(target) == bits(source)


def test_one_of_several_has_to_be_chosen() -> None:
    state, model = ck.export(vit(), "timm"), vit()
    before = bits(model)
    with pytest.raises(ValueError, match=r"under 'model', 'model_ema': pass one of them, state_dict\['model'\]"):
        ck.load(model, {"model": state, "model_ema": state}, layout="timm", strict=False)
    with pytest.raises(ValueError, match=r"under the prefixes 'student\.', 'teacher\.'"):
        ck.load(model, {**under("student.", state), **under("teacher.", state)}, layout="timm", strict=False)
    assert bits(model) == before


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"x": torch.zeros(1)},
        {"layers.1.norm.weight": torch.ones(8), "layers.1.x": torch.ones(1), "layers.1.y": torch.ones(1)},
    ],
)
def test_nothing_that_fits_is_an_error(state: State, tmp_path: Path) -> None:
    model = vit()
    before = bits(model)
    with pytest.raises(ValueError, match="nothing in the checkpoint fits: timm layout, ViT: 0 entries"):
        ck.load(model, state, layout="timm", strict=False)
    write_tensors(tmp_path / "x", state, {})
    with pytest.raises(ValueError, match=r"nothing in the checkpoint fits: .*x, ViT: 0 entries"):
        ck.load_file(model, tmp_path / "x", strict=False)
    assert bits(model) == before


def test_what_is_no_state_dict() -> None:
    wrong: Any
    for wrong in (None, [], vit(), 3):
        with pytest.raises(TypeError, match=f"must map names to tensors, got {type(wrong).__name__}"):
            ck.load(vit(), wrong, layout="timm")
    for wrong, said in (({"model": vit()}, "ViT under 'model'"), ({0: torch.ones(1)}, "0 for a name")):
        with pytest.raises(TypeError, match=said):
            ck.load(vit(), wrong, layout="timm")


# Numbers

WRONG: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sparse": (Tensor.to_sparse, "sparse"),
    "compressed": (Tensor.to_sparse_csr, "sparse"),
    "on the meta device": (lambda x: x.to("meta"), "meta device"),
    "complex": (lambda x: x.to(torch.complex64), "complex"),
    "quantized": (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "quantized"),
}
DOUBTFUL: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "int": (Tensor.int, "torch.int32, not floating-point"),
    "8 bits": (lambda x: x.to(torch.int8), "torch.int8, not floating-point"),
    "bool": (Tensor.bool, "torch.bool, not floating-point"),
    "NaN": (lambda x: x.index_fill(0, torch.tensor(1), torch.nan), "NaN or infinite in 8 of 24 numbers"),
    "infinity": (lambda x: x.index_fill(0, torch.tensor(1), -torch.inf), "NaN or infinite in 8 of 24"),
    "8-bit NaN": (lambda x: torch.full_like(x, torch.nan).to(torch.float8_e4m3fn), "NaN or infinite in 24 of 24"),
    "out of range": (lambda x: x.double().fill_(-1e300), "up to 1e.300, out of the range of torch.float32"),
}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", [*WRONG, *DOUBTFUL])
def test_what_is_no_weight_is_refused_before_anything_changes(name: str, strict: bool, tmp_path: Path) -> None:
    change, said = {**WRONG, **DOUBTFUL}[name]
    model = vit()
    before = bits(model)
    for layout, key in (("timm", "head.weight"), ("vit_pytorch", "mlp_head.1.weight")):
        state = ck.export(vit(), layout)
        state[key] = change(state[key])
        with pytest.raises(ValueError, match=rf"entries that cannot be taken\n  refused: 1\n    {key}: .*{said}"):
            ck.load(model, state, layout=layout, strict=strict)
    if name in DOUBTFUL:
        write_tensors(tmp_path / "x", {**vit().state_dict(), "head.weight": change(vit().head.weight.detach())}, {})
        with pytest.raises(ValueError, match=rf"x, ViT: .*\n  refused: 1\n    head\.weight: .*{said}"):
            ck.load_file(model, tmp_path / "x", strict=strict)
        assert ck.load_file(vit(), tmp_path / "x", strict=strict, check_values=False).ok
    assert bits(model) == before


@pytest.mark.parametrize("name", [*WRONG, *DOUBTFUL])
def test_values_are_taken_unchecked_where_asked_for(name: str) -> None:
    change, said = {**WRONG, **DOUBTFUL}[name]
    state, model = ck.export(vit(), "timm"), vit()
    state["head.weight"] = change(state["head.weight"])
    if name in WRONG:
        with pytest.raises(ValueError, match=said):
            ck.load(model, state, layout="timm", check_values=False)
        return
    assert ck.load(model, state, layout="timm", check_values=False).ok
    assert torch.equal(model.state_dict()["head.weight"].nan_to_num(1.0), state["head.weight"].float().nan_to_num(1.0))


def test_range_of_the_models_dtype_and_whole_numbers() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2, dtype=torch.float16))
            self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    table = [ck.Rule("weight", "weight"), ck.Rule("count", "count")]
    model = Counting()
    good = {"weight": torch.tensor([1.0, 60000.0]), "count": torch.tensor(3.0)}  # averaged weights count in floats
    assert ck.load(model, good, layout=table).ok
    for wrong in (
        {"weight": torch.tensor([1.0, 70000.0])},
        {"count": torch.tensor(3.5)},
        {"count": torch.tensor(torch.inf)},
    ):
        before = bits(model)
        with pytest.raises(ValueError, match=r"out of the range of torch.float16|not all of it are numbers"):
            ck.load(model, {**good, **wrong}, layout=table)
        assert bits(model) == before


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_every_float_comes_in_and_the_models_dtype_stays(dtype: torch.dtype, tmp_path: Path) -> None:
    source, model = vit(), vit()
    write_tensors(tmp_path / "x", {key: value.to(dtype) for key, value in source.state_dict().items()}, {})
    assert ck.load_file(model, tmp_path / "x").ok
    for key, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, source.state_dict()[key].to(dtype).float())


# Changing a model


def test_whatever_fails_while_weights_are_put_in_the_model_is_as_it_was() -> None:
    model = vit()
    before = bits(model)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    handle = model.head.register_load_state_dict_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        ck.load(model, ck.export(vit(), "timm"), layout="timm")
    assert bits(model) == before
    handle.remove()
    assert ck.load(model, ck.export(vit(), "timm"), layout="timm").ok


def test_a_model_without_numbers_is_refused() -> None:
    with torch.device("meta"):
        model = vit()
    with pytest.raises(ValueError, match="is on the meta device: use to_empty first"):
        ck.load(model, ck.export(vit(), "timm"), layout="timm")
    assert all(value.is_meta for value in ck.convert(model, ck.export(vit(), "timm"), "timm").values())


def test_one_weight_of_the_model_gets_one_value() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = self.b = nn.Linear(2, 2)

    model, table = Twice(), [ck.Rule("{p}", "{p}")]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    assert ck.load(model, state, layout=table).ok
    before = bits(model)
    with pytest.raises(ValueError, match=r"a\.bias and b\.bias are one weight of the model"):
        ck.load(model, {**state, "b.bias": state["b.bias"] + 1}, layout=table)
    assert bits(model) == before


def test_a_model_may_be_given_its_own_weights_under_other_names() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    a, b = (ck.export(model[name], [ck.Rule("{p}", "{p}")]) for name in "ab")
    ck.load(model, model.state_dict(), layout=[ck.Rule("a.{p}", "b.{p}"), ck.Rule("b.{p}", "a.{p}")])
    assert all(torch.equal(model["a"].state_dict()[key], b[key]) for key in b)
    assert all(torch.equal(model["b"].state_dict()[key], a[key]) for key in a)


def test_into_a_wrapped_model() -> None:
    source, target = vit(), vit()
    wrapped: Any = nn.DataParallel(target)
    assert ck.load(wrapped, ck.export(source, "timm"), layout="timm").ok
    assert bits(target) == bits(source)
    assert ck.export(wrapped, "timm").keys() == ck.export(source, "timm").keys()


def test_into_a_model_with_compiled_parts() -> None:
    source, target = vit(), vit()
    parts: Any = target.stages
    parts[0].layers[3], parts[0].layers[1] = torch.compile(parts[0].layers[3]), torch.compile(parts[0].layers[1])
    parts[0] = torch.compile(parts[0])
    assert list(ck.addresses(target)) == list(ck.addresses(source))
    assert ck.load(target, ck.export(source, "timm"), layout="timm").ok
    assert [*bits(target).values()] == [*bits(source).values()]
    assert ck.export(target, "timm").keys() == ck.export(source, "timm").keys()
