"""Decomposed relative positions, and positions repeated in every window."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitblocks import (
    ClassAttention,
    DecomposedBias,
    GlobalAttention,
    LearnedPosition,
    LocalWindowAttention,
    ReducedAttention,
    TiledPosition,
    Windows,
    fold,
    swap_attention,
)
from vitblocks.checkpoint import export, load
from vitblocks.zoo import SAMViT

DIM, HEADS = 8, 2


def filled(grid: tuple[int, int], head_dim: int = DIM // HEADS) -> DecomposedBias:
    bias = DecomposedBias(head_dim, grid).double()
    for table in bias.parameters():
        nn.init.normal_(table)
    return bias


def by_places(bias: DecomposedBias, q: Tensor, grid: tuple[int, int]) -> Tensor:
    """The bias of every pair of places on the part's own grid, one by one."""
    height, width = grid
    expected = torch.zeros(*q.shape[:-1], height * width, dtype=q.dtype)
    for i in range(height * width):
        for j in range(height * width):
            down, right = i // width - j // width, i % width - j % width
            vector = bias.rows.table[down + height - 1] + bias.columns.table[right + width - 1]
            expected[..., i, j] = q[..., i, :] @ vector
    return expected


def test_decomposed_bias_is_of_each_pair_of_places() -> None:
    bias, q = filled((3, 4)), torch.randn(2, 5, HEADS, 12, 4, dtype=torch.float64)
    torch.testing.assert_close(bias((3, 4), 0, q), by_places(bias, q, (3, 4)))
    with_prefix = bias((3, 4), 2, torch.cat([torch.randn(2, 5, HEADS, 2, 4), q], dim=-2))
    torch.testing.assert_close(with_prefix[..., 2:, 2:], by_places(bias, q, (3, 4)))
    assert not with_prefix[..., :2, :].any()
    assert not with_prefix[..., :, :2].any()


def test_decomposed_bias_is_stretched_as_the_authors_do() -> None:
    bias, q = filled((3, 4)), torch.randn(1, HEADS, 10, 4, dtype=torch.float64)
    larger = filled((5, 2))
    with torch.no_grad():
        for ours, theirs in ((larger.rows, bias.rows), (larger.columns, bias.columns)):
            line = theirs.table.T[None]
            ours.table.copy_(nn.functional.interpolate(line, size=len(ours.table), mode="linear")[0].T)
    torch.testing.assert_close(bias((5, 2), 0, q), larger((5, 2), 0, q))


@pytest.mark.parametrize("kind", [ReducedAttention, ClassAttention])
def test_decomposed_bias_stands_where_queries_are_given(kind: type[nn.Module]) -> None:
    with pytest.raises(
        ValueError, match=f"position_bias is a DecomposedBias, which reads queries: {kind.__name__} gives"
    ):
        kind(DIM, HEADS, position_bias=DecomposedBias(4, 3))
    with pytest.raises(ValueError, match="queries must have head_dim=3 channels"):
        GlobalAttention(DIM, HEADS, position_bias=DecomposedBias(3, 3))(torch.randn(1, 9, DIM), (3, 3))


def test_windows_ask_for_the_bias_of_their_own_queries() -> None:
    attn = LocalWindowAttention(DIM, HEADS, window=(2, 3), position_bias=filled((2, 3))).double()
    alone = GlobalAttention(DIM, HEADS, position_bias=attn.position_bias).double()
    alone.load_state_dict(attn.state_dict())
    x = torch.randn(1, 4 * 6, DIM, dtype=torch.float64)
    windows = Windows((2, 3)).split(x, (4, 6))
    expected = torch.stack([alone(windows[:, g], (2, 3)) for g in range(4)], dim=1)
    torch.testing.assert_close(Windows((2, 3)).split(attn(x, (4, 6)), (4, 6)), expected)


def tiny(**options: int) -> SAMViT:
    sizes = {"num_classes": 3, "dim": DIM, "depth": 2, "heads": HEADS, "mlp_dim": 16, "neck_dim": 6}
    model = SAMViT(**{"image_size": 16, "patch_size": 4, **sizes, "window": 3, "global_blocks": (1,), **options})
    for name, parameter in model.named_parameters():
        if "position_bias" in name:
            nn.init.normal_(parameter)
    return model.double().eval()


def test_fold_keeps_a_bias_that_depends_on_the_image() -> None:
    model, images = tiny(), torch.rand(2, 3, 16, 16, dtype=torch.float64)
    folded, _ = fold(model, images)
    for other in (images, torch.rand_like(images)):
        torch.testing.assert_close(folded(other), model(other))


def test_a_swap_leaves_the_bias_behind_where_no_queries_are_given() -> None:
    model, images = tiny(), torch.rand(1, 3, 16, 16, dtype=torch.float64)
    report = swap_attention(model, ReducedAttention, where=1, sample=images, reduction=1)
    assert "position_bias" in str(report)
    report.undo()
    assert isinstance(model.stages[0].layers[-1].attn.position_bias, DecomposedBias)


def test_tables_of_another_size_are_resized() -> None:
    small, large = tiny(), tiny(image_size=24)
    report = load(large, export(small, "timm"), layout="timm", resize=True)
    assert len(report.resized) == 3
    table = large.stages[0].layers[-1].attn.position_bias.rows.table
    line = small.stages[0].layers[-1].attn.position_bias.rows.table.T[None]
    torch.testing.assert_close(table, nn.functional.interpolate(line, size=11, mode="linear")[0].T)


def test_tiled_positions_are_the_same_in_every_window() -> None:
    tiled = TiledPosition(DIM, (2, 3)).double()
    image = tiled.positions((5, 7)).reshape(5, 7, DIM)
    window = tiled.table.reshape(2, 3, DIM)
    for row in range(5):
        for column in range(7):
            assert torch.equal(image[row, column], window[row % 2, column % 3])
    x = torch.randn(1, 2 + 35, DIM, dtype=torch.float64)
    torch.testing.assert_close(tiled(x, (5, 7))[:, 2:], x[:, 2:] + tiled.positions((5, 7)))
    assert torch.equal(tiled(x, (5, 7))[:, :2], x[:, :2])
    both = nn.ModuleList([LearnedPosition(DIM, 4), TiledPosition(DIM, 2)])
    assert [part.grid for part in both] == [(4, 4), (2, 2)]
