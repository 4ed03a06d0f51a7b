"""Residual sums, layer scale and drop path."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitblocks.feedforward import Mlp
from vitblocks.grid import Grid
from vitblocks.residual import DropPath, LayerScale, Residual, Shortcut, drop_path_schedule


def test_drop_path_drops_whole_samples_and_scales_the_others() -> None:
    x = torch.rand(4000, 3, 2) + 0.5
    y = DropPath(0.25).train()(x)
    dropped = (y == 0).flatten(1)
    assert torch.equal(dropped.all(dim=1), dropped.any(dim=1))
    kept = ~dropped.all(dim=1)
    torch.testing.assert_close(y[kept], x[kept] / 0.75)
    # Five standard deviations of a binomial of 4000 tries.
    assert abs(int(kept.sum()) - 3000) < 5 * (4000 * 0.75 * 0.25) ** 0.5


def test_drop_path_does_nothing_in_eval_mode_or_at_rate_zero() -> None:
    x = torch.randn(8, 3, 2)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0).train()(x) is x
    before = torch.get_rng_state()
    DropPath(0.0).train()(x)
    assert torch.equal(before, torch.get_rng_state())


def test_rates_rise_linearly_from_zero() -> None:
    assert drop_path_schedule(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert drop_path_schedule(0.3, 1) == [0.0]
    assert drop_path_schedule(0.3, 0) == []


def test_layer_scale_weighs_channels() -> None:
    scale, x = LayerScale(4, 0.1), torch.randn(2, 3, 4)
    torch.testing.assert_close(scale(x), 0.1 * x)
    with torch.no_grad():
        scale.weight.copy_(torch.arange(4.0))
    torch.testing.assert_close(scale(x)[..., 3], 3 * x[..., 3])


def test_a_residual_is_the_sum_it_says() -> None:
    mlp, x = Mlp(4), torch.randn(2, 6, 4)
    residual = Residual(4, mlp, layer_scale=0.5)
    norm = nn.LayerNorm(4, eps=1e-6)
    torch.testing.assert_close(residual(x, (2, 3)), x + 0.5 * mlp(norm(x), (2, 3)))
    plain = Residual(4, mlp, norm=nn.Identity)
    torch.testing.assert_close(plain(x, (2, 3)), x + mlp(x, (2, 3)))
    assert not [key for key in plain.state_dict() if "scale" in key]


class First(nn.Module):
    """Returns the first token alone, which broadcasts to all."""

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return x[:, :1]


def test_an_update_that_would_broadcast_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"must keep the shape \(2, 6, 4\), it returned \(2, 1, 4\)"):
        Residual(4, First())(torch.randn(2, 6, 4), (2, 3))


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rates_outside_the_range_are_named(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"drop_path must lie in \[0, 1\), got {rate}"):
        Shortcut(4, drop_path=rate)


def test_a_whole_branch_can_be_dropped() -> None:
    x = torch.randn(64, 6, 4)
    residual = Residual(4, Mlp(4), drop_path=0.5).train()
    y = residual(x, (2, 3))
    untouched = (y == x).flatten(1).all(dim=1)
    assert untouched.any()
    assert not untouched.all()
