"""What is computed again in the backward pass: the same gradients in less memory, and left alone wherever that would not be so."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from benchmarks.memory import peak_bytes
from vitblocks import Linear
from vitblocks.recompute import through

FIRSTS: dict[str, Callable[[], nn.Module]] = {
    "layer norm": lambda: nn.LayerNorm(8),
    "rms norm": lambda: nn.RMSNorm(8),
    "gelu": nn.GELU,
    "tanh gelu": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "relu6": nn.ReLU6,
    "relu": nn.ReLU,
    "identity": nn.Identity,
    "batch norm": lambda: nn.BatchNorm1d(5),
    "in place": lambda: nn.SiLU(inplace=True),
}


class Twice(nn.Module):
    """Two readers of the same tokens, as queries and keys are."""

    def __init__(self, kind: type[nn.Linear]) -> None:
        super().__init__()
        self.a, self.b = kind(8, 6), kind(8, 6)

    def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
        return factor * self.a(x).tanh() * self.b(x)


def plain(first: nn.Module, x: Tensor, then: Callable[..., Tensor], *rest: object) -> Tensor:
    return then(first(x), *rest)


def gradients(
    way: Callable[..., Tensor], first: nn.Module, x: Tensor, then: nn.Module, *rest: object
) -> list[Tensor | None]:
    parameters = [*first.parameters(), *then.parameters()]
    loss = way(first, x * 1.5, then, *rest).square().sum()
    return list(torch.autograd.grad(loss, [x, *parameters]))


def tokens(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(3, 5, 8, dtype=dtype, requires_grad=True)


def same(first: nn.Module, x: Tensor, then: nn.Module, *rest: object) -> None:
    expected, found = (gradients(way, first, x, then, *rest) for way in (plain, through))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [nn.Linear, Linear])
@pytest.mark.parametrize("name", FIRSTS)
def test_gradients_are_the_same(name: str, kind: type[nn.Linear]) -> None:
    same(FIRSTS[name](), tokens(), Twice(kind), 0.5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_maps(layout: torch.memory_format) -> None:
    image = torch.randn(2, 4, 6, 7).to(memory_format=layout).requires_grad_()
    same(nn.SiLU(), image, nn.Conv2d(4, 4, 3, groups=4))


def test_one_inside_another() -> None:
    inner = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = inner

        def forward(self, x: Tensor) -> Tensor:
            return through(inner[1], inner[0](x), inner[2])

    same(nn.LayerNorm(8), tokens(), Mlp())


@pytest.mark.parametrize("name", ["gelu", "layer norm"])
def test_autocast(name: str) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        same(FIRSTS[name](), tokens(), Twice(Linear))


def test_gradients_of_gradients() -> None:
    norm, then = nn.LayerNorm(8).double(), nn.Linear(8, 2).double()
    assert torch.autograd.gradgradcheck(lambda x: through(norm, x, lambda y: then(y).tanh()), tokens(torch.float64))


def test_backward_twice() -> None:
    norm, then, x = nn.LayerNorm(8), nn.Linear(8, 2), tokens()
    loss = through(norm, x, then).square().sum()
    once, again = (torch.autograd.grad(loss, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(once, again)


def peak(way: Callable[..., Tensor], around: Callable[..., Tensor] = lambda layer, x: layer(x)) -> int:
    """Of a step through eight residual layers."""
    torch.manual_seed(0)
    layers = [(nn.LayerNorm(256), nn.Linear(256, 256)) for _ in range(8)]
    image = torch.randn(64, 64, 256, requires_grad=True)

    def step() -> None:
        x = image
        for norm, linear in layers:
            x = x + around(lambda x, norm=norm, linear=linear: way(norm, x, linear), x)
        x.sum().backward()

    return peak_bytes(step, torch.device("cpu"))


def test_it_takes_less_memory() -> None:
    """Each layer keeps its input, and without it what the norm makes of that, too."""
    assert peak(through) < 0.7 * peak(plain)


def test_checkpointing_around_it_saves_what_it_did() -> None:
    def checkpointed(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return checkpoint(layer, x, use_reentrant=False)

    assert peak(through, checkpointed) <= peak(plain, checkpointed)


def test_hooks_of_somebody_else_see_every_tensor() -> None:
    seen: dict[str, list[tuple[int, ...]]] = {"plain": [], "through": []}
    norm, then, x = nn.LayerNorm(8), nn.Linear(8, 2), tokens()
    for name, way in (("plain", plain), ("through", through)):

        def pack(tensor: Tensor, name: str = name) -> Tensor:
            seen[name].append(tuple(tensor.shape))
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            way(norm, x, then)
    assert seen["plain"] == seen["through"]


def test_a_hook_that_changes_what_comes_out() -> None:
    norm = nn.LayerNorm(8)
    norm.register_forward_hook(lambda module, args, out: 2 * out)
    same(norm, tokens(), nn.Linear(8, 3))


def test_what_the_norm_read_was_changed() -> None:
    x = tokens() * 2
    out = through(nn.LayerNorm(8), x, nn.Linear(8, 3)).sum()
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

    out = through(nn.LayerNorm(8), tokens(), then).sum()
    with torch.no_grad():
        kept[0].mul_(3)
    with pytest.raises(RuntimeError, match="in place"):
        out.backward()


def test_a_layer_that_changes_what_it_gets() -> None:
    class InPlace(nn.Module):
        def forward(self, value: Tensor) -> Tensor:
            return value.mul_(3).sigmoid() * value

    same(nn.Hardswish(), tokens(), InPlace())


def test_nothing_lives_on() -> None:
    norm, then, x = nn.LayerNorm(8), nn.Linear(8, 2), tokens()
    inner = x * 2
    alive = weakref.ref(inner)
    gc.disable()
    try:
        out = through(norm, inner, then).sum()
        del inner
        out.backward()
        del out
        assert alive() is None
    finally:
        gc.enable()


def test_functional_transforms() -> None:
    norm, then, x = nn.LayerNorm(8), nn.Linear(8, 2), tokens().detach()

    def loss(x: Tensor, way: Callable[..., Tensor]) -> Tensor:
        return way(norm, x, then).square().sum()

    for transform in (torch.func.grad, torch.func.hessian, lambda f: torch.vmap(f, in_dims=(0, None))):
        # The norm's parameters require gradients all the while.
        assert torch.equal(transform(loss)(x, through), transform(loss)(x, plain))
    tangent = (torch.ones_like(x),)
    found, expected = (torch.func.jvp(lambda x, way=way: loss(x, way), (x,), tangent)[1] for way in (through, plain))
    assert torch.equal(found, expected)


def test_compiled_in_one_graph() -> None:
    norm, then, x = nn.LayerNorm(8), nn.Linear(8, 2), tokens()
    whole = torch.compile(lambda x: through(norm, x, then).sum(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        torch.autograd.grad(whole(x), x)[0], torch.autograd.grad(plain(norm, x, then).sum(), x)[0]
    )


def test_on_the_meta_device() -> None:
    norm, then = nn.LayerNorm(8, device="meta"), nn.Linear(8, 2, device="meta")
    assert through(norm, torch.empty(3, 8, device="meta"), then).shape == (3, 2)
