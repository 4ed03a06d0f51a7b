"""Tokens of patches as colours."""

from __future__ import annotations

import pytest
import torch

from vitblocks.viz import feature_picture, principal_colours


def test_a_colour_means_the_same_at_every_resolution() -> None:
    torch.manual_seed(0)
    kinds = torch.randn(4, 8)
    fine = torch.randint(4, (6, 10))
    coarse = fine[::2, ::2]
    maps = [kinds[chosen].permute(2, 0, 1) for chosen in (coarse, fine)]
    colours = principal_colours(maps)
    assert [tuple(picture.shape) for picture in colours] == [(3, 5, 3), (6, 10, 3)]
    torch.testing.assert_close(colours[0], colours[1][::2, ::2])
    found = torch.stack([colours[1][fine == kind][0] for kind in range(4)])
    assert torch.cdist(found, found).fill_diagonal_(1).min() > 0.05
    assert 0 <= colours[1].min() <= colours[1].max() <= 1


def test_components_are_along_the_largest_differences() -> None:
    line = torch.linspace(-1, 1, 12)
    picture = principal_colours([torch.stack([line * 9, torch.randn(12) * 1e-3, torch.randn(12) * 1e-3])[:, None]])[0]
    assert (picture[0, 1:, 0] >= picture[0, :-1, 0]).all()


def test_what_has_no_components_is_refused() -> None:
    for maps in ([], [torch.rand(2, 3, 3)], [torch.rand(4, 3, 3), torch.rand(5, 3, 3)]):
        with pytest.raises(ValueError, match="maps must be"):
            principal_colours(maps)


def test_picture_has_a_panel_for_each_resolution() -> None:
    maps = [torch.rand(2, 8, 2, 3), torch.rand(2, 8, 4, 6)]
    figure = feature_picture(torch.rand(2, 3, 16, 24), maps)
    assert len(figure.axes) == 2 * 3
    assert [axes.get_title() for axes in figure.axes[:3]] == ["image", "2 x 3 patches", "4 x 6 patches"]
    shown = figure.axes[2].images[0].get_array()
    assert shown is not None
    assert shown.shape == (4, 6, 3)
