"""CrossViT's own parts: fusion by its equations, and the resizing of images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitblocks import Block, ClassAttention, GlobalAttention, LayerNorm, Mlp
from vitblocks.zoo.cross_vit import Branch, ClassFusion, MultiScaleBlock, Rescale, ResizeTo

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


def test_rescaling_is_bicubic_without_antialiasing() -> None:
    image = torch.randn(2, 3, 24, 30)
    expected = F.interpolate(image, size=(16, 20), mode="bicubic", align_corners=False)
    assert torch.equal(Rescale(24, 16)(image), expected)


@pytest.mark.parametrize(
    ("image", "scaled"),
    [((240, 240), (224, 224)), ((480, 240), (448, 224)), ((224, 250), (208, 240)), ((1, 500), (16, 464))],
)
def test_rescaling_keeps_the_proportion_to_the_nearest_multiple(
    image: tuple[int, int], scaled: tuple[int, int]
) -> None:
    assert Rescale(240, 224, multiple=16)(torch.zeros(1, 1, *image)).shape[2:] == scaled


def test_sides_have_proportions_of_their_own() -> None:
    assert Rescale((8, 10), (4, 20))(torch.zeros(1, 1, 16, 5)).shape[2:] == (8, 10)


def test_an_image_that_fits_is_left_alone() -> None:
    image = torch.randn(1, 3, 8, 8)
    assert Rescale(4, 4, multiple=4)(image) is image


def test_half_precision_keeps_its_dtype() -> None:
    image = torch.randn(1, 3, 12, 12)
    for dtype in (torch.float16, torch.bfloat16):
        low = Rescale(12, 8)(image.to(dtype))
        assert low.dtype == dtype
        torch.testing.assert_close(low.float(), Rescale(12, 8)(image), rtol=0.02, atol=0.02)


def test_rescaling_refuses_a_size_that_is_no_multiple_and_what_is_no_image() -> None:
    with pytest.raises(ValueError, match=r"\(16, 16\) or \(32, 32\)"):
        Rescale(24, 20, multiple=16)
    with pytest.raises(ValueError, match="image must be"):
        Rescale(24, 16)(torch.zeros(3, 24, 24))


def test_resizing_to_one_size_is_rescaling_at_that_size() -> None:
    image = torch.rand(1, 2, 24, 24)
    assert torch.equal(ResizeTo(16)(image), Rescale(24, 16)(image))
    assert ResizeTo((16, 8))(torch.rand(1, 2, 40, 30)).shape[2:] == (16, 8)
    assert ResizeTo(24)(image) is image
    with pytest.raises(ValueError, match="image"):
        ResizeTo(16)(torch.zeros(3, 24, 24))
