"""Norms of tokens, of maps, and inside projections."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vitblocks.norm import BatchNorm, LayerNorm, LinearNorm, MapNorm, RMSNorm, layer_norm, rms_norm


def test_factories_have_the_epsilon_they_say() -> None:
    norms: list[Any] = [LayerNorm(4), layer_norm(1e-5)(4), RMSNorm(4), rms_norm(1e-3)(4)]
    assert [norm.eps for norm in norms] == [1e-6, 1e-5, 1e-6, 1e-3]
    assert isinstance(norms[2], nn.RMSNorm)


def test_batch_norm_takes_every_token_for_a_sample() -> None:
    norm, reference = BatchNorm(4, momentum=0.3), nn.BatchNorm1d(4, momentum=0.3)
    x = torch.randn(3, 5, 4)
    for training in (True, False):
        norm.train(training)
        reference.train(training)
        torch.testing.assert_close(norm(x), reference(x.reshape(15, 4)).reshape(3, 5, 4))
    assert torch.equal(norm.bn.running_mean, reference.running_mean)
    torch.testing.assert_close(norm(x[:, 0]), reference(x[:, 0]))


def test_synchronised_batch_norm_keeps_the_channels() -> None:
    """A subclass of BatchNorm called on (B, N, C) would take N for the channels once converted."""
    converted: Any = nn.SyncBatchNorm.convert_sync_batchnorm(LinearNorm(6, 4))
    norms = [module for module in converted.modules() if hasattr(module, "num_features")]
    assert [(type(norm).__name__, norm.num_features) for norm in norms] == [("SyncBatchNorm", 4)]


def test_a_lone_sample_in_training_is_normed_by_the_running_statistics() -> None:
    norm, x = BatchNorm(4).train(), torch.randn(1, 4)
    norm(torch.randn(5, 4) + 2)
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    y = norm(x)
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())
    torch.testing.assert_close(y, norm.eval()(x))


def test_linear_norm_may_start_as_nothing() -> None:
    x = torch.randn(3, 5, 6)
    assert (LinearNorm(6, 4, init_weight=0.0)(x) == 0).all()
    layer = LinearNorm(6, 4)
    assert "linear.bias" not in layer.state_dict()
    torch.testing.assert_close(layer(x), layer.norm(x @ layer.linear.weight.T))


def test_map_norm_runs_over_channels() -> None:
    x, norm = torch.randn(2, 4, 3, 5), nn.LayerNorm(4)
    y = MapNorm(norm)(x)
    torch.testing.assert_close(y[:, :, 1, 2], norm(x[:, :, 1, 2]))
    assert y.shape == x.shape
