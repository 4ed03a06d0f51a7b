"""The diagram of a model's stages: what it says is what the model is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import summary
from vitblocks.viz import stage_diagram
from vitblocks.viz.column import draw_column
from vitblocks.viz.marks import short
from vitblocks.viz.outline import TIMES, Group, outline, repeated
from vitblocks.viz.stages import draw_outline

from ..zoo.tiny import TINY

NARROW = {"ATSViT", "CrossViT", "MobileViT", "SwinV2"}
"""Those that are drawn twice: of long lines, of two towers, without a grid."""


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_model_has_a_diagram(name: str) -> None:
    build, size = TINY[name]
    model = build()
    found = outline(model, size)
    counted = summary(model, size)
    assert sum(part.params for part in found.parts) == counted.params
    assert sum(part.macs for part in found.parts) == counted.macs
    assert found.image == counted.image
    assert [part.name for part in found.parts] == ["embed", *(f"stage {i}" for i in range(len(model.stages))), "head"]
    narrow = [draw_column(found, 3.4)] if name in NARROW else []
    for figure in [draw_outline(found), *narrow]:
        words = [text.get_text() for text in figure.axes[0].texts]
        for part in found.parts:
            assert part.name in words
            for group in part.groups:
                assert group.words
        assert found.model in words
        assert any(short(counted.params) in text for text in words)
        figure.canvas.draw()
        edges = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 for box in edges)


@pytest.mark.parametrize("name", ["ViT", "TwinsSVT", "PiT", "CvT"])
def test_tokens_are_those_of_the_stages(name: str) -> None:
    build, size = TINY[name]
    model = build().eval()
    found = outline(model, size)
    outputs = model.forward_stages(torch.rand(1, found.image[0], *found.image[1:]))
    for part, (x, grid), stride in zip(found.parts[1:-1], outputs, model.strides, strict=True):
        (tokens,) = part.tokens
        assert (tokens.grid, tokens.channels) == (grid, x.shape[2])
        assert tokens.prefix + grid[0] * grid[1] == x.shape[1]
        assert part.stride == stride


def test_crossvit_has_two_sets_of_tokens() -> None:
    build, size = TINY["CrossViT"]
    found = outline(build(), size)
    assert {len(part.tokens) for part in found.parts[:-1]} == {2}
    assert any(words.startswith("large: Block") for group in found.parts[1].groups for words in group.words)


def test_repetitions_are_put_together() -> None:
    assert repeated("aaa") == [Group(("a",), 3)]
    assert repeated("xababab") == [Group(("x",)), Group(("a", "b"), 3)]
    assert repeated("abc") == [Group((word,)) for word in "abc"]
    assert repeated("") == []
    long: Any = "pabacabac"
    assert [word for group in repeated(long) for _ in range(group.times) for word in group.words] == list(long)


def test_a_diagram_is_made_for_the_size_asked_for() -> None:
    words = [text.get_text() for text in stage_diagram(TINY["ViT"].build(), (24, 16)).axes[0].texts]
    assert any("24" in text and "16" in text for text in words if text.startswith("image"))
    assert sum(text.startswith("6") and text.endswith("4 + 1") for text in words) == 1


def test_a_narrow_one_has_its_numbers_below() -> None:
    figure = stage_diagram(TINY["ViT"].build(), (24, 16), width=3.4)
    assert figure.get_size_inches()[0] == 3.4
    words = [text.get_text() for text in figure.axes[0].texts]
    assert sum(text.startswith(f"6{TIMES}4 + 1 tokens, ") and ", stride 4" in text for text in words) >= 1
    assert not {"parameters", "MACs"} & set(words)  # the heads of columns
    with pytest.raises(ValueError, match="width must be at least 3 inches, got 2"):
        stage_diagram(TINY["ViT"].build(), width=2)


def test_numbers_are_short() -> None:
    numbers = {0: "0", 999: "999", 5_717_416: "5.72 M", 1_258_000_000: "1.26 G", 12_345: "12.3 k"}
    assert {number: short(number) for number in numbers} == numbers


def test_other_models_are_refused() -> None:
    with pytest.raises(TypeError, match=r"vitblocks.Model or a CrossViT, got Sequential"):
        stage_diagram(nn.Sequential())
