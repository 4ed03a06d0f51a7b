"""Which products of a model to pack, by measuring them on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from math import prod
from statistics import median
from time import perf_counter
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ..attention import SoftmaxAttend
from ..feedforward import ConvFeedForward, GatedMlp, Mlp
from ..linear import LINEARS
from .affine import CONV2DS
from .headwise import HeadwiseAttend
from .owners import Owners
from .packed import PackedConv2d, PackedLinear, activation_of
from .parts import behaves_as, child
from .report import PLAIN, Packing

Pack: TypeAlias = Literal["measure", "always", "never"]
Shape: TypeAlias = tuple[int, ...]
AttendShapes: TypeAlias = tuple[Shape, ...]
"""Of queries, keys and values, and of the bias if there is one."""

HEADWISE = "head by head"

_ROUNDS = 7
_ROUND_SECONDS = 0.004
_GAIN = 1.02
"""How much faster than PyTorch's own way another must be measured to be taken."""

# (part, a product, the activation that alone reads what it gives)
_ACTIVATED: list[tuple[type[nn.Module], str, str]] = [
    (Mlp, "fc1", "act"),
    (GatedMlp, "gate", "act"),
    (ConvFeedForward, "conv1", "norm1"),
    (ConvFeedForward, "conv", "norm"),
]


class Site(NamedTuple):
    """Where a product stands, and the name of the activation after it if there is one."""

    parent: nn.Module
    name: str
    act: str | None


class Way(NamedTuple):
    """A module that computes a product, and whether its activation with it."""

    module: nn.Module
    with_act: bool = False


def sites(model: nn.Module) -> Iterator[Site]:
    """Every Linear and Conv2d that can be replaced."""
    owners = Owners(model)
    for parent in model.modules():
        if type(parent).__module__.startswith("torch.") and not isinstance(parent, (nn.Sequential, nn.ModuleList)):
            continue  # PyTorch's own layers read the weights of their parts without calling them
        for name, module in parent.named_children():
            if owners.alone(module) and _packable(module):
                yield Site(parent, name, _activation_after(parent, name))


def _packable(module: nn.Module) -> bool:
    if type(module) in LINEARS:
        return True
    return (
        type(module) in CONV2DS
        and isinstance(module, nn.Conv2d)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _activation_after(parent: nn.Module, name: str) -> str | None:
    after = next((act for part, before, act in _ACTIVATED if before == name and behaves_as(parent, part)), None)
    if behaves_as(parent, nn.Sequential):
        inner = [key for key, module in parent.named_children() if type(module) is not nn.Identity]
        after = next(iter(inner[inner.index(name) + 1 :]), None)
    return after if after is not None and activation_of(child(parent, after)) is not None else None


def pack_products(model: nn.Module, inputs: Mapping[nn.Module, Shape], choice: Pack) -> list[Packing]:
    """Pack the products that were called, each in the way that is fastest for the shape it was called with."""
    _part_shared_activations(model)
    owners = Owners(model)
    measured: dict[str, dict[str, float]] = {}
    done = []
    for parent, name, act in list(sites(model)):
        module = child(parent, name)
        shape = inputs.get(module)
        if shape is None or 0 in shape:
            continue
        activation = None if act is None else child(parent, act)
        ways, key = _ways(module, shape, activation), _describe(module, shape, activation)
        if choice == "measure" and key not in measured:
            measured[key] = _measure(ways, activation, _input_like(module, shape))
        seconds = measured.get(key, {})
        way = _fastest(seconds) if seconds else list(ways)[-1]
        done.append(Packing(owners.name(module), key, way, seconds))
        setattr(parent, name, ways[way].module.eval())
        if act is not None and ways[way].with_act:
            setattr(parent, act, nn.Identity())
    return done


def choose_attends(model: nn.Module, inputs: Mapping[nn.Module, AttendShapes]) -> list[Packing]:
    """Compute softmax attentions head by head where that is faster for the shapes they were called with."""
    owners = Owners(model)
    measured: dict[AttendShapes, dict[str, float]] = {}
    done = []
    for parent, name in list(attends(model)):
        attend = child(parent, name)
        shapes = inputs.get(attend)
        if shapes is None or any(0 in shape for shape in shapes):
            continue
        assert isinstance(attend, SoftmaxAttend)
        dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        ways = {PLAIN: Way(attend), HEADWISE: Way(HeadwiseAttend(attend, dtype))}
        if shapes not in measured:
            measured[shapes] = _measure(ways, None, *_qkv_like(shapes, dtype))
        seconds = measured[shapes]
        way = _fastest(seconds)
        key = f"softmax attention of {tuple(shapes[0])} to {shapes[1][-2]}{' with a bias' if len(shapes) > 3 else ''}"
        done.append(Packing(owners.name(attend), key, way, seconds))
        setattr(parent, name, ways[way].module.eval())
    return done


def attends(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Where softmax attends stand."""
    owners = Owners(model)
    for parent in model.modules():
        for name, module in parent.named_children():
            if type(module) is SoftmaxAttend and owners.alone(module):
                yield parent, name


def _qkv_like(shapes: AttendShapes, dtype: torch.dtype) -> list[Tensor]:
    """Queries, keys and values as projections give them, heads side by side, and a bias if there was one."""
    parts = [
        torch.randn(*shape[:-3], shape[-2], shape[-3], shape[-1]).transpose(-3, -2).to(dtype) for shape in shapes[:3]
    ]
    return [*parts, *(torch.zeros(shape, dtype=dtype) for shape in shapes[3:])]


def _part_shared_activations(model: nn.Module) -> None:
    """A convolutional feed-forward calls one activation twice; where its norms are folded away, each convolution gets one of its own."""
    for module in model.modules():
        if not behaves_as(module, ConvFeedForward) or type(child(module, "act")) is nn.Identity:
            continue
        if type(child(module, "norm1")) is type(child(module, "norm")) is nn.Identity:
            module.norm1, module.norm = deepcopy(child(module, "act")), child(module, "act")
            module.act = nn.Identity()


def _ways(module: nn.Module, shape: Shape, act: nn.Module | None) -> dict[str, Way]:
    """The ways to compute a product, PyTorch's own first, the one that takes in most last."""

    def packed(act: nn.Module | None) -> nn.Module:
        if isinstance(module, nn.Linear):
            return PackedLinear(module, prod(shape[:-1]), act)
        assert isinstance(module, nn.Conv2d)
        return PackedConv2d(module, shape, act)

    ways = {PLAIN: Way(module), "packed": Way(packed(None))}
    if act is not None:
        ways["packed with activation"] = Way(packed(act), with_act=True)
    return ways


def _describe(module: nn.Module, shape: Shape, act: nn.Module | None) -> str:
    after = "" if act is None else f" and {type(act).__name__}"
    if isinstance(module, nn.Linear):
        return f"Linear {module.in_features} -> {module.out_features} on {prod(shape[:-1])} rows{after}"
    assert isinstance(module, nn.Conv2d)
    size = "x".join(map(str, module.kernel_size))
    step = "" if module.stride == (1, 1) else f" with stride {'x'.join(map(str, module.stride))}"
    groups = "" if module.groups == 1 else f" in {module.groups} groups"
    return f"Conv2d {size} {module.in_channels} -> {module.out_channels}{step}{groups} on {tuple(shape)}{after}"


def _input_like(module: nn.Module, shape: Shape) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    x = torch.randn(shape).to(weight.dtype)
    return x.contiguous(memory_format=torch.channels_last) if isinstance(module, nn.Conv2d) else x


def _measure(ways: Mapping[str, Way], act: nn.Module | None, *x: Tensor) -> dict[str, float]:
    """Seconds for one call of each way, the activation included: medians of rounds that take turns."""

    def run(way: Way) -> Callable[[], object]:
        if act is None or way.with_act:
            return lambda: way.module(*x)
        return lambda: act(way.module(*x))

    with torch.no_grad():
        calls = {name: run(way) for name, way in ways.items()}
        for call in calls.values():
            call()
        rounds: dict[str, list[float]] = {name: [] for name in calls}
        times = {name: max(1, int(_ROUND_SECONDS / _seconds(call, 1))) for name, call in calls.items()}
        for _ in range(_ROUNDS):
            for name, call in calls.items():
                rounds[name].append(_seconds(call, times[name]))
    return {name: median(taken) for name, taken in rounds.items()}


def _seconds(call: Callable[[], object], times: int) -> float:
    start = perf_counter()
    for _ in range(times):
        call()
    return (perf_counter() - start) / times


def _fastest(seconds: Mapping[str, float]) -> str:
    best = min(seconds, key=lambda way: seconds[way])
    return best if seconds[PLAIN] > _GAIN * seconds[best] else PLAIN
