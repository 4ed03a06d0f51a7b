"""record_attention: what it records, on every model, where it lies, and what it leaves behind."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitblocks import (
    Attend,
    AttentionPool,
    Block,
    ClassAttention,
    ClassToken,
    ConvEmbed,
    ConvProjectionAttention,
    DilatedWindowAttention,
    DilatedWindows,
    GlobalAttention,
    KernelAttend,
    LocalWindowAttention,
    MeanPool,
    Mlp,
    Model,
    PerToken,
    ReAttention,
    ReducedAttention,
    RelativeBias,
    Residual,
    SoftmaxAttend,
    Stage,
    TalkingHeadsAttend,
    TalkingHeadsAttention,
    ViT,
    WindowAttention,
    record_attention,
)
from vitblocks.attention.base import CrossAttention, SelfAttention, merge_heads, split_heads
from vitblocks.demo.hybrid import hybrid
from vitblocks.inspect import Call, Places
from vitblocks.zoo.ats_vit import AdaptiveSampling
from vitblocks.zoo.crossformer import LongDistanceWindows
from vitblocks.zoo.levit import DownsamplingAttention
from vitblocks.zoo.mobile_vit import Interleaved
from vitblocks.zoo.regionvit import CarriedPadding, PaddedRegionalAttention, RegionalAttention

from ..zoo.tiny import TINY

FOREIGN = ("DistillableEfficientViT", "EfficientViT")
"""Models whose transformer is another package's."""

ATTENDING = [name for name in TINY if name not in FOREIGN]


def tiny_vit(**options: Any) -> Any:
    return TINY["ViT"].build(**options).eval()


def image(size: int = 16, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, size, size)


@contextmanager
def calls_of_attends(model: nn.Module) -> Iterator[list[tuple[tuple[Any, ...], Tensor]]]:
    """What every Attend got and gave."""
    calls: list[tuple[tuple[Any, ...], Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda _, args, output: calls.append((args, output)))
        for module in model.modules()
        if isinstance(module, Attend)
    ]
    yield calls
    for hook in hooks:
        hook.remove()


def no_hooks(model: nn.Module) -> bool:
    return not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ATTENDING)
def test_every_model_is_recorded_and_unchanged(name: str, training: bool) -> None:
    """The weights recorded make the Attend's output, places have their shape, and the model computes and keeps what it did."""
    build, size = TINY[name]
    model = build().train(training)
    plain, x = copy.deepcopy(model), image(size)
    torch.manual_seed(1)
    expected = plain(x)
    torch.manual_seed(1)
    with calls_of_attends(model) as calls, record_attention(model) as records:
        output = model(x)
    assert torch.equal(output, expected)
    for (key, buffer), (_, unrecorded) in zip(model.named_buffers(), plain.named_buffers(), strict=True):
        assert torch.equal(buffer, unrecorded), key
    assert len(records) == len(calls)
    for record, (args, values) in zip(records, calls, strict=True):
        v, folded = args[2], args[2].reshape(2, -1, *args[2].shape[-3:])
        torch.testing.assert_close((record.weights @ folded).reshape(values.shape), values, rtol=1e-4, atol=1e-5)
        batch, groups, heads, n, m = record.weights.shape
        assert (batch, heads, m) == (2, v.shape[-3], v.shape[-2])
        if name == "XCiT" and ".layer.attend" in record.name:
            continue  # channels look at channels, which lie nowhere
        queries, keys = record.known()
        assert queries.ids.shape == (groups, n)
        assert keys.ids.shape == (groups, m)
        assert int(queries.ids.max()) < queries.total
        assert int(keys.ids.max()) < keys.total
    assert no_hooks(model)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_model_without_attends_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="other packages"), record_attention(TINY[name].build()):
        pass


def test_a_hybrid_is_recorded() -> None:
    model = hybrid(dim=16, heads=2).eval()
    with record_attention(model) as records:
        model(torch.randn(2, 1, 16, 16))
    assert [tuple(record.weights.shape) for record in records] == [(2, 4, 2, 16, 16)] * 2 + [(2, 1, 2, 64, 64)] * 2


# Where the weights lie: the layer's output, computed from matrices over all tokens, is the layer's output only if they lie right.


def self_values(attn: SelfAttention, x: Tensor, grid: tuple[int, int]) -> Tensor:
    return attn.split_qkv(x)[2]


def cross_values(attn: CrossAttention, tokens: Tensor) -> Tensor:
    return split_heads(attn.kv(tokens).chunk(2, dim=-1)[1], attn.heads)


def reduced_values(attn: ReducedAttention, x: Tensor, grid: tuple[int, int]) -> Tensor:
    return cross_values(attn, x if attn.reduce is None else attn.reduced(x, grid))


def conv_values(attn: ConvProjectionAttention, x: Tensor, grid: tuple[int, int]) -> Tensor:
    return split_heads(attn.v(x, grid), attn.heads)


def shrinking_values(attn: DownsamplingAttention, x: Tensor, grid: tuple[int, int]) -> Tensor:
    return split_heads(attn.kv(x).split([8, 8], dim=-1)[1], attn.heads)


def padded_regional(window: int) -> tuple[nn.Module, Callable[[tuple[int, int]], int]]:
    padding = CarriedPadding(window)

    def prefix(grid: tuple[int, int]) -> int:
        rows, columns = padding.padded(grid)
        return rows * columns // window**2 + padding.count(grid)

    return PaddedRegionalAttention(8, 2, window=window), prefix


KINDS: dict[str, tuple[Callable[[], Any], Callable[..., Tensor], tuple[int, ...]]] = {
    "global": (lambda: GlobalAttention(8, 2), self_values, (0, 2)),
    "talking heads": (lambda: TalkingHeadsAttention(8, 2, init_std=0.3), self_values, (0, 2)),
    "re-attention": (lambda: ReAttention(8, 2), self_values, (1,)),
    "windows": (lambda: LocalWindowAttention(8, 2, window=3), self_values, (0, 2)),
    "shifted": (
        lambda: LocalWindowAttention(8, 2, window=(3, 2), shift=1, position_bias=RelativeBias(2, (3, 2))),
        self_values,
        (0, 2),
    ),
    "dilated": (lambda: DilatedWindowAttention(8, 2, window=2, dilation=2), self_values, (0, 2)),
    "long distance": (
        lambda: WindowAttention(8, 2, windows=LongDistanceWindows(2, 3), attend=TalkingHeadsAttend(2, init_std=0.3)),
        self_values,
        (0, 2),
    ),
    "reduced": (lambda: ReducedAttention(8, 2, reduction=2), reduced_values, (0, 2)),
    "not reduced": (lambda: ReducedAttention(8, 2, reduction=1), reduced_values, (0, 2)),
    "convolutional projection": (lambda: ConvProjectionAttention(8, 2).eval(), conv_values, (0, 2)),
    "class": (lambda: ClassAttention(8, 2), lambda attn, x, grid: cross_values(attn, x), (1, 2)),
    "downsampling": (lambda: DownsamplingAttention(8, 8, 2), shrinking_values, (0,)),
}


def check_places(attn: Any, values: Callable[..., Tensor], grid: tuple[int, int], prefix: int) -> None:
    x = torch.randn(2, prefix + grid[0] * grid[1], 8)
    with record_attention(attn) as records:
        output = attn(x, grid)
    output = output[0] if isinstance(output, tuple) else output
    v = values(attn, x, grid)
    mixed = attn.proj(merge_heads(sum(record.matrix() for record in records) @ v))
    asked = {i for record in records for i in record.known()[0].ids.flatten().tolist() if i >= 0}
    assert len(asked) == (prefix if isinstance(attn, ClassAttention) else output.shape[1])
    rows = sorted(asked)
    torch.testing.assert_close(mixed[:, rows], output[:, rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", [(5, 7), (6, 6), (2, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_matrix_over_all_tokens_makes_the_layers_output(kind: str, grid: tuple[int, int]) -> None:
    build, values, prefixes = KINDS[kind]
    for prefix in prefixes:
        check_places(build(), values, grid, prefix)


@pytest.mark.parametrize("grid", [(5, 7), (6, 6), (2, 3)])
def test_regional_kinds_lie_among_regional_tokens_padding_and_patches(grid: tuple[int, int]) -> None:
    regional = RegionalAttention(8, 2, window=3)
    rows, columns = regional.windows.counts(grid)
    check_places(regional, self_values, grid, rows * columns)
    padded, prefix = padded_regional(3)
    check_places(padded, self_values, grid, prefix(grid))


@pytest.mark.parametrize(
    "inner",
    [
        lambda: GlobalAttention(8, 2, position_bias=RelativeBias(2, 4)),
        lambda: LocalWindowAttention(8, 2, window=2, shift=1, attend=TalkingHeadsAttend(2, init_std=0.3)),
    ],
)
def test_interleaved_sub_grids_lie_on_the_whole_grid(inner: Callable[[], SelfAttention]) -> None:
    """Batches that layers fold sub-grids into are images again, and sub-grids are groups."""
    attn, x, grid = inner(), torch.randn(2, 48, 8), (6, 8)
    folded = Interleaved([attn], 2)
    with record_attention(folded) as records:
        output = folded(x, grid)
    (record,) = records
    assert record.known()[1].grid == grid
    mixed = attn.proj(merge_heads(record.matrix() @ self_values(attn, x, grid)))
    torch.testing.assert_close(mixed, output, rtol=1e-4, atol=1e-5)


def test_key_map_of_a_window_is_a_distribution_on_its_window() -> None:
    attn = LocalWindowAttention(8, 2, window=3)
    with record_attention(attn) as records:
        attn(torch.randn(2, 36, 8), (6, 6))
    seen = records[0].key_map((1, 4))
    assert seen.shape == (2, 2, 6, 6)
    torch.testing.assert_close(seen[:, :, :3, 3:].sum(dim=(2, 3)), torch.ones(2, 2))
    assert seen.count_nonzero() == seen[:, :, :3, 3:].numel()


def test_key_map_of_reduced_keys_is_coarse_and_leaves_prefix_out() -> None:
    attn = ReducedAttention(8, 2, reduction=2)
    with record_attention(attn) as records:
        attn(torch.randn(2, 1 + 24, 8), (4, 6))
    (record,) = records
    assert record.key_map((3, 5)).shape == (2, 2, 2, 3)
    assert record.token_weights(0).shape == (2, 2, 1 + 6)
    torch.testing.assert_close(record.key_map(-1), record.key_map((3, 5)))
    torch.testing.assert_close(
        record.token_weights(0), torch.cat([record.weights[:, 0, :, 0, :1], record.key_map(0).flatten(2)], dim=2)
    )


def test_tokens_that_are_not_there_are_refused() -> None:
    attn = LocalWindowAttention(8, 2, window=2)
    with record_attention(attn) as records:
        attn(torch.randn(1, 17, 8), (4, 4))
    to_all, local = records
    with pytest.raises(ValueError, match="another call"):
        local.key_map(0)
    with pytest.raises(ValueError, match="another call"):
        to_all.key_map((0, 0))
    for token in (17, (4, 0), (-1, 0)):
        with pytest.raises(ValueError, match="is n"):
            local.key_map(token)


def test_dropped_tokens_lie_on_no_map() -> None:
    build, size = TINY["ATSViT"]
    model = build().eval()
    with record_attention(model) as records:
        model(image(size))
    assert records[0].key_map(0).shape == (2, 2, 4, 4)
    with pytest.raises(ValueError, match="tokens were dropped"):
        records[-1].key_map(0)


def test_attention_pool_has_its_probe_for_a_query() -> None:
    pool = AttentionPool(8, 2)
    with record_attention(pool) as records:
        pool(torch.randn(2, 13, 8), (3, 4))
    assert records[0].key_map(0).shape == (2, 2, 3, 4)


class Axial(SelfAttention):
    """A kind of one's own: attention within rows."""

    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        rows = x.unflatten(1, grid)
        return self.mix(rows, grid, mask=None).flatten(1, 2)


class PlacedAxial(Axial):
    """It says where its rows lie."""

    def places(self, call: Call) -> tuple[Places, Places]:
        rows = call.of(torch.arange(call.tokens).unflatten(0, call.grid))
        return rows, rows


def test_an_unknown_kind_is_recorded_without_places_and_can_say_them() -> None:
    attn = Axial(8, 2)
    with record_attention(attn) as records:
        attn(torch.randn(2, 12, 8), (3, 4))
    assert records[0].weights.shape == (2, 3, 2, 4, 4)
    with pytest.raises(ValueError, match=r"method places\(call\)"):
        records[0].key_map(0)
    with pytest.raises(ValueError, match=r"method places\(call\)"), record_attention(attn, queries=0):
        attn(torch.randn(2, 12, 8), (3, 4))

    check_places(PlacedAxial(8, 2), self_values, (3, 4), 0)


# Only what was asked.


@pytest.mark.parametrize(
    "queries", [3, [0, (4, 6), (2, 2)], [-1], slice(1, 9, 3), "prefix", "patches", [(1, 1), (4, 4), (1, 4)]]
)
@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("kind", ["global", "talking heads", "shifted", "long distance", "reduced", "re-attention"])
def test_queries_are_rows_of_the_whole(kind: str, prefix: int, queries: Any) -> None:
    grid = (5, 7)
    attn, x = KINDS[kind][0](), torch.randn(2, prefix + 35, 8)
    with record_attention(attn) as records:
        attn(x, grid)
    whole = sum((record.matrix() for record in records), torch.zeros(()))
    wanted = records[0].known()[0].numbers(queries)
    if not wanted:
        with pytest.raises(RuntimeError, match="nothing"), record_attention(attn, queries=queries):
            attn(x, grid)
        return
    with record_attention(attn, queries=queries) as few:
        attn(x, grid)
    expected = torch.zeros_like(whole)
    expected[:, :, wanted] = whole[:, :, wanted]
    torch.testing.assert_close(sum(record.matrix() for record in few), expected, rtol=1e-4, atol=1e-5)
    kept = sum(record.weights.shape[1] * record.weights.shape[3] for record in few)
    assert kept == len(wanted)


@pytest.mark.parametrize("name", ATTENDING)
def test_one_query_of_every_model_is_its_row_of_the_whole(name: str) -> None:
    build, size = TINY[name]
    model, x = build().eval(), image(size)
    with record_attention(model) as records:
        model(x)
    try:
        with record_attention(model, queries=-1) as few:
            model(x)
    except RuntimeError:  # in XCiT the class token alone asks
        assert name == "XCiT"
        return
    for record in few:
        assert record.weights.shape[1] * record.weights.shape[3] == 1
        row = record.token_weights(-1)
        assert any(torch.allclose(row, whole, atol=1e-6) for whole in rows_of(records, record.name, row.shape))


def rows_of(records: Any, name: str, shape: torch.Size) -> Iterator[Tensor]:
    """The last token's row in every call of a layer that has that token for a query."""
    for record in records:
        queries = record.known()[0]
        if record.name == name and (queries.ids == queries.number(-1)).any():
            row = record.token_weights(-1)
            if row.shape == shape:
                yield row


def test_queries_among_interleaved_windows() -> None:
    attn = LocalWindowAttention(8, 2, window=2, shift=1)
    folded, x = Interleaved([attn], 2), torch.randn(2, 48, 8)
    with record_attention(folded) as records:
        folded(x, (6, 8))
    with record_attention(folded, queries=[(0, 1), (5, 5)]) as few:
        folded(x, (6, 8))
    for token in ((0, 1), (5, 5)):
        torch.testing.assert_close(few[0].key_map(token), records[0].key_map(token))


def test_only_the_queries_asked_for_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    weights = SoftmaxAttend.weights

    def counting(self: SoftmaxAttend, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        asked.append(tuple(q.shape))
        return weights(self, q, k, bias)

    monkeypatch.setattr(SoftmaxAttend, "weights", counting)
    model = tiny_vit()
    with record_attention(model, queries=0, layers=-1) as records:
        model(image())
    assert asked == [(2, 2, 1, 4)]
    assert records[0].weights.shape == (2, 1, 2, 1, 17)


def test_unrecorded_layers_keep_the_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded layer, too, computes its output by it."""
    called = []

    def counting(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def count(*args: Any, **kwargs: Any) -> Tensor:
            called.append(name)
            return function(*args, **kwargs)

        return count

    monkeypatch.setattr(F, "scaled_dot_product_attention", counting("fused", F.scaled_dot_product_attention))
    monkeypatch.setattr(SoftmaxAttend, "weights", counting("weights", SoftmaxAttend.weights))
    model = tiny_vit(depth=4)
    with record_attention(model, layers=2):
        model(image())
    assert called == ["fused", "fused", "weights", "fused", "fused"]


def test_only_the_heads_asked_for_are_kept() -> None:
    model, x = tiny_vit(), image()
    with record_attention(model) as records:
        model(x)
    for heads, numbers in ((1, [1]), ([-1, 0], [1, 0]), (slice(0, 1), [0])):
        with record_attention(model, heads=heads) as few:
            model(x)
        for record, whole in zip(few, records, strict=True):
            assert record.heads == tuple(numbers)
            assert torch.equal(record.weights, whole.weights[:, :, numbers])
            assert record.weights.untyped_storage().nbytes() == record.weights.numel() * 4
    with pytest.raises(ValueError, match="heads must lie"), record_attention(model, heads=2):
        model(x)


def test_layers_by_name_pattern_place_class_and_module() -> None:
    model = hybrid(dim=16, heads=2).eval()
    x = torch.randn(1, 1, 16, 16)

    def names(layers: Any) -> list[str]:
        with record_attention(model, layers=layers) as records:
            model(x)
        return [record.name.removesuffix(".attn.attend") for record in records]

    first, second, third, fourth = (f"stages.{s}.layers.{i}" for s, i in ((0, 0), (0, 2), (1, 0), (1, 1)))
    assert names(None) == [first, second, third, fourth]
    assert names("stages.1") == [third, fourth]
    assert names("stages.0.layers.2.attn") == [second]
    assert names("*.layers.0") == [first, third]
    assert names(["stages.1.layers.1", 0]) == [first, fourth]
    assert names(-1) == [fourth]
    assert names(slice(1, 3)) == [second, third]
    assert names(WindowAttention) == [first, second]
    assert names(TalkingHeadsAttend) == [third]
    assert names(model.stages[0]) == [first, second]
    for wrong in ("stages.7", 4, nn.Conv3d, nn.Linear(2, 2), ["stages.1", "embed"]):
        with pytest.raises(ValueError, match="layers must name"), record_attention(model, layers=wrong):
            pass


def test_a_name_is_not_the_beginning_of_another() -> None:
    model = tiny_vit(depth=9)
    with record_attention(model, layers="stages.0.layers.3") as records:
        model(image())
    assert [record.name for record in records] == ["stages.0.layers.3.attn.attend"]


# Gradients, training, recomputation.


def test_gradients_flow_to_the_image_unless_detached() -> None:
    model, x = tiny_vit(), image().requires_grad_()
    with record_attention(model) as records:
        model(x)
    (grad,) = torch.autograd.grad(records[-1].key_map(0).square().sum(), x)
    assert grad.abs().sum() > 0
    with record_attention(model, detach=True) as records:
        output = model(x)
    assert output.requires_grad
    assert not any(record.weights.requires_grad for record in records)


def test_batch_statistics_are_those_of_all_rows_and_move_once() -> None:
    """Re-attention norms over all queries in training: one row of it needs them all."""
    attn = ReAttention(8, 2).train()
    x, before = torch.randn(2, 12, 8), copy.deepcopy(attn)
    before(x, (3, 4))
    with record_attention(attn) as records, record_attention(attn, queries=5) as few:
        attn(x, (3, 4))
    torch.testing.assert_close(few[0].weights, records[0].weights[..., 5:6, :])
    for buffer, once in zip(attn.buffers(), before.buffers(), strict=True):
        assert torch.equal(buffer, once)
    records[0].weights.square().sum().backward()


def test_training_records_weights_without_dropout() -> None:
    model = tiny_vit(attn_dropout=0.5).train()
    with record_attention(model) as records:
        model(image())
    for record in records:
        torch.testing.assert_close(record.weights.sum(dim=-1), torch.ones(record.weights.shape[:-1]))


def test_recomputation_records_once_and_gives_the_same_gradients() -> None:
    plain, x = tiny_vit(), image()
    grads = []
    for model in (plain, copy.deepcopy(plain).gradient_checkpointing()):
        with record_attention(model) as records:
            loss = model(x).square().sum() + sum(record.weights.square().sum() for record in records)
            loss.backward()
        assert len(records) == 2
        grads.append([p.grad for p in model.parameters()])
    for expected, actual in zip(*grads, strict=True):
        torch.testing.assert_close(actual, expected)


def test_gradients_flow_after_the_block_through_recomputation() -> None:
    model, x = tiny_vit().gradient_checkpointing(), image()
    with record_attention(model) as records:
        model(x)
    records[-1].weights.square().sum().backward()
    assert model.embed.conv.weight.grad.abs().sum() > 0


# Nothing is left behind, and nothing fails in silence.


def test_hooks_and_memory_are_gone_after_the_block() -> None:
    model = tiny_vit()
    gc.disable()
    try:
        with record_attention(model) as records:
            model(image())
        held = [weakref.ref(record.weights) for record in records]
        assert no_hooks(model)
        del records
        assert not any(ref() is not None for ref in held)
    finally:
        gc.enable()


class Failing(nn.Module):
    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        raise KeyError("in the middle")


@pytest.mark.parametrize("inside", [True, False])
def test_hooks_and_memory_are_gone_after_an_exception(inside: bool) -> None:
    """In the model's forward or in the caller's own code."""
    model = tiny_vit()
    if inside:
        model.stages[0].layers[-1].mlp = Failing()
    held: list[Any] = []
    with pytest.raises(KeyError), record_attention(model) as records:  # noqa: PT012
        try:
            model(image())
        finally:
            held += [weakref.ref(record.weights) for record in records]
        raise KeyError("after it")
    gc.collect()
    assert len(held) == 2
    assert no_hooks(model)
    assert not records
    assert not any(ref() is not None for ref in held)


def test_a_failed_call_inside_the_block_spoils_no_later_one() -> None:
    model, x = tiny_vit(), image()
    with record_attention(model) as records:
        with pytest.raises(ValueError, match="must have 3 channels"):
            model(torch.randn(2, 5, 16, 16))
        with pytest.raises(ValueError, match="does not divide"):
            model(torch.randn(2, 3, 17, 16))
        model(x)
    assert len(records) == 2
    assert records[-1].key_map(0).shape == (2, 2, 4, 4)


def test_a_call_that_failed_among_sub_grids_leaves_no_sub_grids() -> None:
    build, size = TINY["MobileViT"]
    model, x = build().eval(), image(size)
    with record_attention(model) as expected:
        model(x)
    attend = next(module for module in model.modules() if isinstance(module, Attend))
    with record_attention(model) as records:
        failing = attend.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyError("in the middle")))
        with pytest.raises(KeyError):
            model(x)
        failing.remove()
        records.clear()
        model(x)
    assert [record.weights.shape for record in records] == [record.weights.shape for record in expected]


def test_recording_inside_what_is_recomputed() -> None:
    """A part that looks at its own attention runs again in the backward pass, and sees it again."""
    model, x = tiny_vit(), image().requires_grad_()

    def penalty(x: Tensor) -> Tensor:
        with record_attention(model) as records:
            logits = model(x)
        return logits.square().sum() + records.stacked().square().sum()

    (expected,) = torch.autograd.grad(penalty(x), x)
    (actual,) = torch.autograd.grad(checkpoint(penalty, x, use_reentrant=False), x)
    torch.testing.assert_close(actual, expected)


def test_recording_nothing_is_an_error() -> None:
    model = tiny_vit()
    with pytest.raises(RuntimeError, match="nothing"), record_attention(model):
        pass
    patches_only = ViT(image_size=16, patch_size=4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8, pool="mean")
    with pytest.raises(RuntimeError, match="'prefix'"), record_attention(patches_only, queries="prefix"):
        patches_only(image())
    assert no_hooks(model)


def test_calls_of_parts_and_repeated_calls_are_recorded_in_order() -> None:
    model, x = tiny_vit(), image()
    with record_attention(model) as records:
        model.encode(x)
        model.encode(x.flip(0))
    assert [record.name[:17] for record in records] == ["stages.0.layers.3", "stages.0.layers.4"] * 2
    torch.testing.assert_close(records[0].weights.flip(0), records[2].weights)
    assert records[0].key_map(0).shape == (2, 2, 4, 4)
    assert set(records.named()) == {r.name for r in records} | {f"{r.name}:1" for r in records}
    with pytest.raises(ValueError, match="called once"):
        records.stacked()


def test_an_attend_alone_is_recorded() -> None:
    attend = KernelAttend(4)
    q, k, v = torch.randn(3, 2, 2, 5, 4).unbind()
    with record_attention(attend) as records:
        output = attend(q, k, v=v)
    torch.testing.assert_close(records[0].weights[:, 0] @ v, output, rtol=1e-4, atol=1e-5)


def test_compiled_models_are_recorded_uncompiled() -> None:
    """Whole, in place, in part, and compiled within the block; the compiled code is used again afterwards."""
    plain, x = tiny_vit(), image()
    with record_attention(plain) as expected:
        logits = plain(x)
    in_place, in_part = copy.deepcopy(plain), copy.deepcopy(plain)
    in_place.compile(backend="aot_eager")
    in_part.stages[0] = torch.compile(in_part.stages[0], backend="aot_eager")
    for model in (torch.compile(plain, backend="aot_eager"), in_place, in_part):
        for warm in (True, False):
            torch._dynamo.reset()
            if warm:
                model(x)
            with record_attention(model) as records:
                torch.testing.assert_close(model(x), logits)
            for record, other in zip(records, expected, strict=True):
                assert record.name == other.name
                torch.testing.assert_close(record.weights, other.weights)
                assert record.known()[0].grid == (4, 4)
    with record_attention(plain) as records:
        torch.compile(plain, backend="aot_eager")(x)
    assert len(records) == 2


@pytest.mark.filterwarnings("ignore")
def test_exported_and_scripted_models_are_refused() -> None:
    program = torch.export.export(tiny_vit(), (image(),))
    with pytest.raises(ValueError, match="exported"), record_attention(program.module()):
        pass
    with pytest.raises(TypeError, match="came from"), record_attention(program):
        pass
    traced = torch.jit.trace(tiny_vit(), image())
    with pytest.raises(ValueError, match="scripted"), record_attention(traced):
        pass


def test_weights_are_kept_where_asked() -> None:
    """The meta device stands in for another one."""
    model = tiny_vit()
    with record_attention(model, device="meta") as records:
        model(image())
    assert {record.weights.device.type for record in records} == {"meta"}


def test_half_precision_and_autocast_are_recorded_as_computed() -> None:
    model = tiny_vit().bfloat16()
    with record_attention(model) as records:
        model(image().bfloat16())
    assert records[0].weights.dtype == torch.bfloat16


def test_attention_inside_sampling_and_pooling_is_recorded() -> None:
    """Attends that their own attention module does not call, and one in the pool."""
    sampling = AdaptiveSampling(8, GlobalAttention(8, 2), 6)
    model = Model(
        embed=ConvEmbed(4, 8),
        stages=[Stage([ClassToken(8), Block(8, GlobalAttention(8, 2), Mlp(8, 8))]), Stage(transition=sampling)],
        pool=AttentionPool(8, 2),
    ).eval()
    with record_attention(model) as records:
        model(image())
    assert [record.name.rpartition(".")[0] for record in records] == [
        "stages.0.layers.1.attn",
        "stages.1.transition.attn",
        "pool",
    ]
    assert records[1].key_map(0).shape == (2, 2, 4, 4)
    assert records[2].token_weights(0).shape == (2, 2, records[2].weights.shape[-1])


def test_windows_of_a_list_of_ones_own() -> None:
    """A stage that mixes kinds, with registers before the patches."""
    layers: list[nn.Module] = [
        ClassToken(8, 3),
        Residual(8, WindowAttention(8, 2, windows=DilatedWindows(None, 2))),
        PerToken(nn.LayerNorm(8)),
        Residual(8, ReducedAttention(8, 2, reduction=2)),
    ]
    model = Model(embed=ConvEmbed(4, 8), stages=[Stage(layers)], pool=MeanPool()).eval()
    with record_attention(model, queries=[0, (0, 0)]) as records:
        model(torch.randn(1, 3, 20, 24))
    assert [tuple(record.weights.shape) for record in records] == [(1, 1, 2, 1, 33), (1, 1, 2, 1, 12), (1, 1, 2, 2, 9)]
