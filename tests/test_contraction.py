"""Planned contractions against torch.einsum."""

from __future__ import annotations

import pytest
import torch

from vitblocks.contract import contract

SIZES = {"b": 3, "h": 2, "g": 2, "n": 5, "m": 7, "d": 4, "e": 6, "f": 3}

EQUATIONS = [
    "bnd,bmd->bnm",
    "bhnf,bhmf,bhme->bhne",
    "bgh,bhnd,bhmd->bgnm",
    "bhn,bhm,bnd,bme->bhde",
    "bn,bn,bn->bn",
    "bnm,bmd->b",
    "b, bnd -> bnd",
]


def operands(equation: str, batch: int = 3) -> list[torch.Tensor]:
    terms = equation.split("->")[0].replace(" ", "").split(",")
    sizes = {**SIZES, "b": batch}
    return [torch.randn([sizes[i] for i in term], dtype=torch.float64) for term in terms]


@pytest.mark.parametrize("equation", EQUATIONS)
def test_it_is_einsum(equation: str) -> None:
    given = operands(equation)
    torch.testing.assert_close(contract(equation, *given), torch.einsum(equation, *given))


@pytest.mark.parametrize("equation", EQUATIONS)
def test_it_compiles_without_a_break_and_with_any_batch(equation: str) -> None:
    compiled = torch.compile(contract, fullgraph=True, backend="eager", dynamic=True)
    for batch in (2, 5):
        given = operands(equation, batch)
        torch.testing.assert_close(compiled(equation, *given), torch.einsum(equation, *given))
    torch.compiler.reset()


def test_the_cheaper_order_is_taken() -> None:
    """Keys and values first where there are many tokens, queries and keys first where there are few."""

    def largest(tokens: int) -> int:
        q, k, v = (torch.randn(1, tokens, 16, requires_grad=True) for _ in range(3))
        sizes: list[int] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            contract("bnf,bmf,bme->bne", q, k, v)
        return max(sizes)

    # Quadratic in 128 tokens would keep a matrix of 128 by 128.
    assert largest(128) == 128 * 16
    assert largest(4) == 4 * 16


def test_gradients_pass() -> None:
    given = [t.requires_grad_() for t in operands("bhnf,bhmf,bhme->bhne")]
    assert torch.autograd.gradcheck(lambda *t: contract("bhnf,bhmf,bhme->bhne", *t), given)


def test_every_term_must_begin_with_the_batch() -> None:
    with pytest.raises(ValueError, match="every term of 'bnd,md->bnm' must begin with the same batch index"):
        contract("bnd,md->bnm", torch.zeros(1, 2, 3), torch.zeros(4, 3))
