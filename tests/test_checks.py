"""The words of the package: what their arguments may be, and that every constructor has its numbers checked."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from math import inf, nan
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitblocks
from vitblocks import (
    MAE,
    MPP,
    Block,
    ClassPool,
    ClassToken,
    ConvEmbed,
    Dino,
    DropPath,
    GlobalAttention,
    KernelAttend,
    LayerNorm,
    LayerScale,
    Mlp,
    Model,
    ReAttend,
    ReducedAttention,
    RegisterToken,
    RelativeBias,
    SoftmaxAttend,
    Stage,
    TalkingHeadsAttend,
    ViT,
)
from vitblocks.attention.attend import add_bias
from vitblocks.checks import WORDS, check_grid, check_words
from vitblocks.recipe.part import list_parts
from vitblocks.zoo.ats_vit import SmoothedSoftmaxAttend

from .recipe.examples import dino, vit
from .zoo.tiny import TINY

SAID_ELSEWHERE = {"hidden_layer", "re_attention_depth", "before", "layers", "stages"}
"""Words of one part, which checks them itself: a name or a number, flags or a number, and lists of modules elsewhere."""


def test_every_number_of_every_constructor_is_checked() -> None:
    for name, part in list_parts().items():
        for parameter in signature(part).parameters.values():
            said = (
                str(parameter.annotation)
                .replace("Callable[[int], nn.Module]", "")
                .replace("Callable[[int, int], nn.Module]", "")
            )
            if parameter.kind is Parameter.VAR_KEYWORD or not any(word in said for word in ("int", "float", "Size")):
                continue
            word = parameter.name
            word = word[3:] if word[:3] in ("s1_", "s2_", "s3_", "s4_", "sm_", "lg_") else word
            module = part.__module__.partition(".")[0] == "vitblocks" and "Callable" not in said
            if module:
                assert word in WORDS or word in SAID_ELSEWHERE, f"{name}({parameter.name}: {said})"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"dim": 0}, "dim must be at least 1, got 0"),
        ({"dim": (8, -8)}, r"dim\[1\] must be at least 1, got -8"),
        ({"depth": -2}, "depth must be at least 0, got -2"),
        ({"s2_depth": -2}, "s2_depth must be at least 0, got -2"),
        ({"eps": nan}, "eps must be finite, got nan"),
        ({"scale": inf}, "scale must be finite, got inf"),
        ({"layer_scale": -inf}, "layer_scale must be finite, got -inf"),
        ({"drop_path": nan}, "drop_path must be finite, got nan"),
        ({"dropout": 1.5}, r"dropout must lie in \[0, 1\), got 1.5"),
        ({"alpha": -0.1}, r"alpha must lie in \[0, 1\], got -0.1"),
        ({"masking_ratio": 1}, "masking_ratio must lie between 0 and 1, got 1"),
        ({"mlp_ratio": 0}, "mlp_ratio must be positive, got 0"),
        ({"image_size": (224, 0)}, r"image_size\[1\] must be at least 1, got 0"),
    ],
)
def test_out_of_range(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_words(args)


@pytest.mark.parametrize(
    "args",
    [{"dim": "16"}, {"heads": 2.0}, {"depth": True}, {"mlp_ratio": "2"}, {"dropout": None, "eps": "1"}, {"attn": Mlp}],
)
def test_wrong_types(args: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"^{list(args)[-1]} "):
        check_words(args)


def test_numbers_of_numpy_and_unknown_words_pass() -> None:
    import numpy as np

    check_words({"dim": np.int64(8), "eps": np.float32(1e-6), "colour": nan, "norm": None, "heads": [nn.Identity()]})


@pytest.mark.parametrize(
    "make",
    [
        lambda: LayerNorm(8, eps=nan),
        lambda: vitblocks.layer_norm(nan)(8),
        lambda: SoftmaxAttend(scale=inf),
        lambda: LayerScale(8, nan),
        lambda: DropPath(nan),
        lambda: KernelAttend(8, eps=inf),
        lambda: TINY["CCT"].build(mlp_ratio="2"),
        lambda: TINY["ViT"].build(depth=-2),
        lambda: TINY["Swin"].build(depths=(2, -2)),
        lambda: GlobalAttention(16, 2, value_dim=-4),
        lambda: type("Mine", (Block,), {})(16, GlobalAttention(16, 2), Mlp(16), drop_path=nan),
    ],
)
def test_constructors_refuse(make: Callable[[], Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        make()


@pytest.mark.parametrize("grid", [(-4, -6), (2, 2, 6), (), (0, 4), (-1,)])
def test_grids_that_are_none(grid: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="grid must be"):
        check_grid(grid)
    with pytest.raises(ValueError, match="grid must be"):
        Mlp(16)(torch.randn(1, 24, 16), grid)


@pytest.mark.parametrize("grid", [None, [4, 6], 24, (4.0, 6.0)])
def test_grids_of_other_types(grid: Any) -> None:
    with pytest.raises(TypeError, match="grid must be a tuple of ints"):
        GlobalAttention(16, 2)(torch.randn(1, 24, 16), grid)


ATTENDS = [SoftmaxAttend(), TalkingHeadsAttend(2, init_std=0.3), ReAttend(2).eval(), SmoothedSoftmaxAttend()]


@pytest.mark.parametrize("attend", ATTENDS, ids=lambda attend: type(attend).__name__)
def test_bools_are_a_mask(attend: nn.Module) -> None:
    """True takes part, as in ``F.scaled_dot_product_attention``."""
    q, k, v = torch.randn(3, 2, 2, 5, 4).unbind()
    mask = torch.eye(5).bool() | (torch.rand(5, 5) < 0.5)
    bias = torch.zeros(5, 5).masked_fill(~mask, -inf)
    torch.testing.assert_close(attend(q, k, v, mask), attend(q, k, v, bias))
    torch.testing.assert_close(attend.weights(q, k, mask), attend.weights(q, k, bias))


@pytest.mark.parametrize("attend", ATTENDS, ids=lambda attend: type(attend).__name__)
def test_a_query_without_any_key_is_a_number(attend: nn.Module) -> None:
    q, k, v = torch.randn(3, 2, 2, 5, 4).unbind()
    mask = torch.rand(5, 5) < 0.5
    mask[2] = False
    assert attend(q, k, v, mask).isfinite().all()
    assert attend.weights(q, k, mask).isfinite().all()


def test_masks_and_biases_add_up() -> None:
    mask, bias = torch.tensor([True, False]), torch.tensor([1.0, 2.0])
    assert add_bias(mask, torch.tensor([False, True])).tolist() == [False, False]
    assert add_bias(bias, mask).tolist() == add_bias(mask, bias).tolist() == [1.0, -inf]
    layer = GlobalAttention(16, 2, position_bias=RelativeBias(2, 2))
    x, seen = torch.randn(1, 4, 16), torch.eye(4).bool()
    torch.testing.assert_close(layer.mix(x, (2, 2), mask=seen), layer.output(layer.split_qkv(x)[2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": torch.randn(1, 2, 3, 4)}, "v must hold a value for each key"),
        ({"k": torch.randn(1, 2, 5, 3)}, "q and k must agree"),
        ({"q": torch.randn(5, 4)}, "q must be"),
        ({"bias": torch.randn(5, 3)}, r"bias \(5, 3\) does not broadcast to the logits \(1, 2, 5, 5\)"),
    ],
)
def test_what_attends_refuse(change: dict[str, Tensor], message: str) -> None:
    given = {name: torch.randn(1, 2, 5, 4) for name in "qkv"}
    with pytest.raises(ValueError, match=message):
        SoftmaxAttend()(**{**given, **change})


def test_masks_of_other_types_are_refused() -> None:
    q = torch.randn(1, 2, 5, 4)
    with pytest.raises(TypeError, match=r"bools that are True where a key takes part, got torch\.int64"):
        SoftmaxAttend()(q, q, q, torch.ones(5, 5).long())


def test_a_relative_bias_on_reduced_keys_says_what_would_do() -> None:
    layer = ReducedAttention(16, 2, reduction=2, position_bias=RelativeBias(2, 4))
    with pytest.raises(ValueError, match=r"a position bias must give \(heads, queries, keys\)"):
        layer(torch.randn(1, 16, 16), (4, 4))


def test_registers_stand_behind_the_class_token() -> None:
    """Whichever comes first: ClassPool never reads a register."""
    token, registers = ClassToken(16), RegisterToken(16, 3)
    x = torch.randn(2, 4, 16)
    for layers in ([token, registers], [registers, token]):
        y = x
        for layer in layers:
            y = layer(y, (2, 2))
        torch.testing.assert_close(ClassPool()(y, (2, 2)), token.token[0].expand(2, -1))
        torch.testing.assert_close(y[:, 1:4], registers.token.expand(2, -1, -1))
        torch.testing.assert_close(y[:, 4:], x)


def test_two_class_tokens_are_refused() -> None:
    stages = [Stage([ClassToken(16)]), Stage([ClassToken(16, 4)])]
    with pytest.raises(
        ValueError, match=r"stages\[0\].layers\[0\] and stages\[1\].layers\[0\] are ClassTokens.*RegisterToken"
    ):
        Model(ConvEmbed(4, 16), stages, pool=ClassPool())


OBJECTIVES: dict[str, Callable[[], nn.Module]] = {
    "MAE": lambda: MAE(vit(), decoder_dim=16, decoder_depth=1, decoder_heads=2),
    "MPP": lambda: MPP(vit()),
    "SimMIM": lambda: vitblocks.SimMIM(vit()),
    "Dino": lambda: dino(augment_fn=nn.Identity()),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_empty_batch_has_no_loss(name: str) -> None:
    with pytest.raises(ValueError, match="images must hold at least one image"):
        OBJECTIVES[name]()(torch.randn(0, 3, 32, 32))


def test_sizes_of_dino_are_named_as_they_are_given() -> None:
    with pytest.raises(ValueError, match="num_classes_K must be at least 1"):
        Dino(vit(), 32, num_classes_K=0)


def test_what_a_model_is_called_with() -> None:
    model = ViT(image_size=16, patch_size=4, num_classes=3, dim=8, depth=1, heads=2, mlp_dim=8)
    image = torch.randn(1, 3, 16, 16)
    wrong: list[tuple[Any, type[Exception], str]] = [
        (None, TypeError, "image must be a tensor .batch, channels, height, width., got a NoneType"),
        (image.numpy(), TypeError, "got a ndarray"),
        (image[0], ValueError, r"image must be \(batch, channels, height, width\), got shape \(3, 16, 16\)"),
        (image.byte(), TypeError, "image must be of floats, got torch.uint8: convert it"),
        (image.double(), TypeError, "image is of torch.float64, the weights of .* of torch.float32"),
        (image[:, :1], ValueError, r"image must have 3 channels for this .*, got shape \(1, 1, 16, 16\)"),
        (image[..., :0], ValueError, "image must have pixels and channels"),
    ]
    for given, kind, message in wrong:
        for call in (model, model.encode, model.forward_features):
            with pytest.raises(kind, match=message):
                call(given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(image).isfinite().all()


def test_what_a_layer_is_called_with() -> None:
    layer = Block(8, GlobalAttention(8, 2), Mlp(8))
    x = torch.randn(1, 16, 8)
    wrong: list[tuple[Any, Any, type[Exception], str]] = [
        (None, (4, 4), TypeError, "x must be a tensor"),
        (x[0], (4, 4), ValueError, r"x must be \(batch, tokens, channels\), got shape \(16, 8\)"),
        (x.long(), (4, 4), TypeError, "x must be of floats"),
        (x, (5, 4), ValueError, r"x has 16 tokens, fewer than the 20 patches of grid \(5, 4\)"),
        (x[..., :4], (4, 4), ValueError, "x must have 8 channels for this Block, got shape"),
        (x.double(), (4, 4), TypeError, "x is of torch.float64, the weights of Block of torch.float32"),
    ]
    for given, grid, kind, message in wrong:
        with pytest.raises(kind, match=message):
            layer(given, grid)


def test_errors_name_the_stage_and_the_layer() -> None:
    model = Model(
        ConvEmbed(4, 8), [Stage([]), Stage([Mlp(8), Block(8, GlobalAttention(8, 2), Mlp(6))])], pool=ClassPool()
    )
    with pytest.raises(ValueError, match=r"stages\[1\].layers\[1\] \(Block\): x must have 6 channels for this Mlp"):
        model(torch.randn(1, 3, 8, 8))


class Own(nn.Module):
    """A layer of somebody's own, whose error is not ours to change."""

    def forward(self, x: Tensor, grid: vitblocks.grid.Grid) -> Tensor:
        raise RuntimeError("what it says itself")


def test_errors_of_other_kinds_pass() -> None:
    model = Model(ConvEmbed(4, 8), [Stage([Own()])], pool=vitblocks.MeanPool())
    with pytest.raises(RuntimeError, match=r"^what it says itself$"):
        model(torch.randn(1, 3, 8, 8))
