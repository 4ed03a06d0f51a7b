"""Two towers and their fusions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitblocks import Block, ClassAttention, GlobalAttention, LayerNorm, Mlp
from vitblocks.zoo.cross_vit import Branch, ClassFusion, MultiScaleBlock

SMALL, LARGE = 8, 12


def block(dim: int) -> Block:
    return Block(dim, GlobalAttention(dim, 2), Mlp(dim, dim))


def fusion(dim: int, other: int, rounds: int = 1) -> ClassFusion:
    return ClassFusion(dim, other, [ClassAttention(other, 2) for _ in range(rounds)]).double().eval()


def branch(dim: int, grid: tuple[int, int]) -> Branch:
    return torch.randn(2, 1 + grid[0] * grid[1], dim, dtype=torch.float64), grid


def test_fusion_by_its_equations() -> None:
    """The projected class token is the residual, normed only where attention reads it, and comes back without the old one."""
    fuse = fusion(SMALL, LARGE)
    (x, grid), (other, other_grid) = branch(SMALL, (4, 3)), branch(LARGE, (2, 2))
    (attend,) = fuse.rounds
    token = fuse.project(x[:, :1])
    together = LayerNorm(LARGE).double()(torch.cat([token, other[:, 1:]], dim=1))
    token = token + attend.layer.cross(together[:, :1], together)
    fused, fused_grid = fuse((x, grid), (other, other_grid))
    assert fused_grid == grid
    assert torch.equal(fused[:, 1:], x[:, 1:])
    torch.testing.assert_close(fused[:, :1], fuse.revert(token))


@pytest.mark.parametrize("rounds", [1, 2])
def test_class_token_reads_its_own_tower_through_itself_alone(rounds: int) -> None:
    fuse = fusion(SMALL, LARGE, rounds)
    (x, grid), (other, other_grid) = branch(SMALL, (4, 3)), branch(LARGE, (2, 2))
    x, other = x.requires_grad_(), other.requires_grad_()
    fuse((x, grid), (other, other_grid))[0][:, 0].square().sum().backward()
    assert x.grad is not None
    assert other.grad is not None
    assert x.grad[:, 0].any()
    assert not x.grad[:, 1:].any()
    assert not other.grad[:, 0].any()
    assert other.grad[:, 1:].abs().sum(-1).all()


def test_rounds_go_on_reading_patches() -> None:
    once, twice = fusion(SMALL, LARGE), fusion(SMALL, LARGE, 2)
    twice.load_state_dict(once.state_dict(), strict=False)
    own, other = branch(SMALL, (4, 3)), branch(LARGE, (2, 2))
    assert not torch.allclose(once(own, other)[0], twice(own, other)[0])
    with pytest.raises(ValueError, match="at least one attention"):
        ClassFusion(SMALL, LARGE, [])


def test_fusion_needs_a_class_token() -> None:
    with pytest.raises(ValueError, match="ClassFusion reads 1 prefix token"):
        fusion(SMALL, LARGE)((torch.randn(1, 12, SMALL).double(), (4, 3)), branch(LARGE, (2, 2)))


def test_both_fusions_read_tokens_from_before() -> None:
    """So that which tower comes first makes no difference."""
    fuse_small, fuse_large = fusion(SMALL, LARGE), fusion(LARGE, SMALL)
    layers_small, layers_large = [block(SMALL)], [block(LARGE), block(LARGE)]
    both = MultiScaleBlock(layers_small, layers_large, fuse_small, fuse_large).double().eval()
    swapped = MultiScaleBlock(layers_large, layers_small, fuse_large, fuse_small)
    small, large = branch(SMALL, (4, 3)), branch(LARGE, (2, 2))
    for one, other in zip(both(small, large), reversed(swapped(large, small)), strict=True):
        assert torch.equal(one[0], other[0])
        assert one[1] == other[1]


def test_towers_come_before_fusions() -> None:
    class Negate(nn.Module):
        def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
            return -x

    fuse_small, fuse_large = fusion(SMALL, LARGE), fusion(LARGE, SMALL)
    (x, grid), (y, other_grid) = small, large = branch(SMALL, (4, 3)), branch(LARGE, (2, 2))
    fused, _ = MultiScaleBlock([Negate()], [Negate()], fuse_small, fuse_large)(small, large)
    assert torch.equal(fused[0], fuse_small((-x, grid), (-y, other_grid))[0])
