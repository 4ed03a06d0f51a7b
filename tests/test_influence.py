"""What each kind of layer lets tokens see, prefix tokens above all: by gradients, not by shapes.

Expected matrices are written out place by place from the rule in the kind's docstring.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vitblocks.attention import (
    Attend,
    ClassAttention,
    ConvProjectionAttention,
    DilatedWindowAttention,
    GlobalAttention,
    KernelAttend,
    LocalWindowAttention,
    ReAttend,
    ReAttention,
    ReducedAttention,
    SoftmaxAttend,
    TalkingHeadsAttend,
    TalkingHeadsAttention,
)
from vitblocks.block import Block, ClassBlock
from vitblocks.embed import Downsample, OnMap
from vitblocks.feedforward import ConvFeedForward, EfficientChannelAttention, GatedMlp, Mlp
from vitblocks.grid import Grid
from vitblocks.position import PEG, LearnedPosition, RelativeBias, Rotary2d
from vitblocks.prefix import PerToken
from vitblocks.testing import influence
from vitblocks.zoo.ats_vit import SmoothedSoftmaxAttend
from vitblocks.zoo.mobile_vit import Interleaved
from vitblocks.zoo.regionvit import RegionalAttention

DIM, HEADS = 8, 2
GRIDS: list[tuple[int, int]] = [(4, 6), (7, 5), (3, 3)]
PREFIXES = [0, 1, 5]
Place = tuple[int, int]


def tokens(grid: Grid, prefix: int) -> Tensor:
    return torch.randn(1, prefix + grid[0] * grid[1], DIM, dtype=torch.float64)


def seen(layer: nn.Module, grid: Grid, prefix: int, atol: float = 0.0) -> Tensor:
    """The influence matrix, with all parameters moved off their starting values so that zeros hide nothing."""
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return influence(layer, tokens(grid, prefix), grid, atol=atol)


def expected(
    grid: tuple[int, int], prefix: int, patches: Callable[[Place, Place], bool], *, prefix_to: str, to_prefix: bool
) -> Tensor:
    """``patches(query, key)`` says who meets on the grid; prefix tokens see ``all``, ``own`` (only themselves) or ``none``."""
    places = [(row, column) for row in range(grid[0]) for column in range(grid[1])]
    count = prefix + len(places)
    matrix = torch.zeros(count, count, dtype=torch.bool)
    for i in range(prefix):
        matrix[i, i] = prefix_to != "none"
        if prefix_to == "all":
            matrix[i] = True
    for i, query in enumerate(places):
        matrix[prefix + i, :prefix] = to_prefix
        for j, key in enumerate(places):
            matrix[prefix + i, prefix + j] = patches(query, key)
    return matrix


def everyone(query: Place, key: Place) -> bool:
    return True


def only_itself(query: Place, key: Place) -> bool:
    return query == key


def same_window(window: Place, shift: Place = (0, 0)) -> Callable[[Place, Place], bool]:
    """Windows that begin ``shift`` into the map. Those at its edges are cut off by it, never completed from the other side."""

    def meet(query: Place, key: Place) -> bool:
        return all((q - s) // w == (k - s) // w for q, k, w, s in zip(query, key, window, shift, strict=True))

    return meet


GLOBAL: dict[str, Callable[[], nn.Module]] = {
    "softmax": lambda: GlobalAttention(DIM, HEADS),
    "relative bias": lambda: GlobalAttention(DIM, HEADS, position_bias=RelativeBias(HEADS, 3)),
    "rotary": lambda: GlobalAttention(DIM, HEADS, rotary=Rotary2d(DIM // HEADS)),
    "talking heads": lambda: TalkingHeadsAttention(DIM, HEADS),
    "re-attention": lambda: ReAttention(DIM, HEADS),
    "smoothed": lambda: GlobalAttention(DIM, HEADS, attend=SmoothedSoftmaxAttend()),
    "kernel": lambda: GlobalAttention(DIM, HEADS, attend=KernelAttend(DIM // HEADS)),
    "unreduced": lambda: ReducedAttention(DIM, HEADS, reduction=1),
    "convolutional projection": lambda: ConvProjectionAttention(DIM, HEADS),
}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", GLOBAL)
def test_global_kinds_show_everything_to_all(kind: str, grid: tuple[int, int], prefix: int) -> None:
    assert seen(GLOBAL[kind](), grid, prefix).all()


# What masks must hold for. The smoothed softmax leaves eps / m to hidden keys as published, which atol passes over.
MASKED: dict[str, tuple[Callable[[], Attend], float]] = {
    "softmax": (SoftmaxAttend, 0.0),
    "talking heads": (lambda: TalkingHeadsAttend(HEADS), 0.0),
    "re-attention": (lambda: ReAttend(HEADS), 0.0),
    "smoothed": (SmoothedSoftmaxAttend, 1e-5),
}


@pytest.mark.parametrize("attend", MASKED)
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("grid", GRIDS)
def test_windows_see_themselves_and_the_prefix(grid: tuple[int, int], prefix: int, attend: str) -> None:
    make, atol = MASKED[attend]
    layer = LocalWindowAttention(DIM, HEADS, window=(2, 3), attend=make())
    right = expected(grid, prefix, same_window((2, 3)), prefix_to="all", to_prefix=True)
    assert torch.equal(seen(layer, grid, prefix, atol), right)


@pytest.mark.parametrize("attend", MASKED)
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("grid", GRIDS)
def test_shifted_windows_never_meet_across_the_edges(grid: tuple[int, int], prefix: int, attend: str) -> None:
    make, atol = MASKED[attend]
    layer = LocalWindowAttention(DIM, HEADS, window=(2, 3), shift=(1, 2), attend=make())
    # A side that one window covers is not shifted.
    shift = (1 if grid[0] > 2 else 0, 2 if grid[1] > 3 else 0)
    right = expected(grid, prefix, same_window((2, 3), shift), prefix_to="all", to_prefix=True)
    assert torch.equal(seen(layer, grid, prefix, atol), right)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("window", [None, 2])
def test_dilated_windows_see_tokens_dilation_apart(grid: tuple[int, int], prefix: int, window: int | None) -> None:
    layer = DilatedWindowAttention(DIM, HEADS, window=window, dilation=(2, 3))

    def meet(query: Place, key: Place) -> bool:
        apart = all((q - k) % step == 0 for q, k, step in zip(query, key, (2, 3), strict=True))
        close = window is None or all(
            q // step // window == k // step // window for q, k, step in zip(query, key, (2, 3), strict=True)
        )
        return apart and close

    right = expected(grid, prefix, meet, prefix_to="all", to_prefix=True)
    assert torch.equal(seen(layer, grid, prefix), right)


def test_a_window_larger_than_the_map_is_the_map() -> None:
    assert seen(LocalWindowAttention(DIM, HEADS, window=9, shift=4), (4, 3), 2).all()


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("grid", [(4, 6), (7, 5), (5, 7)])
def test_reduced_attention_shows_all_whole_reductions_to_all(grid: tuple[int, int], prefix: int) -> None:
    rows, columns = grid[0] // 2 * 2, grid[1] // 3 * 3

    def meet(query: Place, key: Place) -> bool:
        return query == key or (key[0] < rows and key[1] < columns)

    right = expected(grid, prefix, meet, prefix_to="all", to_prefix=True)
    whole = torch.zeros(grid, dtype=torch.bool)
    whole[:rows, :columns] = True
    right[:prefix, prefix:] = whole.flatten()
    assert torch.equal(seen(ReducedAttention(DIM, HEADS, reduction=(2, 3)), grid, prefix), right)


@pytest.mark.parametrize("prefix", [1, 5])
def test_reduced_attention_keeps_prefix_tokens_unreduced(prefix: int) -> None:
    layer, x = ReducedAttention(DIM, HEADS, reduction=2).double(), tokens((4, 6), prefix)
    reduced = layer.reduced(x, (4, 6))
    assert reduced.shape[1] == prefix + 2 * 3
    assert torch.equal(reduced[:, :prefix], x[:, :prefix])


def neighbours(query: Place, key: Place) -> bool:
    return max(abs(q - k) for q, k in zip(query, key, strict=True)) <= 1


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("grid", GRIDS)
def test_prefix_tokens_pass_convolutions_by(grid: tuple[int, int], prefix: int) -> None:
    conv = nn.Conv2d(DIM, DIM, 3, padding=1)
    for layer in (PEG(DIM), OnMap(conv)):
        right = expected(grid, prefix, neighbours, prefix_to="own", to_prefix=False)
        assert torch.equal(seen(layer, grid, prefix), right)
        x = tokens(grid, prefix)
        assert torch.equal(layer(x, grid)[:, :prefix], x[:, :prefix])


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_convolutional_feed_forward_updates_patches_only(grid: tuple[int, int], prefix: int) -> None:
    layer = ConvFeedForward(DIM, 12)
    right = expected(grid, prefix, neighbours, prefix_to="none", to_prefix=False)
    assert torch.equal(seen(layer, grid, prefix), right)
    update = layer(tokens(grid, prefix), grid)
    assert torch.equal(update[:, :prefix], torch.zeros_like(update[:, :prefix]))
    squeezed = ConvFeedForward(DIM, 12, channel_attention=EfficientChannelAttention())
    right = expected(grid, prefix, everyone, prefix_to="none", to_prefix=False)
    assert torch.equal(seen(squeezed, grid, prefix), right)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("layer", [Mlp(DIM), GatedMlp(DIM), PerToken(nn.LayerNorm(DIM)), LearnedPosition(DIM, 3)])
def test_what_treats_tokens_alike_mixes_none(layer: nn.Module, prefix: int) -> None:
    right = expected((4, 6), prefix, only_itself, prefix_to="own", to_prefix=False)
    assert torch.equal(seen(layer, (4, 6), prefix), right)


def test_convolutional_projections_pass_prefix_tokens_by() -> None:
    layer, x = ConvProjectionAttention(DIM, HEADS).double().eval(), tokens((4, 6), 2)
    for projection in (layer.q, layer.k, layer.v):
        torch.testing.assert_close(projection(x, (4, 6))[:, :2], projection.linear(x[:, :2]))


@pytest.mark.parametrize("attend", MASKED)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_regional_token_sees_its_window_alone(grid: tuple[int, int], attend: str) -> None:
    make, atol = MASKED[attend]
    layer = RegionalAttention(DIM, HEADS, window=(2, 3), attend=make())
    per_row = -(-grid[1] // 3)
    regions = -(-grid[0] // 2) * per_row
    region = [row // 2 * per_row + column // 3 for row in range(grid[0]) for column in range(grid[1])]
    member = torch.tensor([*range(regions), *region])
    assert torch.equal(seen(layer, grid, regions, atol), member[:, None] == member[None])


def test_regional_tokens_alone_attend_to_one_another() -> None:
    layer = RegionalAttention(DIM, HEADS, window=2).double()
    assert influence(layer, tokens((0, 0), 6), (0, 0)).all()


def test_regional_attention_names_the_numbers() -> None:
    layer = RegionalAttention(DIM, HEADS, window=(2, 3)).double()
    with pytest.raises(ValueError, match=r"grid \(7, 5\) has 4 x 2 windows of \(2, 3\), x carries 3 prefix"):
        layer(tokens((7, 5), 3), (7, 5))


@pytest.mark.parametrize("prefix", [1, 5])
@pytest.mark.parametrize("grid", GRIDS)
def test_class_attention_updates_prefix_tokens_only(grid: tuple[int, int], prefix: int) -> None:
    layer = ClassAttention(DIM, HEADS).double()
    matrix = seen(layer, grid, prefix)
    assert matrix[:prefix].all()
    assert not matrix[prefix:].any()
    update = layer(tokens(grid, prefix), grid)[:, prefix:]
    assert torch.equal(update, torch.zeros_like(update))


@pytest.mark.parametrize("prefix", [1, 5])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_class_block_passes_patches_on(grid: tuple[int, int], prefix: int) -> None:
    layer = ClassBlock(DIM, ClassAttention(DIM, HEADS), Mlp(DIM)).double()
    right = expected(grid, prefix, only_itself, prefix_to="all", to_prefix=False)
    assert torch.equal(seen(layer, grid, prefix), right)
    x = tokens(grid, prefix)
    assert torch.equal(layer(x, grid)[:, prefix:], x[:, prefix:])


def test_interleaved_layers_stay_on_their_sub_grid() -> None:
    layer = Interleaved([Block(DIM, GlobalAttention(DIM, HEADS), Mlp(DIM))], (2, 3))

    def meet(query: Place, key: Place) -> bool:
        return (query[0] - key[0]) % 2 == 0 and (query[1] - key[1]) % 3 == 0

    right = expected((4, 6), 0, meet, prefix_to="own", to_prefix=False)
    assert torch.equal(seen(layer, (4, 6), 0), right)


def test_a_downsample_projects_prefix_tokens_apart() -> None:
    layer = Downsample(nn.Conv2d(DIM, DIM, 2, stride=2), prefix=nn.Linear(DIM, DIM))
    matrix = seen(layer, (4, 6), 2)
    assert torch.equal(matrix[:2, :2], torch.eye(2, dtype=torch.bool))
    assert not matrix[:2, 2:].any()
    assert not matrix[2:, :2].any()
    assert (matrix[2:].sum(dim=1) == 4).all()


def test_influence_sees_through_batch_norm_in_train_mode_and_leaves_the_layer_alone() -> None:
    layer = ConvFeedForward(DIM, 12).double().train()
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    right = expected((4, 6), 1, neighbours, prefix_to="none", to_prefix=False)
    assert torch.equal(influence(layer, tokens((4, 6), 1), (4, 6)), right)
    assert layer.training
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
