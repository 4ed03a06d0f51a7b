"""Positions between two tokens: biases of the logits and rotations, against loops over all pairs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitblocks.objectives.simmim import CopiedBias
from vitblocks.position import ClassRelativeBias, DistanceBias, DynamicBias, RelativeBias, Rotary2d

HEADS = 2
Place = tuple[int, int]


def pairs(grid: Place, stride: Place = (1, 1)) -> Iterator[tuple[int, int, Place, Place]]:
    """Every query and key: their numbers and their places."""
    queries = [(i, j) for i in range(0, grid[0], stride[0]) for j in range(0, grid[1], stride[1])]
    keys = [(i, j) for i in range(grid[0]) for j in range(grid[1])]
    for n, query in enumerate(queries):
        for m, key in enumerate(keys):
            yield n, m, query, key


def filled(table: Tensor) -> Tensor:
    with torch.no_grad():
        return table.copy_(torch.randn_like(table))


def resized_offsets(bias: RelativeBias, own: Place, grid: Place) -> Tensor:
    """The table as a map of offsets (heads, rows, columns) for a grid that is larger along some side."""
    table = bias.table.T.reshape(1, HEADS, 2 * own[0] - 1, 2 * own[1] - 1)
    size = [2 * max(a, b) - 1 for a, b in zip(own, grid, strict=True)]
    return F.interpolate(table, size=size, mode="bicubic")[0]


@pytest.mark.parametrize("grid", [(3, 4), (2, 3), (1, 4), (5, 6), (2, 7)])
def test_relative_bias_reads_the_offset_of_each_pair(grid: Place) -> None:
    """Its own grid, smaller ones, larger ones, and one that is both."""
    own = (3, 4)
    bias = RelativeBias(HEADS, own)
    filled(bias.table)
    offsets = resized_offsets(bias, own, grid)
    # The offset (0, 0) lies in the middle of the table.
    middle = (offsets.shape[1] // 2, offsets.shape[2] // 2)
    result = bias(grid)
    assert result.shape == (HEADS, grid[0] * grid[1], grid[0] * grid[1])
    for n, m, query, key in pairs(grid):
        expected = offsets[:, middle[0] + query[0] - key[0], middle[1] + query[1] - key[1]]
        torch.testing.assert_close(result[:, n, m], expected)


def test_the_table_of_a_relative_bias_is_row_major_by_offset() -> None:
    """Query (0, 0) and key (2, 3) are the first entry of a (3, 4) table, the other way round the last."""
    bias = RelativeBias(HEADS, (3, 4))
    result = bias((3, 4))
    assert torch.equal(result[:, 0, 11], bias.table[0])
    assert torch.equal(result[:, 11, 0], bias.table[-1])


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("grid", [(3, 4), (2, 4)])
def test_distance_bias_reads_the_absolute_offset(grid: Place, stride: Place) -> None:
    bias = DistanceBias(HEADS, (3, 4), stride=stride)
    filled(bias.table)
    result = bias(grid)
    for n, m, query, key in pairs(grid, stride):
        assert torch.equal(result[:, n, m], bias.table[:, abs(query[0] - key[0]), abs(query[1] - key[1])])
    queries = -(-grid[0] // stride[0]) * -(-grid[1] // stride[1])
    assert result.shape == (HEADS, queries, grid[0] * grid[1])


def test_distance_bias_is_resized_for_a_larger_grid() -> None:
    bias = DistanceBias(HEADS, (3, 4))
    table = F.interpolate(filled(bias.table)[None], size=(5, 4), mode="bicubic")[0]
    for n, m, query, key in pairs((5, 2)):
        expected = table[:, abs(query[0] - key[0]), abs(query[1] - key[1])]
        torch.testing.assert_close(bias((5, 2))[:, n, m], expected)


def test_dynamic_bias_runs_its_network_on_each_offset() -> None:
    bias = DynamicBias(HEADS, 6)
    grid = (3, 4)
    result = bias(grid)
    for n, m, query, key in pairs(grid):
        x = bias.fc(torch.tensor([query[0] - key[0], query[1] - key[1]], dtype=torch.float32))
        for layer in bias.layers:
            x = layer(x)
        torch.testing.assert_close(result[:, n, m], x)


@pytest.mark.parametrize("bias", [RelativeBias(HEADS, 3), DistanceBias(HEADS, 3), DynamicBias(HEADS, 4)])
def test_pairs_with_a_prefix_token_have_no_bias(bias: RelativeBias | DistanceBias | DynamicBias) -> None:
    with torch.no_grad():
        for parameter in bias.parameters():
            parameter.copy_(torch.randn_like(parameter))
    result = bias((2, 3), 2)
    assert result.shape == (HEADS, 8, 8)
    assert (result[:, :2] == 0).all()
    assert (result[:, :, :2] == 0).all()
    assert torch.equal(result[:, 2:, 2:], bias((2, 3)))
    assert bias((0, 0), 5).shape == (HEADS, 5, 5)


def test_class_relative_bias_has_three_numbers_for_pairs_with_a_prefix_token() -> None:
    bias = ClassRelativeBias(HEADS, 3)
    pairs, table = filled(bias.pairs), filled(bias.patches.table)
    result = bias((2, 3), 2)
    assert result.shape == (HEADS, 8, 8)
    for i in range(8):
        for j in range(8):
            kind = {(True, False): 0, (False, True): 1, (True, True): 2}.get((i < 2, j < 2))
            right = bias.patches((2, 3))[:, i - 2, j - 2] if kind is None else pairs[kind]
            assert torch.equal(result[:, i, j], right)
    assert torch.equal(bias((0, 0), 2), pairs[2][:, None, None].expand(HEADS, 2, 2))
    assert torch.equal(CopiedBias(bias)((2, 3), 2), result)
    assert all((parameter == 0).all() for parameter in ClassRelativeBias(HEADS, 3).parameters())
    assert table.shape == (25, HEADS)


def test_how_biases_start() -> None:
    assert 0.015 < RelativeBias(8, 16).table.std() < 0.025
    assert (DistanceBias(HEADS, 4).table == 0).all()


def turned(rotary: Rotary2d, vector: Tensor, grid: Place) -> Tensor:
    """One vector standing at every place of a grid: ``(H, W, head_dim)``."""
    everywhere = vector.expand(1, 1, grid[0] * grid[1], -1)
    return rotary(everywhere, everywhere, grid)[0][0, 0].unflatten(0, grid)


def test_rotary_products_depend_on_offsets_alone() -> None:
    rotary, grid = Rotary2d(8), (4, 5)
    q, k = (turned(rotary, torch.randn(8, dtype=torch.float64), grid) for _ in range(2))
    products: dict[Place, Tensor] = {}
    for _, _, query, key in pairs(grid):
        offset = (query[0] - key[0], query[1] - key[1])
        product = q[query] @ k[key]
        torch.testing.assert_close(product, products.setdefault(offset, product))
    assert len({round(float(product), 9) for product in products.values()}) == len(products)


def test_rotary_turns_pairs_by_row_then_by_column() -> None:
    rotary = Rotary2d(8, base=100.0)
    x = torch.randn(1, 1, 6, 8, dtype=torch.float64)
    expected = torch.empty_like(x)
    for n, (row, column) in enumerate((i, j) for i in range(2) for j in range(3)):
        for pair in range(4):
            angle = torch.tensor((row if pair < 2 else column) * 100.0 ** (-4 * (pair % 2) / 8), dtype=torch.float64)
            a, b = x[0, 0, n, 2 * pair], x[0, 0, n, 2 * pair + 1]
            expected[0, 0, n, 2 * pair] = a * angle.cos() - b * angle.sin()
            expected[0, 0, n, 2 * pair + 1] = a * angle.sin() + b * angle.cos()
    torch.testing.assert_close(rotary(x, x, (2, 3))[0], expected)


def test_rotary_leaves_prefix_tokens_and_lengths_as_they_are() -> None:
    q, k = torch.randn(2, 3, 2 + 6, 8), torch.randn(2, 3, 6, 8)
    turned_q, turned_k = Rotary2d(8)(q, k, (2, 3))
    assert torch.equal(turned_q[:, :, :2], q[:, :, :2])
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm(dim=-1))
    torch.testing.assert_close(turned_k.norm(dim=-1), k.norm(dim=-1))


def test_rotary_keeps_half_precision_and_turns_in_single() -> None:
    q = torch.randn(1, 1, 400, 8).bfloat16()
    turned_q, _ = Rotary2d(8)(q, q, (20, 20))
    exact, _ = Rotary2d(8)(q.double(), q.double(), (20, 20))
    assert turned_q.dtype == torch.bfloat16
    torch.testing.assert_close(turned_q.double(), exact, rtol=2**-7, atol=2**-7)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="head_dim must be a multiple of 4 for 2-D rotary positions, got 6"):
        Rotary2d(6)
    for part in (RelativeBias(HEADS, 3), DistanceBias(HEADS, 3), DynamicBias(HEADS, 4)):
        with pytest.raises(
            ValueError, match=rf"{type(part).__name__} needs tokens on an \(H, W\) grid, got grid \(9,\)"
        ):
            part((9,))
