"""The head of DINO (arXiv:2104.14294, Section 3.1 and Appendix C)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoint.rules import KeyMap, Rule, Table
from ..init import trunc_normal_linear
from ..norm import NormFactory, at_least_float32
from ..registry import part


def official(model: DinoHead) -> Table:
    """Key map of the authors' DINOHead. With a single Linear it is no list there."""
    return (
        Rule("mlp.{p}", "mlp.0.{p}" if len(model.mlp) == 1 else "mlp.{p}"),
        Rule("last_layer.weight_v", "last.direction"),
        Rule("last_layer.weight_g", "last.scale"),
    )


LAYOUTS: dict[str, KeyMap] = {"official": official}


@part
class WeightNormLinear(nn.Module):
    """A Linear without bias whose rows have the length ``scale``, whatever the length of ``direction`` (arXiv:1602.07868, eq. 2).

    ``scale`` is 1 and is not trained, unless ``learn_scale``.
    """

    def __init__(self, in_dim: int, out_dim: int, *, learn_scale: bool = False) -> None:
        super().__init__()
        self.direction = nn.Parameter(nn.Linear(in_dim, out_dim, bias=False).weight.detach())
        self.scale = nn.Parameter(torch.ones(out_dim, 1), requires_grad=learn_scale)

    def forward(self, x: Tensor, *, frozen: bool = False) -> Tensor:
        """With ``frozen``, gradients pass through to ``x`` while those of the weights are zero.

        Zero rather than none, because distributed training waits for one.
        """
        weight = self.scale * F.normalize(self.direction, dim=1)
        return F.linear(x, weight.detach() + 0.0 * weight if frozen else weight)


@part
class DinoHead(nn.Module):
    """The projection head (Section 3.1 and Appendix C): Linears with GELU, a bottleneck of length 1, a weight-normalised Linear.

    ``features (B, dim) -> logits (B, out_dim)``. Linears start as a truncated normal of standard deviation 0.02 with zero biases, the last
    layer as PyTorch's Linear with its rows normalised.

    Args:
        dim, hidden_dim, bottleneck_dim, out_dim: channels of the features, in between, before and after the last layer.
        layers: Linears up to the bottleneck.
        norm: factory of a norm after every Linear but the bottleneck's, such as ``nn.BatchNorm1d``; None for none.
        learn_scale: whether the lengths of the last layer's rows are trained; fixed at 1 they make training steadier.

    Raises:
        ValueError: a size that is not positive.
    """

    layouts = LAYOUTS

    def __init__(
        self,
        dim: int,
        out_dim: int = 65536,
        *,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        layers: int = 3,
        norm: NormFactory | None = None,
        learn_scale: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"dim": dim, "out_dim": out_dim, "hidden_dim": hidden_dim, "bottleneck_dim": bottleneck_dim}
        for name, value in {**sizes, "layers": layers}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        steps: list[nn.Module] = []
        for before in (dim, *[hidden_dim] * (layers - 2))[: layers - 1]:
            steps += [nn.Linear(before, hidden_dim), *([] if norm is None else [norm(hidden_dim)]), nn.GELU()]
        steps.append(nn.Linear(hidden_dim if layers > 1 else dim, bottleneck_dim))
        self.mlp = nn.Sequential(*steps).apply(trunc_normal_linear)
        self.last = WeightNormLinear(bottleneck_dim, out_dim, learn_scale=learn_scale)

    def forward(self, features: Tensor, *, frozen: bool = False) -> Tensor:
        """``frozen``: without gradients for the last layer's weights."""
        x = self.mlp(features)
        return self.last(F.normalize(at_least_float32(x), dim=-1).to(x.dtype), frozen=frozen)
