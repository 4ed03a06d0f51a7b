"""Key maps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitblocks import (
    Block,
    GlobalAttention,
    Mlp,
    Stage,
    checkpoint as ck,
)

from .common import assert_same_state, snapshot


class Fused(nn.Module):
    """A small model with keys for a key map written here."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([Stage([Block(4, GlobalAttention(4, 2), Mlp(4, 4))]) for _ in range(2)])
        self.bias = nn.Linear(2, 3)


KEY_MAP = (
    ck.Rule(("a.{n}.q.{p}", "a.{n}.k.{p}", "a.{n}.v.{p}"), "stages.{s}.blocks.{b}.attn.qkv.{p}", ck.Concat(3)),
    ck.Rule("m.{2*n+s+1}.{w}", "stages.{s}.blocks.{b}.mlp.fc1.{w}"),
    ck.Rule("rest.{s}.{p}", "stages.{s}.blocks.{b}.{p}"),
    ck.Rule("l.weight", "bias.weight", ck.Permute(1, 0)),
    ck.Rule(("l.b1", "l.b2"), "bias.bias", ck.Tied(2)),
    ck.Computed(
        "index.{n}", at="stages.{s}.blocks.{b}.attn.qkv.weight", function=lambda m: torch.arange(m.in_features)
    ),
    ck.Computed("mask.{s}"),
    ck.Computed("size", function=lambda m: torch.tensor(len(m.stages))),
)


def test_key_map_round_trip() -> None:
    source, target = Fused(), Fused()
    theirs = ck.export(source, KEY_MAP)
    assert {"a.1.q.bias", "m.1.weight", "m.4.weight", "rest.1.mlp.fc2.bias", "l.b2", "index.1", "size"} <= theirs.keys()
    assert theirs["l.weight"].shape == (2, 3)
    assert torch.equal(theirs["index.0"], torch.arange(4))
    del theirs["index.1"]  # computed keys need not be there
    report = ck.load(target, {**theirs, "mask.7": torch.zeros(1)}, layout=KEY_MAP)
    assert report.ok
    assert set(report.ignored) == {"index.0", "size", "mask.7"}
    assert_same_state(target, snapshot(source))
    with pytest.raises(ValueError, match=r"l\.b1, l\.b2: .*tied"):
        ck.load(target, {**theirs, "l.b2": theirs["l.b2"] + 1}, layout=KEY_MAP)


def test_other_names_are_read_and_written_when_asked_for() -> None:
    inner = (ck.Rule(("q.{p}", "k.{p}", "v.{p}"), "attn.qkv.{p}", ck.Concat(3), also=("a.{p}", "b.{p}", "c.{p}")),)
    key_map = (
        *ck.within("old.{s}", "stages.{s}.blocks.0", inner, also="new.{s}"),
        *ck.within("old.{s}", "stages.{s}.blocks.0", (ck.Rule("{p}", "{p}"),), also="new.{s}"),
        ck.Rule("out.{p}", "bias.{p}"),
    )
    source = Fused()
    first, others = ck.export(source, key_map), ck.export(source, ck.other_names(key_map))
    assert {"old.0.q.weight", "old.1.mlp.fc1.bias", "out.bias"} <= first.keys()
    assert {"new.0.a.weight", "new.1.mlp.fc1.bias", "out.bias"} <= others.keys()
    assert len(first) == len(others)
    for state in (first, others, {f"module.{key}": value for key, value in others.items()}):
        target = Fused()
        assert ck.load(target, state, layout=key_map).ok
        assert_same_state(target, snapshot(source))
    assert ck.export(source, ck.other_names(lambda model: key_map)).keys() == others.keys()
    mixed = {**first, **{key: value for key, value in others.items() if ".a." in key}}
    with pytest.raises(ValueError, match=r"unexpected: 4(?s:.*)new\.0\.a\.bias"):
        ck.load(Fused(), mixed, layout=key_map)
    del first["old.0.q.weight"]
    with pytest.raises(ValueError, match=r"old\.0\.q\.weight -> "):
        ck.load(Fused(), first, layout=key_map)


def test_key_map_mistakes_are_named() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="cannot fill"):
        ck.export(model, [ck.Rule("x.{n}", "weight")])
    with pytest.raises(ValueError, match="plain name"):
        ck.export(model, [ck.Rule("x", "{b+1}")])
    with pytest.raises(ValueError, match="of theirs would be"):
        ck.export(model, [ck.Rule("x", "{p}")])
    with pytest.raises(ValueError, match="lacks"):
        ck.export(model, [ck.Rule("x", ("weight", "other"))])
    with pytest.raises(ValueError, match="no key for bias"):
        ck.export(model, [ck.Rule("x", "weight")])


def test_first_rule_that_fits_wins_and_several_of_ours_may_come_from_one() -> None:
    model = nn.Linear(2, 2)
    table = [ck.Rule("both", ("bias", "weight"), ck.Functions(_unstack, _stack)), ck.Rule("never.{p}", "{p}")]
    theirs = ck.export(model, table)
    assert theirs.keys() == {"both"}
    assert torch.equal(theirs["both"][1:], model.weight)
    assert ck.convert(model, theirs, table).keys() == {"bias", "weight"}


def _unstack(xs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return xs[0][0], xs[0][1:]


def _stack(xs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (torch.cat([xs[0][None], xs[1]]),)
