"""Transforms of weights between layouts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from vitblocks import (
    LinearEmbed,
    checkpoint as ck,
)

SWAP = ck.Functions(lambda xs: (xs[1], xs[0]), lambda xs: (xs[1], xs[0]))


@pytest.mark.parametrize(
    ("transform", "theirs", "ours"),
    [
        (ck.Same(), [(2, 3)], [(2, 3)]),
        (ck.Unsqueeze(0), [(5, 4)], [(1, 5, 4)]),
        (ck.Permute(2, 0, 1), [(2, 3, 4)], [(4, 2, 3)]),
        (ck.Reshape((2, 6), (3, 4)), [(2, 6)], [(3, 4)]),
        (ck.Concat(3), [(2, 4)] * 3, [(6, 4)]),
        (ck.Concat((1, 3), dim=1), [(2, 1), (2, 3)], [(2, 4)]),
        (ck.Inverted(ck.Concat(2)), [(4, 3)], [(2, 3), (2, 3)]),
        (ck.Reorder([2, 0, 1], dim=1), [(2, 3)], [(2, 3)]),
        (ck.heads_from_interleaved(2, (2, 2, 3)), [(14, 4)], [(14, 4)]),
        (ck.heads_from_fastest(2, 3, dim=1), [(4, 6)], [(4, 6)]),
        (ck.PatchPixels((2, 3), 4), [(5, 24)], [(5, 4, 2, 3)]),
        (ck.PatchPixels((2, 3), 4, order="cwh"), [(5, 24)], [(5, 4, 2, 3)]),
        (ck.Compose(ck.Concat(2), ck.Unsqueeze(0)), [(2, 3)] * 2, [(1, 4, 3)]),
        (SWAP, [(2,), (3,)], [(3,), (2,)]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ck.Transform) else "",
)
def test_transform_and_inverse(
    transform: ck.Transform, theirs: Sequence[tuple[int, ...]], ours: Sequence[tuple[int, ...]]
) -> None:
    values = tuple(torch.randn(shape) for shape in theirs)
    there = transform.forward(values)
    assert [tuple(x.shape) for x in there] == list(ours)
    back = transform.inverse(there)
    assert all(torch.equal(x, y) for x, y in zip(back, values, strict=True))


def test_head_orders() -> None:
    names = ["q0", "k0", "v0", "w0", "q1", "k1", "v1", "w1"]  # two heads; v has two channels
    order = ck.heads_from_interleaved(2, (1, 1, 2)).index
    assert [names[i] for i in order] == ["q0", "q1", "k0", "k1", "v0", "w0", "v1", "w1"]
    assert ck.heads_from_fastest(2, 3).index == (0, 2, 4, 1, 3, 5)


def test_patch_pixels_is_the_same_embedding() -> None:
    conv, linear = nn.Conv2d(3, 5, (2, 4), stride=(2, 4)).double(), LinearEmbed((2, 4), 5).double()
    (weight,) = ck.PatchPixels((2, 4), 3).forward((linear.proj.weight.detach(),))
    conv.load_state_dict({"weight": weight, "bias": linear.proj.bias})
    image = torch.randn(2, 3, 4, 8, dtype=torch.float64)
    torch.testing.assert_close(conv(image).flatten(2).transpose(1, 2), linear(image)[0])


def test_transforms_refuse_bad_arguments() -> None:
    with pytest.raises(ValueError, match="permutation"):
        ck.Reorder([0, 0, 1])
    with pytest.raises(ValueError, match="'hwd'"):
        ck.PatchPixels((2, 2), 3, order="hwd")
    with pytest.raises(ValueError, match="tied"):
        ck.Tied(2).forward((torch.zeros(2), torch.ones(2)))
    assert len(ck.Tied(3).inverse((torch.zeros(2),))) == 3
