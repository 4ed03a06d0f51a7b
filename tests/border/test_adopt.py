"""A live model of another library comes in as it is, or is refused where it differs; its weights go back."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from vitblocks import Block, ConvEmbed, GlobalAttention, LayerNorm, MeanPool, Mlp, Model, Stage, part
from vitblocks.border import Origin, activation_of, adopt, norm_of, origins, rate_of, refuse_unless, release
from vitblocks.checkpoint import Rule, within
from vitblocks.feedforward import QuickGELU, TanhGELU

from ..checkpoint.common import same


class TheirBlock(nn.Module):
    """A pre-norm block as another library might write it; ``slope`` multiplies what its feed-forward gives."""

    def __init__(self, dim: int, heads: int, slope: float = 1.0) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.act, self.down = nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        self.heads, self.slope = heads, slope

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.ln1(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        heads = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(heads.transpose(1, 2).reshape(b, n, c))
        return x + self.slope * self.down(self.act(self.up(self.ln2(x))))


class Theirs(nn.Module):
    def __init__(self, dim: int = 16, heads: int = 2, depth: int = 3, only: int | None = None, **sizes: Any) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, dim, 4, 4)
        self.layers = nn.ModuleList(TheirBlock(dim, heads, **sizes) for _ in range(depth))
        self.ln, self.fc = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, 5)
        self.only = only  # the one size that it takes

    def forward(self, image: Tensor) -> Tensor:
        if self.only is not None and image.shape[-2:] != (self.only, self.only):
            raise AssertionError(f"only {self.only} pixels\nand more lines")
        x = self.patches(image).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return self.fc(self.ln(x).mean(dim=1))


class Derived(Theirs):
    pass


def read(build: Any, module: Any) -> Model:
    refuse_unless(all(type(layer) is TheirBlock for layer in module.layers), module, "layers", module.layers)
    first = module.layers[0]
    dim = first.ln1.normalized_shape[0]
    return build(dim, first.heads, len(module.layers), norm_of(first.ln1), activation_of(first.act))


BLOCK = (
    Rule("ln1.{p}", "norm1.{p}"),
    Rule("ln2.{p}", "norm2.{p}"),
    Rule("qkv.{p}", "attn.qkv.{p}"),
    Rule("out.{p}", "attn.proj.{p}"),
    Rule("up.{p}", "mlp.fc1.{p}"),
    Rule("down.{p}", "mlp.fc2.{p}"),
)


@part
class Ours(Model):
    """Neither class is the library's: a user's own model can have origins, too."""

    layouts: ClassVar = {
        "theirs": (
            Rule("patches.{p}", "embed.conv.{p}"),
            *within("layers.{b}", "stages.0.blocks.{b}", BLOCK),
            Rule("ln.{p}", "norm.{p}"),
            Rule("fc.{p}", "head.{p}"),
        )
    }
    origins: ClassVar = {f"{__name__}.Theirs": Origin("theirs", read)}

    def __init__(self, dim: int, heads: int, depth: int, norm: Any, activation: Any) -> None:
        blocks = [
            Block(dim, GlobalAttention(dim, heads), Mlp(dim, 2 * dim, activation=activation), norm=norm)
            for _ in range(depth)
        ]
        super().__init__(
            ConvEmbed(4, dim), [Stage(blocks)], norm=norm(dim), pool=MeanPool(), head=nn.Linear(dim, 5), image_size=16
        )


def test_comes_in_proven_and_goes_out_again() -> None:
    theirs = Derived()
    model, report = adopt(theirs)
    assert isinstance(model, Ours)
    assert model.training
    assert report.errors.keys() == {(16, 16), (32, 16)}
    assert max(report.errors.values()) < 1e-6
    assert "Derived as Ours, 42 entries by the layout theirs" in str(report)
    torch.testing.assert_close(model(image := torch.rand(3, 3, 8, 20)), theirs(image))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    fresh = Theirs()
    release(model, like=fresh)
    torch.testing.assert_close(fresh(image), model(image))
    assert same(adopt(fresh).model, model)


def test_what_differs_is_refused_and_the_first_place_named() -> None:
    theirs: Any = Theirs()
    theirs.layers[1].slope = 1.5
    before = deepcopy(theirs)
    with pytest.raises(
        ValueError, match=r"Theirs is not what Ours computes here.*first in layers\.1 \(stages\.0\.layers\.1 here\)"
    ):
        adopt(theirs)
    assert same(theirs, before)
    assert not any(m._forward_hooks for m in theirs.modules())
    theirs.layers[1].slope = 1.0
    theirs.fc.register_forward_hook(lambda module, args, output: 2 * output)
    with pytest.raises(ValueError, match="after all of the 5 blocks, which give the same"):
        adopt(theirs)


def test_nan_is_a_difference() -> None:
    theirs = Theirs()
    nn.init.constant_(theirs.fc.bias, float("inf"))
    with pytest.raises(ValueError, match=r"nan|inf"):
        adopt(theirs)


def test_a_setting_without_a_part_is_refused_by_name() -> None:
    theirs = Theirs()
    theirs.layers[2] = nn.Identity()
    with pytest.raises(ValueError, match="Theirs has layers = "):
        adopt(theirs)
    with pytest.raises(ValueError, match=r"Theirs has places = a tensor of shape \(2, 3\), for which"):
        refuse_unless(False, theirs, "places", torch.ones(2, 3))
    theirs = Theirs()
    for layer in theirs.layers:
        layer.act = nn.Tanhshrink()
    with pytest.raises(ValueError, match="no activation here computes what Tanhshrink"):
        adopt(theirs)


def test_modules_other_than_its_class_is_made_of_are_refused() -> None:
    theirs: Any = Theirs()
    theirs.layers[0].ln1 = nn.Identity()  # as wrapping and replacing layers leaves models
    with pytest.raises(
        ValueError, match=r"^Theirs is made of other modules than are known here: 'Identity' object has"
    ):
        adopt(theirs)


def test_sizes_that_theirs_does_not_take_are_noted() -> None:
    _, report = adopt(Theirs(only=16))
    assert report.errors.keys() == {(16, 16)}
    assert report.notes == ("images of 32x16: Theirs does not take them (only 16 pixels)",)
    _, report = adopt(Theirs(), sizes=[8, (12, 20)])
    assert report.errors.keys() == {(8, 8), (12, 20)}
    with pytest.raises(ValueError, match="images of 20x20: Theirs does not take them"):
        adopt(Theirs(only=16), sizes=[20])


def test_half_precision_is_compared_in_float32_and_kept() -> None:
    theirs = Theirs().to(torch.bfloat16).eval()
    model, report = adopt(theirs)
    assert max(report.errors.values()) < 1e-6
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert not model.training


def test_weights_of_other_settings_are_not_put_back() -> None:
    model = adopt(Theirs()).model
    for like in (Theirs(depth=2), Theirs(depth=4), Theirs(dim=32)):
        before = deepcopy(like)
        with pytest.raises(ValueError, match="like must have the weights of this Ours"):
            release(model, like=like)
        assert same(like, before)


def test_what_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got torch\.nn\.modules\.linear\.Linear; those are: .*Theirs"):
        adopt(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="must be a live model of another library"):
        adopt({"weights": torch.ones(1)})
    assert f"{__name__}.Theirs" in origins()


@pytest.mark.parametrize("activation", [nn.GELU(), nn.GELU("tanh"), QuickGELU(), nn.SiLU(), nn.Hardswish(), nn.ReLU()])
def test_activations_are_told_by_what_they_compute(activation: nn.Module) -> None:
    x = torch.linspace(-3, 3, 50)
    assert torch.equal(activation_of(lambda t: activation(t))()(x), activation(x))


def test_norms_and_rates() -> None:
    assert norm_of(nn.LayerNorm(4, eps=1e-3))(8).eps == 1e-3
    assert isinstance(norm_of(LayerNorm(4))(8), LayerNorm)
    assert isinstance(norm_of(nn.Identity())(8), nn.Identity)
    assert norm_of(nn.RMSNorm(4, eps=1e-4))(8).eps == 1e-4
    for norm in (nn.LayerNorm(4, elementwise_affine=False), nn.BatchNorm1d(4)):
        with pytest.raises(ValueError, match="must be a LayerNorm or RMSNorm with learned scale"):
            norm_of(norm)
    assert [rate_of(m) for m in (nn.Dropout(0.3), nn.Identity())] == [0.3, 0.0]
    assert TanhGELU()(torch.ones(1)).shape == (1,)
