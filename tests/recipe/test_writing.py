"""Models as files that need torch alone."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitblocks
from tests.zoo.tiny import TINY
from vitblocks import Block, Chain, LocalWindowAttention, Mlp, TalkingHeadsAttention, ViT, swap_attention, to_source
from vitblocks.demo.hybrid import hybrid

VIT: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 4,
    "num_classes": 5,
    "dim": 8,
    "depth": 3,
    "heads": 2,
    "mlp_dim": 16,
}


def load(text: str) -> ModuleType:
    """A written file as a module of this process."""
    module = ModuleType("written")
    sys.modules["written"] = module  # dataclasses look their module up
    exec(compile(text, "written.py", "exec"), vars(module))
    return module


def loss_and_gradients(model: nn.Module, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(1)
    outputs = model.train()(image)
    loss = (outputs * torch.arange(outputs.numel()).reshape(outputs.shape)).sum()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def check(model: nn.Module, image: Tensor, *, verify: bool = False) -> str:
    """Write a model, and compare the file's in evaluation and in a step of training. Returns the file."""
    model = model.double()
    text = to_source(model, sample=image, verify=verify)
    written = load(text).build_model().double()
    assert list(written.state_dict()) == list(model.state_dict())
    written.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(image), written.eval()(image))
    (loss, ours), (same, theirs) = loss_and_gradients(model, image), loss_and_gradients(written, image)
    assert torch.equal(loss, same)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    return text


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("name", TINY)
def test_every_zoo_class(name: str) -> None:
    text = check(TINY[name].build(), noise(2, 3, TINY[name].image_size, TINY[name].image_size))
    assert "vitblocks" not in text.split("\n", 1)[1]
    assert not re.search(r"\b(einops|part|Unpack)\b *import|import .*einops", text)


def test_runs_alone_with_torch_only(tmp_path: Path) -> None:
    """In a fresh interpreter that can import nothing of ours, isolated from the environment: built, loaded, trained one step."""
    for name in ("CaiT", "hybrid"):
        model = TINY[name].build() if name in TINY else hybrid(dim=8, heads=2)
        image = noise(2, 3 if name in TINY else 1, 16, 16)
        (tmp_path / f"{name}.py").write_text(to_source(model.double(), verify=False))
        output = model.eval()(image).detach()
        state = {key: value.clone() for key, value in model.state_dict().items()}
        _, gradients = loss_and_gradients(model, image)
        torch.save({"state": state, "image": image, "output": output, "gradients": gradients}, tmp_path / f"{name}.pt")
    script = """
        import sys

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {"vitblocks", "tests", "einops", "opt_einsum", "safetensors"}:
                    raise ImportError(name)

        sys.meta_path.insert(0, Refuse())
        sys.path.insert(0, sys.argv[1])
        import torch
        torch.set_num_threads(1)  # as here: sums in another order end in other bits
        for name in ("CaiT", "hybrid"):
            saved = torch.load(f"{sys.argv[1]}/{name}.pt")
            model = __import__(name).build_model().double().eval()
            model.load_state_dict(saved["state"])
            assert torch.equal(model(saved["image"]), saved["output"]), name
            torch.manual_seed(1)
            out = model.train()(saved["image"])
            (out * torch.arange(out.numel()).reshape(out.shape)).sum().backward()
            for key, gradient in saved["gradients"].items():
                assert torch.equal(model.get_parameter(key).grad, gradient), key
            torch.optim.SGD(model.parameters(), 0.1).step()
        assert not {"vitblocks", "einops", "opt_einsum"} & set(sys.modules)
    """
    run = subprocess.run(
        [sys.executable, "-I", "-c", textwrap.dedent(script), str(tmp_path)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_a_width_is_a_number_in_the_file() -> None:
    text = to_source(TINY["CaiT"].build(), verify=False)
    wider = load(re.sub(r"\bdim=8, depth=2", "dim=12, depth=4", text)).build_model()
    image = torch.randn(2, 3, 16, 16)
    assert wider(image).shape == (2, 5)
    assert wider.get_parameter("head.weight").shape == (5, 12)
    wider(image).sum().backward()
    assert sum(isinstance(m, nn.LayerNorm) for m in wider.modules()) > sum(
        isinstance(m, nn.LayerNorm) for m in TINY["CaiT"].build().modules()
    )


def test_only_what_is_used_is_written() -> None:
    text = to_source(ViT(**VIT), verify=False)
    for unused in (
        "feature_maps",
        "gradient_checkpointing",
        "extra_repr",
        "TalkingHeads",
        "class Partition",
        "Raises:",
    ):
        assert unused not in text, unused
    assert "def extra_repr" not in text


def test_swapped_shared_and_taken_away() -> None:
    model = ViT(**VIT)
    swap_attention(model, LocalWindowAttention, where=slice(1, None), window=2)
    layers: Any = model.stages[0].layers
    layers[2].mlp = layers[3].mlp
    layers.append(vitblocks.PEG(8))
    text = check(model, noise(2, 3, 16, 16))
    assert re.search(r"for path in \('stages\.0\.layers\.\d\.attn', 'stages\.0\.layers\.\d\.attn'\)", text)
    again = load(text).build_model()
    assert again.stages[0].layers[2].mlp is again.stages[0].layers[3].mlp
    del layers[0]
    text = to_source(model, verify=False)
    assert list(load(text).build_model().state_dict()) == list(model.state_dict())


HOSTILE = ["__import__('os')", 'a"; raise SystemExit; "', "class", "a b", "é", "x\ny", "\\"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_submodules_are_never_code(name: str) -> None:
    """As a name of an argument, as a child that was put in since, and as one of a container."""
    inner = Block(8, TalkingHeadsAttention(8, 2), Mlp(8))
    inner.add_module(name, nn.Linear(2, 2))
    for model in (Chain(**{name: inner}), Chain(a=inner), nn.Sequential(), nn.ModuleDict()):
        if not isinstance(model, Chain):
            model.add_module(name, inner)
        written = load(to_source(model, verify=False)).build_model()
        assert list(written.state_dict()) == list(model.state_dict())


# Modules of one's own.


def own_module(folder: Path, source: str, name: str) -> Any:
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


def around(layer: nn.Module) -> nn.Module:
    """A small model with one layer of choice."""
    return vitblocks.Model(
        vitblocks.ConvEmbed(4, 8),
        [vitblocks.Stage([vitblocks.LearnedPosition(8, 4), layer])],
        norm=vitblocks.LayerNorm(8),
        pool=vitblocks.MeanPool(),
        head=nn.Linear(8, 3),
    )


OWN = '''
    import math
    from dataclasses import dataclass

    import torch.nn.functional as F
    import torch.utils.checkpoint
    from einops import rearrange as turned
    from torch import nn
    from torch.nn import functional

    import vitblocks.block as blocks
    from vitblocks import part
    from vitblocks.grid import num_prefix as count

    FACTOR = 0.5
    DOUBLE = 2 * FACTOR


    def check_heads(x):
        """Of the name of a function of the package."""
        return x * FACTOR


    @part
    @dataclass(frozen=True)
    class OwnSetting:
        power: int = 2

        def apply(self, x):
            return x**self.power


    @part
    def own_gate(x):
        # A comment stays.
        return F.silu(x) * DOUBLE + functional.relu(x)


    class Base(nn.Module):
        limit = 3.0
        other = 4.0

        def finish(self, x):
            return x.clamp(-self.limit, self.limit)

        # A comment of what goes.
        def unused(self, x):
            return x / 0


    @part
    class OwnLayer(Base):
        """A layer of one's own.

        More.
        """

        def __init__(self, dim, act=own_gate, setting=OwnSetting(3)):
            super().__init__()
            self.setting = setting
            self.act = act
            self.power = math.pi
            self.lin = nn.Linear(dim, dim)
            self.block = blocks.Block(dim, blocks.Chain(), blocks.Chain()).norm1
            self.helper = Helper()

        def forward(self, x, grid):
            assert count(x, grid) == 0
            x = turned(turned(x, "b n c -> b c n"), "b c n -> b n c")
            x = torch.utils.checkpoint.checkpoint(self.block, x, use_reentrant=False)
            rows = [check_heads for check_heads in (1, 2)]
            return self.helper(self.finish(x + self.act(self.setting.apply(self.lin(check_heads(x)))) + self.power * len(rows)))


    class Helper(nn.Module):
        """Not registered: a part made it."""

        def forward(self, x):
            return x + 1
'''


def test_parts_of_ones_own(tmp_path: Path) -> None:
    own = own_module(tmp_path, OWN, "own_parts")
    layer = Chain(own=own.OwnLayer(8, setting=own.OwnSetting(2)), block=Block(8, TalkingHeadsAttention(8, 2), Mlp(8)))
    text = check(around(layer), noise(2, 3, 16, 16), verify=True)
    assert "# A comment stays." in text
    assert "A comment of what goes" not in text
    assert "FACTOR = 0.5" in text
    assert "def check_heads_2(" in text
    assert "unused" not in text
    assert "other = " not in text
    assert "More." not in text


def test_transformer_of_torch() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), enable_nested_tensor=False)
    check(around(vitblocks.OnSequence(encoder)), noise(2, 3, 16, 16))


def test_code_of_other_packages(tmp_path: Path) -> None:
    source = """
        import safetensors
        from torch import nn
        from vitblocks import part

        @part
        class OwnForeign(nn.Module):
            def forward(self, x, grid):
                return x if safetensors else x
    """
    own = own_module(tmp_path, source, "own_foreign")
    with pytest.raises(ValueError, match=r"own_foreign, line 9: the code needs safetensors"):
        to_source(around(own.OwnForeign()))


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    source = """
        from torch import nn
        from vitblocks import part

        @part
        class OwnLost(nn.Module):
            def forward(self, x, grid):
                return x + nowhere
    """
    own = own_module(tmp_path, source, "own_lost")
    with pytest.raises(ValueError, match=r"line 8: the code needs 'nowhere', which was not found"):
        to_source(around(own.OwnLost()))


def test_a_class_in_a_function_and_one_without_source() -> None:
    @vitblocks.part
    class OwnLocal(nn.Module):
        def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
            return x

    with pytest.raises(ValueError, match=r"OwnLocal cannot be written out: it is not defined at the top of a file"):
        to_source(around(OwnLocal()))
    space: dict[str, Any] = {"nn": nn, "part": vitblocks.part, "__name__": "own_typed"}
    sys.modules["own_typed"] = ModuleType("own_typed")
    exec("@part\nclass OwnTyped(nn.Module):\n    def forward(self, x, grid):\n        return x", space)
    with pytest.raises(ValueError, match="own_typed has no source that can be read"):
        to_source(around(space["OwnTyped"]()))


CHANGED = """
    from torch import nn
    from vitblocks import part

    TABLE = {"factor": 2.0}


    @part
    class OwnScaled(nn.Module):
        def forward(self, x, grid):
            return (x * TABLE["factor"]).sin()
"""


def test_outputs_are_compared(tmp_path: Path) -> None:
    """A difference that the source does not show is found by running both."""
    own = own_module(tmp_path, CHANGED, "own_differing")
    own.TABLE["factor"] = 5.0
    for sample in (None, torch.randn(1, 3, 16, 16)):
        with pytest.raises(ValueError, match="other outputs"):
            to_source(around(own.OwnScaled()), sample=sample)
    assert to_source(around(own.OwnScaled()), verify=False)


def test_what_cannot_be_described_is_not_written() -> None:
    with pytest.raises(ValueError, match=r"layers\.1 \(Mlp\).*activation is a lambda"):
        to_source(around(Mlp(8, activation=lambda: nn.ReLU())))
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got dict"):
        to_source({})


def test_a_sample_must_run() -> None:
    with pytest.raises(ValueError, match="sample: the model fails on it"):
        to_source(ViT(**VIT), sample=torch.randn(1, 3, 18, 16))


def test_of_other_types_and_without_memory() -> None:
    text = to_source(ViT(**VIT).to(torch.bfloat16))
    with torch.device("meta"):
        assert to_source(ViT(**VIT)) == text


def test_the_model_is_left_as_it_was() -> None:
    model = ViT(**VIT)
    model.stages[0].eval()
    modes = {name: module.training for name, module in model.named_modules()}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    to_source(model)
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in state.items())
    assert torch.equal(random, torch.get_rng_state())
