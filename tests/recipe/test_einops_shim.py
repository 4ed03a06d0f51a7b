"""The short einops of written files beside einops itself."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import einops
import pytest
import torch

import vitblocks
from vitblocks.recipe import einops_shim

CASES: list[tuple[str, tuple[int, ...], str, dict[str, Any]]] = [
    ("rearrange", (2, 12, 3), "b (h w) c -> b h w c", {"h": 3}),
    ("rearrange", (2, 12, 3), "b (h w) c -> b c h w", {"h": 3, "w": 4}),
    ("rearrange", (2, 3, 4, 6), "b c (h p) (w q) -> b (h w) (p q c)", {"p": 2, "q": 3}),
    ("rearrange", (2, 5, 24), "... n (three h d) -> three ... h n d", {"three": 3, "h": 2}),
    ("rearrange", (2, 3, 5, 4), "... h n d -> ... n (h d)", {}),
    ("rearrange", (2, 3, 5), "... k -> (...) k", {}),
    ("rearrange", (5,), "... k -> (...) k", {}),
    ("rearrange", (2, 3, 4), "b c ... -> c (b ...)", {}),
    ("rearrange", (2, 1, 4), "b 1 c -> b c 1 1", {}),
    ("rearrange", (2, 3), "h w -> 1 (h w) 1", {}),
    ("rearrange", (4,), "h -> h 1", {}),
    ("rearrange", (2, 3), "b c -> () b c", {}),
    ("rearrange", (2, 1, 3), "b () c -> b c", {}),
    ("rearrange", (6, 2), "(b 1) c -> c b", {}),
    ("rearrange", (2, 0, 3), "b n c -> n (b c)", {}),
    ("reduce", (2, 3, 4, 5), "b c h w -> b 1 c", {"reduction": "mean"}),
    ("reduce", (2, 3, 12), "b n (pixels c) -> b n c", {"reduction": "mean", "c": 3}),
    ("reduce", (2, 3, 4), "b ... -> b", {"reduction": "sum"}),
    ("reduce", (2, 4, 4), "b (h p) (w q) -> b h w", {"reduction": "max", "p": 2, "q": 2}),
    ("reduce", (2, 4), "b c -> c", {"reduction": "min"}),
    ("repeat", (3, 4), "h d -> (h w) d", {"w": 2}),
    ("repeat", (3, 4), "w d -> (h w) d", {"h": 2}),
    ("repeat", (2,), "heads -> heads n m", {"n": 3, "m": 1}),
    ("repeat", (2, 3, 4), "b h d -> b g h d", {"g": 5}),
    ("repeat", (2, 3), "b c -> b 2 c", {}),
    ("repeat", (2, 3), "b c -> (2 b) (c 3)", {}),
]


@pytest.mark.parametrize(("name", "shape", "pattern", "options"), CASES)
def test_as_einops(name: str, shape: tuple[int, ...], pattern: str, options: dict[str, Any]) -> None:
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    theirs, ours = getattr(einops, name)(x, pattern, **options), getattr(einops_shim, name)(x, pattern, **options)
    assert torch.equal(ours, theirs)
    weights = torch.randn_like(theirs)
    assert torch.equal(
        torch.autograd.grad((ours * weights).sum(), x)[0], torch.autograd.grad((theirs * weights).sum(), x)[0]
    )


@pytest.mark.parametrize(
    ("pattern", "sizes"), [("b c -> c b", {}), ("b n (h d) -> b n h d", {}), ("b n (h d) -> b n h d", {"h": 5})]
)
def test_what_does_not_fit(pattern: str, sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"does not fit|is for 2 dimensions"):
        einops_shim.rearrange(torch.zeros(2, 3, 8), pattern, **sizes)


def test_every_pattern_of_the_package_is_of_a_kind_that_is_tested() -> None:
    """Only what the cases above hold: names, groups, 1 and numbers, and an ellipsis."""
    patterns = []
    for path in Path(vitblocks.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("rearrange", "reduce", "repeat")
            ):
                patterns += [a.value for a in node.args if isinstance(a, ast.Constant) and "->" in str(a.value)]
    assert len(patterns) > 50
    for pattern in patterns:
        assert not set(pattern) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ ().->"), pattern
        assert pattern.count("->") == 1
