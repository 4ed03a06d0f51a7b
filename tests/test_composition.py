"""Parts that cannot stand where they were put are named there, as the model is written or, at the latest, when it first runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks import (
    Block,
    Chain,
    ClassToken,
    ConvEmbed,
    Downsample,
    GlobalAttention,
    LayerNorm,
    MapEmbed,
    MeanPool,
    Mlp,
    Model,
    OnMap,
    OnSequence,
    PatchMerging,
    PerToken,
    Residual,
    SoftmaxAttend,
    Stage,
    layer_norm,
)
from vitblocks.grid import Grid
from vitblocks.zoo.mobile_vit import ConvFusion

DIM = 8
ANY: Callable[[object], Any] = lambda given: given  # noqa: E731


def attention() -> GlobalAttention:
    return GlobalAttention(DIM, 2)


def block(**parts: Any) -> Block:
    return Block(DIM, **{"attn": attention(), "mlp": Mlp(DIM), **parts})


def model(**parts: Any) -> Model:
    return Model(**{"embed": ConvEmbed(4, DIM), "stages": [Stage([block()])], "pool": MeanPool(), **parts})


def plain_function(x: Tensor, grid: Grid) -> Tensor:
    return x


WRONG: list[tuple[Callable[[], object], str]] = [
    # A stage.
    (lambda: model(stages=[Stage(), block()]), r"stages\[1\] is a Block; wrap it in Stage\(\[\.\.\.\]\)"),
    (lambda: model(stages=[PatchMerging(DIM)]), r"stages\[0\] is a PatchMerging; wrap it in Stage\(transition=\.\.\.\)"),
    (lambda: model(stages=Stage()), r"stages must be a list, got one Stage: write \[Stage\(\.\.\.\)\]"),
    (lambda: model(stages=[Stage]), r"stages\[0\] is the class Stage, not an instance of it"),
    (lambda: model(stages=[None]), r"stages\[0\] must be an nn\.Module, got None"),
    # A layer.
    (lambda: Stage([block(), PatchMerging(DIM)]), r"layers\[1\] \(PatchMerging\) gives \(x, grid\), it is a transition: .* transition="),
    (lambda: Stage([Stage()]), r"layers\[0\] \(Stage\) gives \(x, grid\)"),
    (lambda: Stage([ConvEmbed(4, DIM)]), r"layers\[0\] \(ConvEmbed\) takes an image, it is an embedder: give it as embed="),
    (lambda: Stage([nn.LayerNorm(DIM)]), r"layers\[0\] \(LayerNorm\) cannot be called as layer\(x, grid\): .* PerToken\(LayerNorm"),
    (lambda: Stage(ANY([GlobalAttention])), r"layers\[0\] is the class GlobalAttention, not an instance of it: write GlobalAttention"),
    (lambda: Stage(ANY([plain_function])), r"layers\[0\] is the function plain_function, it must be an nn\.Module"),
    (lambda: Stage(ANY([None])), r"layers\[0\] must be an nn\.Module, got None"),
    (lambda: Stage(block()), r"layers must be a list, got one Block: write \[Block\(\.\.\.\)\]"),
    (lambda: Stage([], attention()), r"transition \(GlobalAttention\) gives x alone, it is a layer: put it among the layers"),
    (lambda: Stage([], nn.Conv2d(DIM, DIM, 2, 2)), r"transition \(Conv2d\) cannot be called as transition\(x, grid\): Downsample"),
    (lambda: Stage([], ConvEmbed(4, DIM)), r"transition \(ConvEmbed\) cannot be called"),
    # The rest of a model.
    (lambda: model(embed=nn.Conv2d(3, DIM, 4, 4)), r"embed \(Conv2d\) gives no grid: MapEmbed makes an embedder"),
    (lambda: model(embed=PatchMerging(DIM)), r"embed \(PatchMerging\) is called with a grid, an embedder with an image alone"),
    (lambda: model(embed=ConvEmbed), r"embed is the class ConvEmbed"),
    (lambda: model(norm=attention()), r"norm \(GlobalAttention\) cannot be called with x alone: it wants a grid"),
    (lambda: model(norm=LayerNorm), r"norm is the class LayerNorm, not an instance of it"),
    (lambda: model(pool=nn.AdaptiveAvgPool1d(1)), r"pool \(AdaptiveAvgPool1d\) cannot be called as pool\(x, grid\)"),
    (lambda: model(pool=PatchMerging(DIM)), r"pool \(PatchMerging\) gives \(x, grid\), it is a transition"),
    (lambda: model(head=MeanPool()), r"head \(MeanPool\) cannot be called with x alone"),
    # Blocks and branches.
    (lambda: block(attn=GlobalAttention), r"attn is the class GlobalAttention, not an instance of it"),
    (lambda: block(attn=None), r"attn must be an nn\.Module, got None"),
    (lambda: block(mlp=nn.Linear(DIM, DIM)), r"mlp \(Linear\) cannot be called as layer\(x, grid\)"),
    (lambda: block(attn=PatchMerging(DIM)), r"attn \(PatchMerging\) gives \(x, grid\)"),
    (lambda: block(norm=nn.LayerNorm(DIM)), r"norm must be a factory dim -> module, .* got a finished LayerNorm"),
    (lambda: block(norm="layer"), r"norm must be something to call, such as a class or a function, got 'layer'"),
    (lambda: block(norm=partial(GlobalAttention, heads=2)), r"what norm makes \(GlobalAttention\) cannot be called with x alone"),
    (lambda: block(norm=lambda dim: None), r"what norm makes must be an nn\.Module, got None"),
    (lambda: Residual(DIM, layer_norm()), r"layer is the function .*, it must be an nn\.Module"),
    (lambda: Residual(DIM, LayerNorm(DIM)), r"layer \(LayerNorm\) cannot be called as layer\(x, grid\)"),
    (lambda: Chain(attn=Residual(DIM, attention()), mlp=Mlp), r"mlp is the class Mlp"),
    (lambda: ConvFusion(DIM, DIM, nn.ReLU()), r"inner \(ReLU\) cannot be called as layer\(x, grid\)"),
    # Adaptors.
    (lambda: PerToken(attention()), r"module \(GlobalAttention\) cannot be called with x alone: it wants a grid"),
    (lambda: PerToken(nn.ReLU), r"module is the class ReLU"),
    (lambda: OnSequence(attention()), r"module \(GlobalAttention\) cannot be called with x alone"),
    (lambda: OnMap(ClassToken(DIM)), r"conv \(ClassToken\) cannot be called with x alone"),
    (lambda: MapEmbed(nn.Conv2d(3, DIM, 4), LayerNorm), r"norm is the class LayerNorm"),
    (lambda: MapEmbed(PatchMerging(DIM)), r"conv \(PatchMerging\) cannot be called with x alone"),
    (lambda: Downsample(attention()), r"conv \(GlobalAttention\) cannot be called with x alone"),
    (lambda: Downsample(nn.Conv2d(DIM, DIM, 2), prefix=nn.Linear), r"prefix is the class Linear"),
    # Parts of an attention.
    (lambda: GlobalAttention(DIM, 2, attend=SoftmaxAttend), r"attend is the class SoftmaxAttend"),
    (lambda: GlobalAttention(DIM, 2, attend=nn.Softmax(-1)), r"attend must be an Attend, got a Softmax"),
    (lambda: GlobalAttention(DIM, 2, proj=nn.Linear), r"proj is the class Linear"),
    (lambda: GlobalAttention(DIM, 2, qkv=nn.Linear), r"qkv is the class Linear"),
    (lambda: GlobalAttention(DIM, 2, rotary=nn.Identity), r"rotary is the class Identity"),
    (lambda: GlobalAttention(DIM, 2, position_bias=nn.Identity), r"position_bias is the class Identity"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "message"), WRONG, ids=[message[:60] for _, message in WRONG])
def test_named_where_it_is_written(build: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}"):
        build()


class Untold(nn.Module):
    """A part that says nothing of what it takes and gives."""

    def __init__(self, give: Callable[..., Any]) -> None:
        super().__init__()
        self.give = give

    def forward(self, *args):  # type: ignore[no-untyped-def]
        return self.give(*args)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"stages": [Stage([block(), Untold(lambda x, grid: (x, grid))])]},
            r"stages\[0\]\.layers\[1\] \(Untold\) must return x, it returned a tuple of 2: a transition is given as transition=",
        ),
        (
            {"stages": [Stage([Untold(lambda x, grid: None)])]},
            r"stages\[0\]\.layers\[0\] \(Untold\) must return x, it returned None",
        ),
        (
            {"stages": [Stage([], Untold(lambda x, grid: x))]},
            r"stages\[0\]\.transition \(Untold\) must return \(x, grid\), it returned a tensor \(1, 4, 8\)",
        ),
        (
            {"embed": Untold(lambda image: torch.zeros(2, 4, DIM))},
            r"embed \(Untold\) must return \(x, grid\), it returned a tensor \(2, 4, 8\)",
        ),
    ],
)
def test_named_when_it_is_called(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}"):
        model(**parts)(torch.zeros(1, 3, 8, 8))


def test_what_says_nothing_is_taken_as_it_comes() -> None:
    untold = model(
        embed=nn.Sequential(ConvEmbed(4, DIM)),
        stages=[Stage([block(attn=Untold(lambda x, grid: x))], Untold(lambda x, grid: (x, grid)))],
        norm=Untold(lambda x: x),
        pool=Untold(lambda x, grid: x.mean(1)),
    )
    assert untold(torch.zeros(1, 3, 8, 8)).shape == (1, DIM)


def test_compiled_parts_can_stand_where_they_did() -> None:
    stage: Any = torch.compile(Stage([block()]))
    compiled: Any = torch.compile(block(), backend="eager")
    assert isinstance(model(stages=[stage, Stage([compiled])]), Model)
