"""A model written out as one file: torch alone, the same state, the same outputs to the bit; an error where that cannot be."""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import vitblocks
from tests.zoo.tiny import MOBILE, T2T, TINY, VIT
from vitblocks import (
    Block,
    Chain,
    ClassPool,
    ClassToken,
    ConvEmbed,
    GatedMlp,
    GlobalAttention,
    KernelAttend,
    LayerNorm,
    LearnedPosition,
    LocalWindowAttention,
    MeanPool,
    Mlp,
    Model,
    OnSequence,
    RelativeBias,
    Residual,
    RMSNorm,
    Rotary2d,
    Stage,
    TalkingHeadsAttention,
    eject,
    swap_attention,
    token_performer,
    zoo,
)
from vitblocks.contract import contract
from vitblocks.demo.hybrid import hybrid
from vitblocks.depthwise import DepthwiseConv2d
from vitblocks.ejection import pairwise
from vitblocks.faster import with_torch_types


def load(text: str) -> nn.Module:
    """The model of a file, run as a module of its own."""
    module = ModuleType("flat_model")
    sys.modules["flat_model"] = module
    exec(compile(text, "flat_model.py", "exec"), vars(module))
    return module.build_model()


def noise(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def check(model: nn.Module, image: Tensor, *, text: str | None = None) -> str:
    """The text of the model, whose outputs and gradients are the model's in float64, in evaluation and in training."""
    model = model.double()
    text = eject(model) if text is None else text
    flat = load(text)
    expected, actual = model.state_dict(), flat.state_dict()
    assert list(actual) == list(expected)
    assert {k: (t.shape, t.dtype) for k, t in actual.items()} == {k: (t.shape, t.dtype) for k, t in expected.items()}
    flat.load_state_dict(expected)
    model = with_torch_types(model, DepthwiseConv2d)  # as the file has them
    for mode in (False, True):
        model.train(mode), flat.train(mode)
        ours, theirs = model(image), flat(image)
        assert torch.equal(ours, theirs)
    ours.square().sum().backward(), theirs.square().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    for name, parameter in flat.named_parameters():
        own = gradients[name]
        assert (own is None) == (parameter.grad is None), name
        assert own is None or parameter.grad is None or torch.equal(own, parameter.grad), name
    return text


@pytest.mark.parametrize("name", TINY)
def test_zoo(name: str) -> None:
    side = TINY[name].image_size
    check(TINY[name].build(), noise(2, 3, side, side))


WITH_OPTIONS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int]]] = {
    "registers, mean, no biases": (
        lambda: zoo.ViT(**VIT, pool="mean", prefix_tokens=2, qkv_bias=False, norm=RMSNorm),
        (16, 16),
    ),
    "another size than it was made for": (lambda: zoo.ViT(**VIT), (24, 12)),
    "performer": (lambda: zoo.T2TViT(**T2T, token_layer=partial(token_performer, dropout=0.0)), (16, 16)),
    "LeViT, two heads": (
        lambda: TINY["LeViT"].build(distilled=True),
        (32, 32),
    ),
    "MobileViT, resized inside": (lambda: zoo.MobileViT(**MOBILE), (48, 40)),
    "CrossViT, two image sizes": (lambda: TINY["CrossViT"].build(lg_image_size=24, cross_attn_depth=2), (16, 16)),
    "RegionViT, its code's padding": (
        lambda: TINY["RegionViT"].build(carry_padding=True, use_peg=True, tokenize_local_3_conv=True, window_size=3),
        (32, 32),
    ),
    "ATS, tokens dropped": (lambda: TINY["ATSViT"].build(drop_tokens=True), (16, 16)),
    "DeepViT, all that it has": (lambda: zoo.DeepViT(**{**VIT, "depth": 4}), (16, 16)),
    "Swin, padded windows": (TINY["Swin"].build, (40, 24)),
    "CrossFormer on a map like its windows": (TINY["CrossFormer"].build, (16, 32)),
}


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_options(name: str) -> None:
    build, size = WITH_OPTIONS[name]
    check(build(), noise(2, 3, *size))


def test_hybrid() -> None:
    text = check(hybrid(dim=16, heads=2, window=4), noise(2, 1, 12, 20))
    assert "def build_model" in text


def test_swapped_attention() -> None:
    model = zoo.ViT(**{**VIT, "depth": 3})
    swap_attention(model, TalkingHeadsAttention, where=slice(0, 1))
    swap_attention(model, LocalWindowAttention, where=slice(1, 2), window=3, position_bias=RelativeBias(2, 3))
    check(model, noise(2, 3, 16, 16))


def test_composed_of_parts() -> None:
    """Parts that no zoo model has together: rotary positions, kernel attention, a gated feed-forward, chains of several shapes."""

    def attention(**options: Any) -> GlobalAttention:
        return GlobalAttention(8, 2, **options)

    layers = [
        ClassToken(8),
        Block(8, attention(rotary=Rotary2d(4)), GatedMlp(8, 16)),
        Block(8, attention(attend=KernelAttend(4)), Mlp(8, 16), layer_scale=0.1),
        Chain(attn=Residual(8, attention()), mlp=Residual(8, Mlp(8, 16))),
        Chain(first=Residual(8, Mlp(8, 16)), then=Chain(attn=Residual(8, attention()))),
        Block(8, attention(position_bias=RelativeBias(2, 4)), Mlp(8, 16)),
    ]
    model = Model(ConvEmbed(4, 8), [Stage(layers)], norm=LayerNorm(8), pool=ClassPool(), head=nn.Linear(8, 3))
    check(model, noise(2, 3, 16, 16))


def test_needs_torch_alone(tmp_path: Path) -> None:
    """In a process that has neither this package nor its dependencies."""
    for name, model in (("cait", TINY["CaiT"].build()), ("hybrid", hybrid(dim=8, heads=2))):
        model = model.double().eval()
        image = noise(2, 3 if name == "cait" else 1, 16, 16)
        (tmp_path / f"{name}.py").write_text(eject(model))
        torch.save(
            {"state": model.state_dict(), "image": image, "output": model(image).detach()}, tmp_path / f"{name}.pt"
        )
    script = """
        import sys

        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {"vitblocks", "einops", "opt_einsum", "safetensors"}:
                    raise ImportError(name)

        sys.meta_path.insert(0, Block())
        import torch
        for name in ("cait", "hybrid"):
            saved = torch.load(f"{name}.pt")
            model = __import__(name).build_model().double().eval()
            model.load_state_dict(saved["state"])
            assert torch.equal(model(saved["image"]), saved["output"]), name
        assert not {"vitblocks", "einops", "opt_einsum"} & set(sys.modules)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        env={"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("equation", ["bgh,bhnd,bhmd->bgnm", "bhnf,bhmf,bhme->bhne", "bgh,bhnm,bgmd->bgnd"])
def test_contraction_takes_the_same_steps(equation: str) -> None:
    """The planner in the file chooses as the package's does: the results are the same to the bit, whatever the sizes."""
    draw = torch.Generator().manual_seed(2)
    for _ in range(60):
        terms = equation.split("->")[0].split(",")
        sizes = {index: int(torch.randint(1, 24, (), generator=draw)) for index in set(equation) - set(",->")}
        operands = [torch.randn([sizes[i] for i in t], generator=draw, dtype=torch.float64) for t in terms]
        assert torch.equal(pairwise.contract(equation, *operands), contract(equation, *operands)), sizes


def test_depth_costs_no_lines() -> None:
    """Equal blocks are one class and a loop, and sizes that differ are its arguments."""
    shallow, deep = (eject(zoo.ViT(**{**VIT, "depth": depth})) for depth in (3, 12))
    assert len(deep.splitlines()) == len(shallow.splitlines())
    rising = eject(zoo.ViT(**{**VIT, "depth": 3}, drop_path=0.2))
    assert "Block(rate=rate) for rate in (0.0, 0.1, 0.2)" in rising


def test_alternating_blocks_are_a_loop() -> None:
    """Blocks of two kinds in turn, with rising rates: as many lines for two pairs more."""
    sizes: dict[str, Any] = {"num_classes": 5, "dim": 8, "heads": (2,), "window": 4, "drop_path": 0.2}
    fewer, more = (eject(zoo.Swin(**sizes, depths=(depth,)), sample=torch.randn(1, 3, 32, 32)) for depth in (4, 8))
    assert "for layer in (" in fewer
    assert len(more.splitlines()) <= len(fewer.splitlines()) + 4
    model = zoo.Swin(**sizes, depths=(8,)).eval()
    flat = load(more).eval()
    flat.load_state_dict(model.state_dict())
    image = noise(1, 3, 48, 32, dtype=torch.float32)
    with torch.backends.mkldnn.flags(enabled=False):  # vitblocks.Linear takes F.linear, as the file does
        assert torch.equal(model(image), flat(image))


def test_only_what_is_used_is_written() -> None:
    text = eject(zoo.ViT(**VIT))
    for unused in ("self.rotary", "self.position_bias", "checkpoint(", "self.scale", "feature_maps", "DropPath"):
        assert unused not in text, unused
    with_dropout = eject(zoo.ViT(**VIT, drop_path=0.1, dropout=0.1))
    assert "DropPath" in with_dropout
    assert "nn.Dropout(p=0.1)" in with_dropout


def test_dropout_is_the_same_from_the_same_seed() -> None:
    model = zoo.ViT(**VIT, drop_path=0.3, dropout=0.2, attn_dropout=0.1, emb_dropout=0.1).double()
    flat = load(eject(model))
    flat.load_state_dict(model.state_dict())
    outputs = []
    for each in (model, flat):
        torch.manual_seed(3)
        outputs.append(each.train()(noise(2, 3, 16, 16)))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype(dtype: torch.dtype) -> None:
    model = zoo.ViT(**VIT).to(dtype).eval()
    flat = load(eject(model)).eval()
    assert {p.dtype for p in flat.parameters()} == {dtype}
    flat.load_state_dict(model.state_dict())
    image = noise(2, 3, 16, 16, dtype=dtype)
    torch.testing.assert_close(model(image), flat(image))
    with torch.backends.mkldnn.flags(enabled=False):  # vitblocks.Linear takes F.linear, as the file does
        assert torch.equal(model(image), flat(image))


def test_frozen_parameters_stay_frozen() -> None:
    model = zoo.ViT(**VIT)
    model.embed.requires_grad_(False)
    model.get_parameter("stages.0.layers.0.token").requires_grad_(False)
    flat = load(eject(model))
    assert {n: p.requires_grad for n, p in flat.named_parameters()} == {
        n: p.requires_grad for n, p in model.named_parameters()
    }
    assert not any(p.requires_grad for p in load(eject(model.requires_grad_(False))).parameters())


def test_model_is_left_as_it_was() -> None:
    model = zoo.ViT(**VIT)
    model.stages[0].eval()
    modes = {name: module.training for name, module in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    eject(model)
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in state.items())
    assert torch.equal(random, torch.get_rng_state())


# Modules of one's own.


def own_module(folder: Path, source: str, name: str = "own_parts") -> ModuleType:
    """A module of the user's, imported from a file."""
    path = folder / f"{name}.py"
    path.write_text(textwrap.dedent(source))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def around(layer: nn.Module) -> Model:
    """A small model with one layer of choice."""
    return Model(
        ConvEmbed(4, 8),
        [Stage([LearnedPosition(8, 4), layer])],
        norm=LayerNorm(8),
        pool=MeanPool(),
        head=nn.Linear(8, 3),
    )


def test_own_module(tmp_path: Path) -> None:
    source = '''
        import math
        from dataclasses import dataclass

        import torch.nn.functional as F
        from torch import nn

        from vitblocks.grid import num_prefix as count

        FACTOR = 0.5
        DOUBLE = 2 * FACTOR


        @dataclass(frozen=True)
        class Setting:
            power: int = 2

            def apply(self, x):
                return x**self.power


        def gate(x):
            # A comment stays.
            return F.silu(x) * DOUBLE


        class Base(nn.Module):
            limit = 3.0

            def finish(self, x):
                return x.clamp(-self.limit, self.limit)


        class Odd(Base):
            """A layer of one's own."""

            def __init__(self, dim, act=gate):
                super().__init__()
                self.setting = Setting(3)
                self.act = act
                self.power = math.pi
                self.lin = nn.Linear(dim, dim)
                self.register_buffer("seen", nn.Parameter(self.lin.weight[0] * 0.0).detach())

            def forward(self, x, grid):
                assert count(x, grid) == 0
                return self.finish(x + self.act(self.setting.apply(self.lin(x))) + self.seen + self.power)
    '''
    own = own_module(tmp_path, source)
    text = check(around(own.Odd(8)), noise(2, 3, 16, 16))
    assert "# A comment stays." in text
    assert "FACTOR = 0.5" in text


def test_transformer_of_torch() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True)
    check(around(OnSequence(nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8)))), noise(2, 3, 16, 16))


# What cannot be written out.


class Shared(nn.Module):
    """A layer that tests change."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(8, 8)

    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        return self.lin(x)


class Callback(Shared):
    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        return self.function(self.lin(x))  # type: ignore[operator]


class Hidden(Shared):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.randn(8)

    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        return self.lin(x) + self.table


class Unsaved(Shared):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.randn(8), persistent=False)


class Looking(Shared):
    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        return getattr(self, "li" + "n" * len(grid[:1]))(x)


class Making(Shared):
    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        return Shared().to(x)(x, grid)


def closure(factor: int) -> Callable[[Tensor], Tensor]:
    def scaled(x: Tensor) -> Tensor:
        return x * factor

    return scaled


def local_class() -> nn.Module:
    class Local(Shared):
        def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
            return self.lin(x) * 2

    return Local()


def tied() -> nn.Module:
    first, second = Shared(), Shared()
    second.lin.weight = first.lin.weight
    return Chain(first=first, second=second)


def shared() -> nn.Module:
    layer = Shared()
    return Chain(first=layer, second=layer)


def viewed() -> nn.Module:
    first, second = Shared(), Shared()
    second.lin.weight.data = first.lin.weight.data.T
    return Chain(first=first, second=second)


def hooked() -> nn.Module:
    layer = Shared()
    layer.lin.register_forward_hook(lambda *_: None)
    return layer


def patched() -> nn.Module:
    layer = Shared()
    layer.forward = lambda x, grid: x  # type: ignore[method-assign]
    return layer


def two_dtypes() -> nn.Module:
    return Chain(first=Shared(), second=Shared().double())


def parametrized() -> nn.Module:
    layer = Shared()
    weight_norm(layer.lin)
    return layer


def compiled() -> nn.Module:
    layer = Shared()
    layer.compile(backend="eager")
    return layer


def foreign() -> nn.Module:
    from einops.layers.torch import Rearrange

    return Chain(first=Shared(), second=OnSequence(Rearrange("b n c -> b n c")))


REFUSED: dict[str, tuple[Callable[[], nn.Module], type[Exception], str]] = {
    "lambda": (lambda: Callback(lambda x: x), TypeError, r"layers\.1 \(Callback\).*lambda"),
    "function in a function": (lambda: Callback(closure(2)), TypeError, r"layers\.1 \(Callback\).*inside a function"),
    "an object": (lambda: Callback(object()), TypeError, r"layers\.1 \(Callback\).*function"),
    "tensor": (Hidden, TypeError, r"layers\.1 \(Hidden\).*table.*does not register"),
    "buffer that is not saved": (Unsaved, TypeError, r"layers\.1 \(Unsaved\).*table.*state_dict"),
    "computed name": (Looking, TypeError, r"layers\.1 \(Looking\).*getattr"),
    "module made in forward": (Making, TypeError, r"layers\.1 \(Making\).*new module"),
    "class in a function": (local_class, TypeError, r"layers\.1 \(Local\).*inside a function"),
    "tied parameters": (tied, ValueError, r"second\.lin \(Linear\).*weight shares memory with .*first\.lin\.weight"),
    "parameters of one memory": (viewed, ValueError, r"second\.lin \(Linear\).*shares memory"),
    "shared module": (shared, ValueError, r"second \(Shared\).*first"),
    "hook": (hooked, ValueError, r"layers\.1\.lin \(Linear\).*hooks"),
    "forward on the instance": (patched, TypeError, r"layers\.1 \(Shared\).*forward was replaced"),
    "parametrization": (parametrized, TypeError, r"layers\.1\.lin .*parametrized"),
    "compiled": (compiled, TypeError, r"layers\.1 \(Shared\).*compiled"),
    "several dtypes": (two_dtypes, ValueError, "one floating dtype"),
    "another package": (foreign, TypeError, r"second\.module \(Rearrange\).*einops"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    build, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        eject(around(build()))


def test_refuses_what_is_no_module() -> None:
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got dict"):
        eject({})


def test_refuses_compiled_model() -> None:
    with pytest.raises(TypeError, match="compiled"):
        eject(torch.compile(zoo.ViT(**VIT), backend="eager"))


def test_refuses_code_of_other_packages(tmp_path: Path) -> None:
    source = """
        from einops import rearrange
        from torch import nn


        class Uses(nn.Module):
            def forward(self, x, grid):
                return rearrange(x, "b n c -> b n c")
    """
    with pytest.raises(TypeError, match=r"layers\.1 \(Uses\).*einops"):
        eject(around(own_module(tmp_path, source, "uses_einops").Uses()))


CHANGED = """
    from torch import nn

    FACTOR = 2.0
    TABLE = {"factor": [2.0, 1.0][0]}


    class Scaled(nn.Module):
        def forward(self, x, grid):
            return self.scaled(x) + (TABLE["factor"] * x).sin() * FACTOR

        def scaled(self, x):
            return x * 3
"""


def test_refuses_what_is_not_what_its_source_says(tmp_path: Path) -> None:
    own = own_module(tmp_path, CHANGED, "changed_parts")
    vars(own)["FACTOR"] = 3.0
    with pytest.raises(TypeError, match=r"FACTOR.*no longer what its source says"):
        eject(around(own.Scaled()))
    vars(own)["FACTOR"] = 2.0
    own.Scaled.scaled = lambda self, x: x
    with pytest.raises(TypeError, match=r"Scaled\.scaled is no longer what its source says"):
        eject(around(own.Scaled()))


def test_outputs_are_compared(tmp_path: Path) -> None:
    """A difference that the source does not show is found by running both."""
    own = own_module(tmp_path, CHANGED, "differing_parts")
    own.TABLE["factor"] = 5.0
    with pytest.raises(ValueError, match="other outputs"):
        eject(around(own.Scaled()))
    with pytest.raises(ValueError, match="other outputs"):
        eject(around(own.Scaled()), sample=torch.randn(1, 3, 16, 16))


def test_sample_must_run() -> None:
    with pytest.raises(ValueError, match="sample: the model fails on it"):
        eject(zoo.ViT(**VIT), sample=torch.randn(1, 3, 18, 16))


def test_is_a_function_of_the_package() -> None:
    """Whatever was imported before it: the function is not hidden by a module of its name."""
    assert callable(vitblocks.eject)
    assert vitblocks.eject is eject
