"""Swapping attention: what is exact is exact, weights arrive, and nothing half-done is left behind."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks import (
    AttentionPool,
    Block,
    CaiT,
    ClassAttention,
    ConvEmbed,
    ConvProjectionAttention,
    DilatedWindowAttention,
    DistanceBias,
    DynamicBias,
    GlobalAttention,
    LayerNorm,
    LinearNorm,
    LocalWindowAttention,
    MeanPool,
    Mlp,
    Model,
    ReAttend,
    ReAttention,
    ReducedAttention,
    RelativeBias,
    Rotary2d,
    ShiftedWindows,
    SoftmaxAttend,
    Stage,
    SwapReport,
    TalkingHeadsAttend,
    TalkingHeadsAttention,
    TwinsSVT,
    ViT,
    WindowAttention,
    Windows,
    swap_attention,
)
from vitblocks.attention import Attention
from vitblocks.attention.base import SelfAttention
from vitblocks.inspect.frames import evaluating
from vitblocks.zoo.ats_vit import SampledBlock
from vitblocks.zoo.levit import DownsamplingAttention
from vitblocks.zoo.regionvit import RegionalAttention

DIM, HEADS, GRID = 16, 2, (4, 4)
Build = Callable[[], Attention]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def randomize(model: nn.Module) -> nn.Module:
    """Away from every special start: trained weights are neither zero nor one."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand_like(buffer))
    return model


def vit(dtype: torch.dtype = torch.float64, **options: Any) -> ViT:
    sizes: dict[str, Any] = {
        "image_size": 16,
        "patch_size": 4,
        "num_classes": 5,
        "dim": DIM,
        "depth": 3,
        "heads": HEADS,
    }
    model = ViT(**(sizes | {"mlp_dim": 24} | options))
    randomize(model)
    return model.to(dtype)


def twins() -> TwinsSVT:
    sizes: dict[str, Any] = {}
    for s in range(1, 5):
        sizes |= {f"s{s}_emb_dim": DIM, f"s{s}_patch_size": 2 if s < 3 else 1, f"s{s}_local_patch_size": 2}
        sizes |= {f"s{s}_global_k": 2, f"s{s}_depth": 1}
    model = TwinsSVT(num_classes=5, heads=(2, 2, 2, 2), mlp_ratios=(1, 1, 1, 1), **sizes)
    randomize(model)
    return model.double()


def cait() -> CaiT:
    model = CaiT(
        image_size=16,
        patch_size=4,
        num_classes=5,
        dim=DIM,
        depth=2,
        cls_depth=1,
        heads=HEADS,
        mlp_dim=24,
        layer_scale=0.5,
    )
    randomize(model)
    return model.double()


def around(attention: Attention, pool: nn.Module | None = None) -> Model:
    """A model of one block, without prefix tokens."""
    model = Model(
        ConvEmbed(4, DIM),
        [Stage([Block(DIM, attention, Mlp(DIM, 24))])],
        norm=LayerNorm(DIM),
        pool=MeanPool() if pool is None else pool,
        head=nn.Linear(DIM, 5),
    )
    randomize(model)
    return model.double()


def images(batch: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, 3, 16, 16, dtype=dtype)


def in_eval(model: nn.Module, x: Tensor) -> Tensor:
    with evaluating(model), torch.no_grad():
        return model(x)


def attention_of(model: nn.Module, name: str = "stages.0.layers.0.attn") -> Any:
    return model.get_submodule(name)


def parts(model: nn.Module) -> dict[str, int]:
    return {name: id(module) for name, module in model.named_modules()}


# ---- what the mathematics keeps -------------------------------------------------------------------------------------


def bias() -> RelativeBias:
    return RelativeBias(HEADS, GRID)


EXACT: dict[str, tuple[Build, type[Attention], dict[str, Any]]] = {
    "global to talking heads": (lambda: GlobalAttention(DIM, HEADS), TalkingHeadsAttention, {}),
    "global to re-attention": (lambda: GlobalAttention(DIM, HEADS), ReAttention, {}),
    "global to scaled re-attention": (lambda: GlobalAttention(DIM, HEADS), ReAttention, {"weight_scale": 3.0}),
    "global to window over the grid": (lambda: GlobalAttention(DIM, HEADS), LocalWindowAttention, {"window": 4}),
    "global to windows of one sub-grid": (
        lambda: GlobalAttention(DIM, HEADS),
        DilatedWindowAttention,
        {"window": None, "dilation": 1},
    ),
    "window over the grid to global": (lambda: LocalWindowAttention(DIM, HEADS, window=5), GlobalAttention, {}),
    "window with bias to global": (
        lambda: LocalWindowAttention(DIM, HEADS, window=4, position_bias=bias()),
        GlobalAttention,
        {},
    ),
    "windows to a partition": (
        lambda: LocalWindowAttention(DIM, HEADS, window=2, position_bias=RelativeBias(HEADS, 2)),
        WindowAttention,
        {"windows": Windows(2)},
    ),
    "global to reduction 1": (lambda: GlobalAttention(DIM, HEADS), ReducedAttention, {"reduction": 1}),
    "reduction 1 to global": (lambda: ReducedAttention(DIM, HEADS, reduction=1), GlobalAttention, {}),
    "reduction 1 to talking heads": (lambda: ReducedAttention(DIM, HEADS, reduction=1), TalkingHeadsAttention, {}),
    "reduction 2 to itself": (lambda: ReducedAttention(DIM, HEADS, reduction=2), ReducedAttention, {"reduction": 2}),
    "global to convolutional": (lambda: GlobalAttention(DIM, HEADS), ConvProjectionAttention, {"kv_stride": 1}),
    "reduction 1 to convolutional": (
        lambda: ReducedAttention(DIM, HEADS, reduction=1),
        ConvProjectionAttention,
        {"kv_stride": 1, "kernel_size": 5},
    ),
    "convolutional to itself": (lambda: ConvProjectionAttention(DIM, HEADS), ConvProjectionAttention, {}),
    "with a relative bias": (lambda: GlobalAttention(DIM, HEADS), GlobalAttention, {"position_bias": bias()}),
    "with a distance bias": (
        lambda: GlobalAttention(DIM, HEADS),
        GlobalAttention,
        {"position_bias": DistanceBias(HEADS, GRID)},
    ),
    "with a dynamic bias": (
        lambda: GlobalAttention(DIM, HEADS),
        LocalWindowAttention,
        {"window": 4, "position_bias": DynamicBias(HEADS, 4)},
    ),
    "bias kept": (lambda: GlobalAttention(DIM, HEADS, position_bias=bias()), TalkingHeadsAttention, {}),
    "normed queries kept": (lambda: GlobalAttention(DIM, HEADS, qk_norm=LayerNorm), TalkingHeadsAttention, {}),
    "rotary kept": (lambda: GlobalAttention(DIM, HEADS, rotary=Rotary2d(8)), TalkingHeadsAttention, {}),
    "head_dim kept": (lambda: GlobalAttention(DIM, HEADS, head_dim=5), TalkingHeadsAttention, {}),
    "value_dim kept": (lambda: GlobalAttention(DIM, HEADS, value_dim=5), ConvProjectionAttention, {"kv_stride": 1}),
    "no qkv bias": (lambda: GlobalAttention(DIM, HEADS, qkv_bias=False), ReducedAttention, {"reduction": 1}),
    "scale kept by another Attend": (
        lambda: GlobalAttention(DIM, HEADS, attend=SoftmaxAttend(scale=0.7)),
        TalkingHeadsAttention,
        {},
    ),
    "settings kept by the same Attend": (
        lambda: GlobalAttention(DIM, HEADS, attend=ReAttend(HEADS, scale=0.7, weight_scale=2.0)),
        ReAttention,
        {},
    ),
    "own Attend kept": (
        lambda: GlobalAttention(DIM, HEADS, attend=TalkingHeadsAttend(HEADS, scale=0.7)),
        TalkingHeadsAttention,
        {},
    ),
    "norms in the projections to the same": (
        lambda: GlobalAttention(
            DIM, HEADS, qkv=LinearNorm(DIM, 48), proj=nn.Sequential(nn.SiLU(), LinearNorm(DIM, DIM))
        ),
        TalkingHeadsAttention,
        {},
    ),
    "norms in the projections folded": (
        lambda: GlobalAttention(DIM, HEADS, qkv=LinearNorm(DIM, 48), proj=LinearNorm(DIM, DIM)),
        ReducedAttention,
        {"reduction": 1},
    ),
    "norms put into the projections": (
        lambda: GlobalAttention(DIM, HEADS),
        GlobalAttention,
        {"qkv": LinearNorm(DIM, 48), "proj": LinearNorm(DIM, DIM)},
    ),
}


@pytest.mark.parametrize("case", EXACT, ids=[name.replace(" ", "-") for name in EXACT])
def test_function_is_kept(case: str) -> None:
    build, to, options = EXACT[case]
    model, x = around(build()), images()
    before = in_eval(model, x)
    report = swap_attention(model, to, sample=x, **options)
    assert type(attention_of(model)) is to
    after = in_eval(model, x)
    assert float((after - before).abs().max() / before.abs().max()) < 1e-12
    assert report.drift is not None
    assert report.drift.logits < 1e-12
    assert report.drift.features is not None
    assert report.drift.features < 1e-12
    assert report.drift.top1 == 1.0


@pytest.mark.parametrize("to", [TalkingHeadsAttention, ReAttention])
def test_vit_is_kept(to: type[Attention]) -> None:
    model, x = vit(), images()
    report = swap_attention(model, to, sample=x)
    assert len(report.layers) == 3
    assert report.drift is not None
    assert report.drift.logits < 1e-12


def test_class_attention_and_global_attention_agree_in_a_class_block() -> None:
    model, x = cait(), images()
    there = swap_attention(model, GlobalAttention, where=-1, sample=x)
    back = swap_attention(model, ClassAttention, where=-1, sample=x)
    assert there.layers[0].old_kind == "ClassAttention"
    for report in (there, back):
        assert report.drift is not None
        assert report.drift.logits < 1e-12


def test_windows_that_do_not_cover_the_grid_drift() -> None:
    model, x = vit(), images()
    before = in_eval(model, x)
    report = swap_attention(model, LocalWindowAttention, sample=x, window=2)
    assert report.drift is not None
    assert report.drift.logits > 1e-6
    moved = in_eval(model, x) - before
    assert report.drift.logits == pytest.approx(float(moved.abs().max() / before.abs().max()))


def test_agreement_counts_images() -> None:
    model, x = around(GlobalAttention(DIM, HEADS)), images(8)
    before = in_eval(model, x).argmax(-1)
    report = swap_attention(model, LocalWindowAttention, sample=x, window=1)
    assert report.drift is not None
    assert report.drift.top1 == float((in_eval(model, x).argmax(-1) == before).double().mean())


# ---- weights arrive -------------------------------------------------------------------------------------------------


def test_fused_to_separate_and_back() -> None:
    model = vit()
    names = [f"stages.0.layers.{i}.attn" for i in (3, 4, 5)]
    before = [deepcopy(attention_of(model, name).state_dict()) for name in names]
    swap_attention(model, ReducedAttention, reduction=2)
    for name, old in zip(names, before, strict=True):
        new = attention_of(model, name)
        assert torch.equal(torch.cat([new.q.weight, new.kv.weight]), old["qkv.weight"])
        assert torch.equal(torch.cat([new.q.bias, new.kv.bias]), old["qkv.bias"])
        assert torch.equal(new.proj.weight, old["proj.weight"])
    swap_attention(model, ConvProjectionAttention)
    for name, old in zip(names, before, strict=True):
        new = attention_of(model, name)
        rows = [part.linear.weight for part in (new.q, new.k, new.v)]
        assert torch.equal(torch.cat(rows), old["qkv.weight"])
    swap_attention(model, GlobalAttention)
    for name, old in zip(names, before, strict=True):
        new = attention_of(model, name).state_dict()
        assert new.keys() == old.keys()
        assert all(torch.equal(new[key], old[key]) for key in old)


def test_reduction_starts_at_the_mean_of_its_patch() -> None:
    model = around(GlobalAttention(DIM, HEADS))
    swap_attention(model, ReducedAttention, reduction=(2, 4))
    attention = attention_of(model)
    x = torch.randn(2, 16, DIM, dtype=torch.float64)
    mean = F.avg_pool2d(x.transpose(1, 2).unflatten(2, GRID), (2, 4)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(attention.reduced(x, GRID), F.layer_norm(mean, (DIM,), eps=1e-5))


def test_position_bias_moves_between_windows_and_stays_out_of_other_steps() -> None:
    model = around(LocalWindowAttention(DIM, HEADS, window=2, position_bias=RelativeBias(HEADS, 2)))
    old = attention_of(model).position_bias
    swap_attention(model, WindowAttention, windows=ShiftedWindows(2))
    moved = attention_of(model).position_bias
    assert torch.equal(moved.table, old.table)
    assert moved is not old
    report = swap_attention(model, DilatedWindowAttention, window=2, dilation=2)
    assert attention_of(model).position_bias is None
    assert report.layers[0].dropped == ["position_bias.table"]


def test_a_given_bias_of_the_same_shape_gets_the_table() -> None:
    model = around(GlobalAttention(DIM, HEADS, position_bias=bias()))
    table = attention_of(model).position_bias.table
    report = swap_attention(
        model, DilatedWindowAttention, window=2, dilation=2, position_bias=RelativeBias(HEADS, GRID)
    )
    assert torch.equal(attention_of(model).position_bias.table, table)
    assert "position_bias.table" in report.layers[0].carried


def test_biases_are_zero_where_the_old_had_none_and_dropped_where_the_new_has_none() -> None:
    model = around(GlobalAttention(DIM, HEADS, qkv_bias=False))
    report = swap_attention(model, ReducedAttention, reduction=1, qkv_bias=True)
    attention = attention_of(model)
    assert not attention.q.bias.any()
    assert not attention.kv.bias.any()
    assert report.layers[0].new == ["q.bias", "kv.bias"]

    model = around(GlobalAttention(DIM, HEADS))
    report = swap_attention(model, ReducedAttention, reduction=1, qkv_bias=False)
    assert report.layers[0].dropped == ["qkv.bias"]
    assert attention_of(model).q.bias is None


def test_rates_and_modes_are_kept() -> None:
    model = vit(dropout=0.1, attn_dropout=0.2)
    model.train()
    attention_of(model, "stages.0.layers.3.attn").eval()
    swap_attention(model, TalkingHeadsAttention, sample=images())
    assert model.training
    attentions = [attention_of(model, f"stages.0.layers.{i}.attn") for i in (3, 4, 5)]
    assert [(a.dropout.p, a.attend.dropout) for a in attentions] == [(0.1, 0.2)] * 3
    assert [a.training for a in attentions] == [False, True, True]
    assert [a.attend.training for a in attentions] == [False, True, True]


def test_options_go_before_what_the_old_had() -> None:
    model = vit(dropout=0.1, attn_dropout=0.2)
    swap_attention(model, TalkingHeadsAttention, dropout=0.3, attn_dropout=0.4, init_std=0.5)
    attention = attention_of(model, "stages.0.layers.3.attn")
    assert (attention.dropout.p, attention.attend.dropout) == (0.3, 0.4)
    assert not torch.equal(attention.attend.mix_logits.weight, torch.eye(HEADS, dtype=torch.float64))


def test_frozen_stays_frozen_and_new_parts_train() -> None:
    model = vit()
    for i in (3, 4):
        attention_of(model, f"stages.0.layers.{i}.attn").requires_grad_(False)
    swap_attention(model, ReducedAttention, reduction=2)
    frozen, trained = (attention_of(model, f"stages.0.layers.{i}.attn") for i in (3, 5))
    assert {n for n, p in frozen.named_parameters() if p.requires_grad} == {
        "reduce.weight",
        "reduce.bias",
        "norm.weight",
        "norm.bias",
    }
    assert all(p.requires_grad for p in trained.parameters())


def test_dtype_is_kept() -> None:
    model = vit(torch.bfloat16)
    report = swap_attention(model, ReAttention, sample=images(dtype=torch.bfloat16))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert report.drift is not None
    assert report.drift.logits < 0.05
    assert in_eval(model, images(dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_device_is_kept() -> None:
    model = vit().to("meta")
    swap_attention(model, ReducedAttention, reduction=2)
    assert {p.device.type for p in model.parameters()} == {"meta"}


# ---- which ----------------------------------------------------------------------------------------------------------


def names(report: SwapReport) -> list[str]:
    return [layer.name for layer in report.layers]


@pytest.mark.parametrize(
    ("where", "depths"),
    [
        (None, [0, 1, 2]),
        (0, [0]),
        (-1, [2]),
        (slice(1, None), [1, 2]),
        (range(0, 3, 2), [0, 2]),
        ([-1, 0], [0, 2]),
        ({1}, [1]),
        ("*.4.attn", [1]),
        ("stages.0.layers.[35].*", [0, 2]),
        (lambda name, module: name.endswith("5.attn") and module.heads == HEADS, [2]),
    ],
)
def test_where(where: Any, depths: list[int]) -> None:
    report = swap_attention(vit(), TalkingHeadsAttention, where=where)
    assert names(report) == [f"stages.0.layers.{3 + depth}.attn" for depth in depths]


def test_where_counts_blocks_over_stages() -> None:
    model = twins()
    blocks = [name for name, _ in model.blocks()]
    report = swap_attention(model, GlobalAttention, where=[1, -1])
    assert names(report) == [f"{blocks[1]}.attn", f"{blocks[-1]}.attn"]


def test_depth_without_a_model() -> None:
    model = nn.Sequential(*(Block(DIM, GlobalAttention(DIM, HEADS), Mlp(DIM, 8)) for _ in range(3)))
    assert names(swap_attention(model, TalkingHeadsAttention, where=-1)) == ["2.attn"]
    assert names(swap_attention(nn.ModuleList([vit()]), TalkingHeadsAttention, where=0)) == ["0.stages.0.layers.3.attn"]


@pytest.mark.parametrize("where", [None, "*", lambda name, module: True])
def test_poolers_and_downsamplers_are_left_alone(where: Any) -> None:
    model = around(GlobalAttention(DIM, HEADS), pool=AttentionPool(DIM, HEADS))
    model.stages.append(Stage(transition=DownsamplingAttention(DIM, DIM, HEADS).double()))
    report = swap_attention(model, TalkingHeadsAttention, where=where, sample=images())
    assert names(report) == ["stages.0.layers.0.attn"]
    assert type(model.pool) is AttentionPool


@pytest.mark.parametrize("where", ["nowhere", slice(7, 9), [], lambda name, module: False])
def test_nothing_found_lists_what_there_is(where: Any) -> None:
    with pytest.raises(ValueError, match=r"matches no attention(.|\n)*stages\.0\.layers\.4\.attn: GlobalAttention"):
        swap_attention(vit(), TalkingHeadsAttention, where=where)


@pytest.mark.parametrize("where", [3, -4, [0, 3]])
def test_depth_out_of_range(where: Any) -> None:
    with pytest.raises(ValueError, match="outside the 3 blocks"):
        swap_attention(vit(), TalkingHeadsAttention, where=where)


@pytest.mark.parametrize("where", [1.5, True, ["a"], GlobalAttention])
def test_where_of_no_use(where: Any) -> None:
    with pytest.raises(TypeError, match="where must be"):
        swap_attention(vit(), TalkingHeadsAttention, where=where)


# ---- what -----------------------------------------------------------------------------------------------------------


def test_a_function_makes_the_new_one() -> None:
    model, x = vit(), images()

    def talking_windows(old: Attention) -> Attention:
        return LocalWindowAttention(old.dim, old.heads, window=2, attend=TalkingHeadsAttend(old.heads, scale=2))

    weight = attention_of(model, "stages.0.layers.3.attn").qkv.weight
    swap_attention(model, talking_windows, where=0, sample=x)
    new = attention_of(model, "stages.0.layers.3.attn")
    assert new.windows == Windows(2)
    assert new.attend.scale == 2
    assert torch.equal(new.qkv.weight, weight)
    assert new.qkv.weight.dtype == torch.float64


def test_parts_are_never_shared() -> None:
    model = vit()
    given = RelativeBias(HEADS, GRID)
    swap_attention(model, LocalWindowAttention, window=2, position_bias=given)
    biases = [attention_of(model, f"stages.0.layers.{i}.attn").position_bias for i in (3, 4, 5)]
    assert len({id(part) for part in [given, *biases]}) == 4
    assert given.table.any()


def test_a_function_may_hand_on_parts_of_the_old_without_harm() -> None:
    model, x = around(GlobalAttention(DIM, HEADS, position_bias=bias())), images()
    old = attention_of(model)
    state = deepcopy(old.state_dict())
    report = swap_attention(
        model, lambda a: TalkingHeadsAttention(a.dim, a.heads, position_bias=a.position_bias), sample=x
    )
    new = attention_of(model)
    assert new.position_bias is not old.position_bias
    assert all(torch.equal(value, state[key]) for key, value in old.state_dict().items())
    assert report.drift is not None
    assert report.drift.logits < 1e-12


class Doubled(GlobalAttention):
    """An attention of somebody else's."""

    def __init__(self, dim: int, heads: int, **options: Any) -> None:
        super().__init__(dim, heads, **options)
        self.gain = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        return self.gain * super().forward(x, grid)


def test_a_kind_of_ones_own() -> None:
    model = vit()
    report = swap_attention(model, Doubled, where=0, sample=images())
    assert report.layers[0].new == ["gain"]
    assert torch.equal(attention_of(model, "stages.0.layers.3.attn").gain, torch.full((1,), 2.0, dtype=torch.float64))


@pytest.mark.parametrize("to", [nn.Linear, DownsamplingAttention, AttentionPool, SelfAttention, 3, "global"])
def test_to_of_no_use(to: Any) -> None:
    with pytest.raises(TypeError, match=r"to must be an? (attention|subclass)"):
        swap_attention(vit(), to)


def test_a_function_takes_no_options() -> None:
    with pytest.raises(TypeError, match="window"):
        swap_attention(vit(), lambda old: old, window=2)


# ---- all or nothing -------------------------------------------------------------------------------------------------


def wrong_from_the_third() -> Callable[[Attention], Attention]:
    """A function that fits two blocks and not the next."""
    head_dims = iter([None, None, 3])
    return lambda old: TalkingHeadsAttention(old.dim, old.heads, head_dim=next(head_dims))


@pytest.mark.parametrize(
    ("to", "options", "error", "message"),
    [
        (
            ReducedAttention,
            {"reduction": 5},
            ValueError,
            r"layers\.3\.attn.*sample of shape.*smaller than the reduction",
        ),
        (RegionalAttention, {"window": 2}, ValueError, r"layers\.3\.attn.*sample.*one prefix token per window"),
        (LocalWindowAttention, {"window": 0}, ValueError, r"layers\.3\.attn.*window must be at least 1"),
        (WindowAttention, {}, TypeError, r"layers\.3\.attn.*windows"),
        (lambda old: nn.Identity(), {}, TypeError, r"layers\.3\.attn.*must return an Attention"),
        (lambda old: 1 / 0, {}, RuntimeError, r"layers\.3\.attn.*division by zero"),
        (wrong_from_the_third(), {}, ValueError, r"layers\.5\.attn.*head_dim of the new Talking.* 8, .* got 3"),
        (GlobalAttention, {"qkv": nn.Identity()}, TypeError, r"layers\.3\.attn.*qkv is a Identity"),
        (GlobalAttention, {"value_dim": 3}, ValueError, r"layers\.3\.attn.*value_dim"),
    ],
)
def test_failure_leaves_the_model_as_it_was(to: Any, options: Any, error: type[Exception], message: str) -> None:
    model, x = vit(), images()
    model.train()
    model.stages[0].layers[4].eval()
    held, state = parts(model), deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    with pytest.raises(error, match=message):
        swap_attention(model, to, sample=x, **options)
    assert parts(model) == held
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_failure_after_the_attention_names_it() -> None:
    class Short(GlobalAttention):
        def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
            return super().forward(x, grid)[:, :1]

    model = vit()
    held = parts(model)
    with pytest.raises(ValueError, match=r"after .*layers\.4\.attn .*must keep the shape"):
        swap_attention(model, Short, where=1, sample=images())
    assert parts(model) == held


def test_a_sample_that_never_fitted_is_not_blamed_on_the_swap() -> None:
    with pytest.raises(ValueError, match="the model as it was, on the sample: image must have 3 channels"):
        swap_attention(vit(), TalkingHeadsAttention, sample=torch.randn(1, 2, 16, 16, dtype=torch.float64))


def test_a_block_that_uses_parts_of_its_attention() -> None:
    model = vit()
    layers = model.stages[0].layers
    assert isinstance(layers, nn.ModuleList)
    layers[3] = SampledBlock(DIM, GlobalAttention(DIM, HEADS), Mlp(DIM, 8)).double()
    assert len(swap_attention(model, TalkingHeadsAttention, sample=images()).layers) == 3
    held = parts(model)
    with pytest.raises(ValueError, match=r"layers\.3\.attn .*does not call it"):
        swap_attention(model, LocalWindowAttention, sample=images(), window=2)
    assert parts(model) == held


def test_the_model_cannot_be_the_attention() -> None:
    with pytest.raises(ValueError, match="itself a GlobalAttention"):
        swap_attention(GlobalAttention(DIM, HEADS), TalkingHeadsAttention, where="*")


def test_an_attention_in_two_places_is_replaced_in_both() -> None:
    block = Block(DIM, GlobalAttention(DIM, HEADS), Mlp(DIM, 8))
    twice = nn.ModuleDict({"first": block.attn, "second": nn.ModuleList([block])})
    report = swap_attention(twice, TalkingHeadsAttention, where="*")
    assert len(report.layers) == 1
    assert twice["first"] is block.attn
    assert type(block.attn) is TalkingHeadsAttention
    report.undo()
    assert twice["first"] is block.attn
    assert type(block.attn) is GlobalAttention


# ---- the way back ---------------------------------------------------------------------------------------------------


def test_undo() -> None:
    model, x = vit(), images()
    held, before = parts(model), in_eval(model, x)
    report = swap_attention(model, LocalWindowAttention, sample=x, window=2)
    with torch.no_grad():
        for parameter in attention_of(model, "stages.0.layers.3.attn").parameters():
            parameter.add_(1.0)
    model.eval()
    report.undo()
    assert parts(model) == held
    assert not any(module.training for module in model.modules())
    assert torch.equal(model(x), before)
    with pytest.raises(ValueError, match="undo was called before"):
        report.undo()


def test_undo_follows_the_model() -> None:
    model = vit()
    report = swap_attention(model, ReAttention)
    model.float()
    report.undo()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    model(images(dtype=torch.float32))


def test_undo_in_order() -> None:
    model = vit()
    held = parts(model)
    first = swap_attention(model, TalkingHeadsAttention)
    second = swap_attention(model, ReducedAttention, where=1, reduction=2)
    with pytest.raises(ValueError, match=r"layers\.4\.attn .*undo the later swap first"):
        first.undo()
    assert type(attention_of(model, "stages.0.layers.3.attn")) is TalkingHeadsAttention
    second.undo()
    first.undo()
    assert parts(model) == held


def trained(model: nn.Module, steps: int = 2) -> tuple[torch.optim.Optimizer, Callable[[], float]]:
    """An optimizer with a group without weight decay, after some steps; and a step of it."""
    many = [p for p in model.parameters() if p.dim() > 1]
    few = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": many, "weight_decay": 0.1}, {"params": few, "weight_decay": 0.0}], lr=1e-2
    )
    x = images()

    def step() -> float:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    for _ in range(steps):
        step()
    return optimizer, step


def in_groups(optimizer: torch.optim.Optimizer) -> list[set[int]]:
    return [set(map(id, group["params"])) for group in optimizer.param_groups]


def test_an_optimizer_is_brought_along_and_back() -> None:
    model = vit()
    optimizer, step = trained(model)
    before, moments = in_groups(optimizer), {id(p): s["exp_avg"].clone() for p, s in optimizer.state.items()}
    report = swap_attention(model, ReducedAttention, reduction=2)
    assert "report.update(optimizer)" in str(report)
    report.update(optimizer)
    many, few = in_groups(optimizer)
    assert many == {id(p) for p in model.parameters() if p.dim() > 1}
    assert few == {id(p) for p in model.parameters() if p.dim() < 2}
    assert all(torch.equal(s["exp_avg"], moments[id(p)]) for p, s in optimizer.state.items() if id(p) in moments)
    attn, old = attention_of(model, report.layers[0].name), report.replacements[0].old
    proj, was = attn.get_parameter("proj.weight"), old.get_parameter("proj.weight")
    assert torch.equal(optimizer.state[proj]["exp_avg"], moments[id(was)])
    assert {id(p) for p in optimizer.state} <= many | few
    new = {key: attn.get_parameter(key).clone() for key in report.layers[0].new}
    assert new
    first, last = step(), [step() for _ in range(10)][-1]
    assert last < first
    assert not any(torch.equal(value, attn.get_parameter(key)) for key, value in new.items())
    report.undo()
    report.update(optimizer)
    assert in_groups(optimizer) == before


def test_a_frozen_layers_successor_stays_out_of_the_optimizer() -> None:
    model = vit()
    head = list(model.head.parameters())
    optimizer = torch.optim.SGD(head, lr=0.1)
    swap_attention(model, TalkingHeadsAttention).update(optimizer)
    assert in_groups(optimizer) == [set(map(id, head))]


def test_an_optimizer_of_another_model_is_refused() -> None:
    report = swap_attention(vit(), TalkingHeadsAttention)
    with pytest.raises(ValueError, match="optimizer has no parameter of this ViT"):
        report.update(torch.optim.SGD(vit().parameters(), lr=0.1))


# ---- afterwards -----------------------------------------------------------------------------------------------------

AFTER: list[tuple[Callable[[], Model], type[Attention], dict[str, Any]]] = [
    (vit, TalkingHeadsAttention, {}),
    (vit, ReAttention, {}),
    (vit, LocalWindowAttention, {"window": 2, "position_bias": DynamicBias(HEADS, 4)}),
    (vit, ReducedAttention, {"reduction": 2}),
    (vit, ConvProjectionAttention, {}),
    (twins, TalkingHeadsAttention, {}),
    (twins, DilatedWindowAttention, {"window": 2, "dilation": 2}),
    (cait, LocalWindowAttention, {"window": 2}),
]


@pytest.mark.parametrize(("build", "to", "options"), AFTER)
def test_a_swapped_model_trains_and_is_saved(build: Callable[[], Model], to: Any, options: dict[str, Any]) -> None:
    model, x = build(), images()
    swap_attention(model, to, sample=x, **options)
    model.train()
    held = deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model(x), torch.arange(3)).backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing
    optimizer.step()
    moved = [name for name, p in model.named_parameters() if ".attn.proj" in name and torch.equal(p, held[name])]
    assert not moved

    other = build()
    swap_attention(other, to, **options)
    other.load_state_dict(model.state_dict())
    assert torch.equal(in_eval(other, x), in_eval(model, x))


# ---- the report -----------------------------------------------------------------------------------------------------


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_report() -> None:
    model = twins()
    before = {name: count(module) for name, module in model.named_modules()}
    total = count(model)
    report = swap_attention(model, TalkingHeadsAttention, sample=images())
    assert total - report.parameters_before + report.parameters_after == count(model)
    window, reduced = report.layers[:2]
    assert (window.old_kind, window.new_kind) == ("LocalWindowAttention", "TalkingHeadsAttention")
    mixes = [f"attend.mix_{part}.{key}" for part in ("logits", "weights") for key in ("weight", "bias")]
    for layer in report.layers:
        assert layer.parameters_before == before[layer.name]
        assert layer.parameters_after == count(model.get_submodule(layer.name))
        assert layer.new == mixes
        assert sorted(layer.carried) == ["proj.bias", "proj.weight", "qkv.bias", "qkv.weight"]
    assert window.dropped == []
    assert reduced.dropped == ["reduce.weight", "reduce.bias", "norm.weight", "norm.bias"]

    text = str(report)
    for layer in report.layers:
        assert layer.name in text
        assert f"{layer.parameters_before:,} -> {layer.parameters_after:,}" in text
    assert report.drift is not None
    assert f"{report.drift.logits:.1e}" in text
    assert "new in 8 of 8: attend.mix_logits.weight" in text
    assert "dropped in 4 of 8: reduce.weight" in text
    assert max(len(line) for line in text.splitlines()) < 140


def test_report_without_a_sample() -> None:
    report = swap_attention(vit(), TalkingHeadsAttention)
    assert report.drift is None
    assert "no sample was given" in str(report)


def test_losing_rotary_positions_is_said() -> None:
    model = around(GlobalAttention(DIM, HEADS, rotary=Rotary2d(8)))
    report = swap_attention(model, ReducedAttention, reduction=1)
    assert report.layers[0].dropped[-1] == "rotary"
    assert "rotary" in str(report)
