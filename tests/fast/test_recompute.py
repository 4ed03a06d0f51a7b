"""fast.recompute: the same gradients in less memory, and left alone wherever that would not be so."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks, save_on_cpu, saved_tensors_hooks
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

import vitblocks
from benchmarks.memory import peak_bytes
from tests.fast.models import OwnLayerNorm, PlainBlock, PlainViT, gradients
from vitblocks import fast
from vitblocks.fast import recomputing

CPU = torch.device("cpu")

FIRSTS: dict[str, Callable[[], nn.Module]] = {
    "layer norm": lambda: nn.LayerNorm(8),
    "own layer norm": lambda: OwnLayerNorm(8),
    "rms norm": lambda: nn.RMSNorm(8),
    "group norm": lambda: nn.GroupNorm(1, 5),
    "gelu": nn.GELU,
    "tanh gelu": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "relu6": nn.ReLU6,
    "leaky relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
}
LEFT: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "identity": nn.Identity,
    "batch norm": lambda: nn.BatchNorm1d(5),
    "in place": lambda: nn.SiLU(inplace=True),
}


class Twice(nn.Module):
    """Two readers of the same tokens, as queries and keys are."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 6), nn.Linear(8, 6)

    def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
        return factor * self.a(x).tanh() * self.b(x)


class Through(nn.Module):
    """``then(first(x), *rest)``."""

    def __init__(self, first: nn.Module, then: Callable[..., Tensor]) -> None:
        super().__init__()
        self.first, self.then = first, then

    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        return self.then(self.first(x), *rest)


def tokens(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(3, 5, 8, dtype=dtype, requires_grad=True)


def both(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A model as it is, and a copy with the pass."""
    other = copy.deepcopy(model)
    fast.recompute(other)
    return model, other


def by_all(model: nn.Module, x: Tensor, *rest: Any) -> list[Tensor]:
    loss = model(x * 1.5, *rest).square().sum()
    return list(torch.autograd.grad(loss, [x, *model.parameters()]))


def same(model: nn.Module, x: Tensor, *rest: Any) -> None:
    expected, found = (by_all(way, x, *rest) for way in both(model))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("name", [*FIRSTS, *LEFT])
def test_gradients_are_the_same(name: str) -> None:
    same(Through({**FIRSTS, **LEFT}[name](), Twice()), tokens(), 0.5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_maps(layout: torch.memory_format) -> None:
    image = torch.randn(2, 4, 6, 7).to(memory_format=layout).requires_grad_()
    same(Through(nn.SiLU(), nn.Conv2d(4, 4, 3, groups=4)), image)


def test_one_inside_another() -> None:
    same(Through(nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))), tokens())


def test_one_after_another_in_another_shape() -> None:
    """What the second reads is computed again, too, and from there the second."""
    same(nn.Sequential(nn.LayerNorm(8), nn.Flatten(1), nn.GELU(), nn.Unflatten(1, (5, 8)), Twice()), tokens())
    same(nn.Sequential(nn.LayerNorm(8), nn.Flatten(1), nn.LayerNorm(40), nn.Linear(40, 2)), tokens())


@pytest.mark.parametrize("name", FIRSTS)
def test_autocast(name: str) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        same(Through(FIRSTS[name](), Twice()), tokens())
        same(nn.Sequential(nn.Linear(8, 8), FIRSTS[name](), Twice()), tokens())


def test_gradients_of_gradients() -> None:
    _, model = both(Through(nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 2), nn.Tanh())).double())
    assert torch.autograd.gradgradcheck(model, tokens(torch.float64))


def test_backward_twice() -> None:
    _, model = both(Through(nn.LayerNorm(8), nn.Linear(8, 2)))
    x = tokens()
    loss = model(x).square().sum()
    once, again = (torch.autograd.grad(loss, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(once, again)


def test_a_plain_model_and_the_zoo() -> None:
    images = torch.randn(2, 3, 16, 16)
    for model in (
        PlainViT(),
        vitblocks.ViT(image_size=16, patch_size=8, num_classes=3, dim=8, depth=2, heads=2, mlp_dim=16),
    ):
        expected, found = (gradients(way, images) for way in both(model))
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_with_products_of_the_other_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitblocks.fast.product.prefers_onednn", lambda: True)
    model, images = PlainViT(), torch.randn(2, 3, 16, 16)
    fast.linears(model)
    expected, found = (gradients(way, images) for way in both(model))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_the_report_and_the_way_back() -> None:
    model = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.SiLU(inplace=True), nn.BatchNorm1d(8))
    before = [type(module) for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    report, second = fast.recompute(model), fast.recompute(model)
    assert list(report.changed) == ["0", ""]
    assert report.left == {"2": "works in place: its input is gone"}
    assert second.left["0"] == "has it already"
    assert not second
    assert isinstance(model, nn.Sequential)
    assert isinstance(model[0], nn.LayerNorm)
    assert fast.plain_type(type(model)) is nn.Sequential
    assert model.state_dict().keys() == state.keys()
    report.undo()
    assert [type(module) for module in model.modules()] == before


def test_copies_and_pickles_keep_it() -> None:
    _, model = both(Through(nn.LayerNorm(8), Twice()))
    x = tokens()
    expected = by_all(model, x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other) is type(model)
        assert type(other.first) is type(model.first)
        assert other.first.weight is not model.first.weight
        assert all(torch.equal(a, b) for a, b in zip(expected, by_all(other, x), strict=True))
        fast.undo(other)
        assert type(other) is Through


def blocks() -> nn.Module:
    """Residual branches that read a norm and an activation."""

    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.fc1, self.act, self.fc2 = (
                nn.LayerNorm(256),
                nn.Linear(256, 256),
                nn.GELU(),
                nn.Linear(256, 256),
            )

        def forward(self, x: Tensor) -> Tensor:
            return x + self.fc2(self.act(self.fc1(self.norm(x))))

    torch.manual_seed(0)
    return nn.Sequential(*(Branch() for _ in range(4)))


def peak(model: nn.Module, around: Callable[..., Tensor] = lambda model, x: model(x)) -> int:
    """Of a step."""
    image = torch.randn(64, 64, 256, requires_grad=True)
    return peak_bytes(lambda: around(model, image).sum().backward(), CPU)


def test_it_takes_less_memory() -> None:
    """Each branch keeps its input and the hidden channels before the activation, and without it what is made of them, too."""
    plain, model = both(blocks())
    assert peak(model) < 0.67 * peak(plain)


def test_checkpointing_around_and_inside_saves_what_it_did() -> None:
    plain, model = both(blocks())

    def around(model: nn.Module, x: Tensor) -> Tensor:
        return checkpoint(model, x, use_reentrant=False)

    def inside(model: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(model, nn.Sequential)
        for layer in model:
            x = checkpoint(layer, x, use_reentrant=False)
        return x

    for way in (around, inside):
        assert peak(model, way) <= 1.01 * peak(plain, way)


class Checkpointed(nn.Module):
    """As timm does it with ``set_grad_checkpointing``."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.layers = nn.ModuleList(PlainBlock(8, 2) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=self.reentrant)
        return x


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_inside(reentrant: bool) -> None:
    plain, model = both(Checkpointed(reentrant))
    x = tokens()
    for way in (plain, model):
        way(x).square().sum().backward()
    for a, b in zip(plain.parameters(), model.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_hooks_of_somebody_else_see_every_tensor() -> None:
    seen: list[list[tuple[int, ...]]] = []
    for way in both(Through(nn.LayerNorm(8), Twice())):
        shapes: list[tuple[int, ...]] = []

        def pack(tensor: Tensor, shapes: list[tuple[int, ...]] = shapes) -> Tensor:
            shapes.append(tuple(tensor.shape))
            return tensor.detach()

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            way(tokens())
        seen.append(shapes)
    assert seen[0] == seen[1] != []


def test_offloading_and_forbidden_hooks() -> None:
    for around in (save_on_cpu, lambda: disable_saved_tensors_hooks("none here")):
        with around():
            same(Through(nn.LayerNorm(8), Twice()), tokens())


def test_hooks_that_change_what_goes_in_and_comes_out() -> None:
    for prepend in (False, True):
        norm = nn.LayerNorm(8)
        norm.register_forward_pre_hook(lambda module, args: (3 * args[0],))
        norm.register_forward_hook(lambda module, args, out: 2 * out, prepend=prepend)
        same(Through(norm, nn.Linear(8, 3)), tokens())


def test_hooks_are_called_once() -> None:
    _, model = both(Through(nn.LayerNorm(8), nn.Linear(8, 3)))
    count: list[str] = []
    model.first.register_forward_hook(lambda *_: count.append("forward"))
    model.first.register_full_backward_hook(lambda *_: count.append("backward"))
    model(tokens()).sum().backward()
    assert count == ["forward", "backward"]


def test_what_the_norm_read_was_changed() -> None:
    _, model = both(Through(nn.LayerNorm(8), nn.Linear(8, 3)))
    x = tokens() * 2
    out = model(x).sum()
    with torch.no_grad():
        x.add_(1)
    with pytest.raises(RuntimeError, match="in place"):
        out.backward()


def test_what_the_layer_keeps_was_changed() -> None:
    """PyTorch does not look for that of tensors that go through hooks."""
    kept: list[Tensor] = []

    def then(value: Tensor) -> Tensor:
        kept.append(value.exp())
        return kept[0] * value

    _, model = both(Through(nn.LayerNorm(8), then))
    out = model(tokens()).sum()
    with torch.no_grad():
        kept[0].mul_(3)
    with pytest.raises(RuntimeError, match="in place"):
        out.backward()


def test_a_layer_that_changes_what_it_gets() -> None:
    class InPlace(nn.Module):
        def forward(self, value: Tensor) -> Tensor:
            return value.mul_(3).sigmoid() * value

    same(Through(nn.Hardswish(), InPlace()), tokens())


def test_an_activation_set_in_place_later() -> None:
    plain, model = both(Through(nn.SiLU(), Twice()))
    for way in (plain, model):
        way.first.inplace = True
    x = tokens()
    assert all(torch.equal(a, b) for a, b in zip(by_all(plain, x), by_all(model, x), strict=True))


def test_a_norm_with_a_second_argument_is_kept() -> None:
    class Conditioned(nn.LayerNorm):
        def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
            return super().forward(x) * scale

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear = Conditioned(8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.norm(x, 2.0)) + self.linear(self.norm(x, scale=3.0))

    same(Model(), tokens())


def test_nothing_lives_on_after_backward() -> None:
    _, model = both(Through(nn.LayerNorm(8), Twice()))
    inner = tokens() * 2
    alive = weakref.ref(inner)
    gc.disable()
    try:
        out = model(inner).sum()
        del inner
        out.backward()
        del out
        assert alive() is None
    finally:
        gc.enable()


def test_nothing_lives_on_without_backward() -> None:
    """No cycles: the graph goes when the last name of it does, whatever operations save their own results."""
    model = PlainViT()
    fast.recompute(model)
    freed: list[weakref.ref[Tensor]] = []
    model.blocks[0].register_forward_hook(lambda module, args, out: freed.append(weakref.ref(out)))
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            model(torch.randn(2, 3, 16, 16)).softmax(dim=-1).exp()
            assert freed[-1]() is None
    finally:
        gc.enable()
    assert recomputing._THREAD.call is None


def test_two_hundred_calls_without_backward_keep_memory_flat() -> None:
    model = vitblocks.ViT(image_size=32, patch_size=4, num_classes=3, dim=64, depth=4, heads=2, mlp_dim=128)
    fast.recompute(model)
    images = torch.randn(8, 3, 32, 32)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    if not Path("/proc/self/statm").exists():
        pytest.skip("the resident memory of a process is read on Linux alone")
    gc.disable()
    try:
        for _ in range(20):
            model(images)
        before = resident()
        for _ in range(200):
            model(images)
        # One call keeps 8 MiB and more for its backward pass: the leak that was here took 200 times as much.
        assert resident() - before < 16 * 2**20
    finally:
        gc.enable()


def test_an_error_leaves_nothing_behind() -> None:
    def fail(value: Tensor) -> Tensor:
        raise KeyboardInterrupt

    _, model = both(Through(nn.LayerNorm(8), fail))
    with pytest.raises(KeyboardInterrupt):
        model(tokens())
    assert recomputing._THREAD.call is None
    seen: list[Tensor] = []
    with saved_tensors_hooks(lambda t: seen.append(t) or t.detach(), lambda t: t):  # type: ignore[func-returns-value]
        tokens().exp()
    assert len(seen) == 1


def test_a_model_inside_a_model() -> None:
    inner = Through(nn.LayerNorm(8), nn.Linear(8, 8))
    model = Through(nn.LayerNorm(8), inner)
    expected = by_all(model, x := tokens())
    fast.recompute(inner)
    outer = fast.recompute(model)
    assert all(torch.equal(a, b) for a, b in zip(expected, by_all(model, x), strict=True))
    outer.undo()
    assert type(model) is Through is not type(inner)


def test_every_thread_has_its_own_calls() -> None:
    plain, model = both(PlainViT())
    images = [torch.randn(2, 3, 16, 16) for _ in range(4)]
    found: dict[int, list[Tensor]] = {}

    def work(i: int) -> None:
        for _ in range(5):
            found[i] = gradients(model, images[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        torch.testing.assert_close(found[i], gradients(plain, images[i]))


def test_functional_transforms() -> None:
    plain, model = both(Through(nn.LayerNorm(8), nn.Linear(8, 2)))
    x = tokens().detach()

    def loss(x: Tensor, way: Callable[..., Tensor]) -> Tensor:
        return way(x).square().sum()

    for transform in (torch.func.grad, torch.func.hessian, lambda f: torch.vmap(f, in_dims=(0, None))):
        # The norm's parameters require gradients all the while.
        assert torch.equal(transform(loss)(x, model), transform(loss)(x, plain))
    tangent = (torch.ones_like(x),)
    found, expected = (torch.func.jvp(lambda x, way=way: loss(x, way), (x,), tangent)[1] for way in (model, plain))
    assert torch.equal(found, expected)


def test_per_sample_gradients_and_ensembles() -> None:
    plain, model = both(PlainViT())
    images = torch.randn(3, 1, 3, 16, 16)
    found, expected = (
        torch.func.vmap(
            torch.func.grad(lambda p, image, way=way: functional_call(way, p, (image,)).square().sum()), (None, 0)
        )(dict(way.named_parameters()), images)
        for way in (model, plain)
    )
    torch.testing.assert_close(found, expected)
    several = [copy.deepcopy(model) for _ in range(2)]
    parameters, buffers = torch.func.stack_module_state(several)
    out = torch.func.vmap(lambda p, b: functional_call(model, (p, b), (images[0],)))(parameters, buffers)
    torch.testing.assert_close(out[0], plain(images[0]))


def test_forward_mode_over_backward() -> None:
    plain, model = both(Through(nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 2), nn.Tanh())).double())
    x, tangent = torch.randn(2, 3, 5, 8, dtype=torch.float64).unbind()
    found = []
    for way in (plain, model):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x.clone().requires_grad_(), tangent)
            (g,) = torch.autograd.grad(way(dual).sum(), dual, create_graph=True)
            found.append(forward_ad.unpack_dual(g).tangent)
    torch.testing.assert_close(*found)


def test_compiled_in_one_graph() -> None:
    plain, model = both(Through(nn.LayerNorm(8), nn.Linear(8, 2)))
    whole = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = tokens()
    torch.testing.assert_close(torch.autograd.grad(whole(x).sum(), x)[0], torch.autograd.grad(plain(x).sum(), x)[0])


def test_a_part_that_is_compiled() -> None:
    plain, model = both(nn.Sequential(nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2))))
    model[1] = torch.compile(model[1], backend="aot_eager")
    x = tokens()
    torch.testing.assert_close(by_all(model, x), by_all(plain, x))


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_exported_is_plain(strict: bool) -> None:
    plain, model = both(PlainViT())
    images = torch.randn(2, 3, 16, 16)
    batch = torch.export.Dim("batch", min=1, max=64)
    found, expected = (
        torch.export.export(way, (images,), dynamic_shapes={"images": {0: batch}}, strict=strict)
        for way in (model, plain)
    )
    assert [n.target for n in found.graph.nodes] == [n.target for n in expected.graph.nodes]
    other = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(found.module()(other), plain(other))


def test_traced_by_jit() -> None:
    plain, model = both(PlainViT())
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(torch.jit.trace(model, images)(images), plain(images))


def test_on_the_meta_device() -> None:
    _, model = both(Through(nn.LayerNorm(8, device="meta"), nn.Linear(8, 2, device="meta")))
    x = torch.empty(3, 8, device="meta", requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None


def test_without_gradients_nothing_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = both(Through(nn.LayerNorm(8), nn.Linear(8, 2)))

    def entered(self: object) -> None:
        raise AssertionError("a call is followed")

    monkeypatch.setattr(recomputing._Call, "__enter__", entered)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            model(tokens().detach())
    with pytest.raises(AssertionError):
        model(tokens())
