"""Private names of torch: in this package's one folder alone, and nothing fails where one is gone."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import vitblocks
from vitblocks.fast import PRIVATE
from vitblocks.fast.private import find, missing

PACKAGE = Path(vitblocks.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "fast")


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a chain of attributes, "" of anything else."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return before and f"{before}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def private_names(source: str) -> set[str]:
    """Names of torch that have a part with an underscore before it, imported or written out."""
    tree, found, of_torch = ast.parse(source), set(), {"torch": "torch"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch" and not node.level:
            names = {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names = {
                a.asname or "torch": a.name if a.asname else "torch" for a in node.names if a.name.startswith("torch")
            }
            found |= {a.name for a in node.names if a.name.startswith("torch.") and "._" in a.name}
        else:
            continue
        of_torch |= names
        found |= {name for name in names.values() if "._" in name}
    for node in ast.walk(tree):
        first, _, rest = dotted(node).partition(".")
        if first in of_torch and rest:
            name = f"{of_torch[first]}.{rest}"
            found |= (
                {name} if any(part.startswith("_") and not part.endswith("__") for part in name.split(".")) else set()
            )
    return found


def private_attributes(source: str) -> set[str]:
    """What is read from modules, tensors and handles by a private name that torch gives them: ``module._buffers``, say."""
    handle = nn.Identity().register_forward_hook(lambda *_: None)
    of_torch = {name for thing in (nn.BatchNorm2d(1), torch.zeros(1), handle) for name in dir(thing)}
    attributes = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    return {name for name in attributes & of_torch if name.startswith("_") and not name.endswith("__")}


def test_the_search_finds_what_it_should() -> None:
    source = "import torch\nimport torch.autograd.forward_ad as ad\nfrom torch.nn.modules.module import _global as g\n"
    assert private_names(source + "torch._C.f(ad._level, x._private, torch.nn.Linear.__init__)") == {
        "torch._C",
        "torch._C.f",
        "torch.autograd.forward_ad._level",
        "torch.nn.modules.module._global",
    }
    source = "self._buffers, x.y._version, module._forward_hooks[0], self._mask, part.__dict__"
    assert private_attributes(source) == {"_buffers", "_version", "_forward_hooks"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_folder_has_any(path: Path) -> None:
    assert private_names(path.read_text()) == set()
    assert private_attributes(path.read_text()) == set()


def test_the_list_is_complete() -> None:
    """Every private name in the folder is asked for by :func:`find`, or stands in the list."""
    for path in (PACKAGE / "fast").glob("*.py"):
        assert private_names(path.read_text()) <= {"torch.autograd.forward_ad._current_level"}, path


def test_only_listed_names_are_looked_up() -> None:
    with pytest.raises(ValueError, match="name must be one of PRIVATE"):
        find("torch._C._nothing")
    assert missing(*PRIVATE) is None or "this torch has no" in str(missing(*PRIVATE))


WITHOUT = """
import os
import sys
import torch
from torch import nn

# What torch itself binds, it binds before a name is gone.
torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),))
torch.func.vmap(torch.sin)(torch.zeros(2))


class Gone:
    def __get__(self, instance, owner):
        raise AttributeError("gone")


def take_away(name):
    path, _, last = name.rpartition(".")
    if path == "torch.Tensor":
        torch.Tensor._version = Gone()
    elif path.startswith("torch.ops"):
        kind = type(torch.ops.mkldnn)
        found = kind.__getattr__

        def without(self, asked):
            if asked == last:
                raise AttributeError(asked)
            return found(self, asked)

        kind.__getattr__ = without
        vars(torch.ops.mkldnn).pop(last, None)
    else:
        owner = torch
        for part in path.split(".")[1:]:
            owner = getattr(owner, part)
        if path == "torch._inductor.config":  # settings are deleted in ways of their own, and this is none of them
            setattr(type(owner), last, Gone())
        else:
            delattr(owner, last)


def work(name):
    take_away(name)
    import vitblocks
    from tests.fast.models import PlainViT
    from vitblocks import fast
    from vitblocks.fast.private import find

    assert find(name) is None
    ours = vitblocks.ViT(image_size=16, patch_size=8, num_classes=3, dim=8, depth=2, heads=2, mlp_dim=16)
    images = torch.randn(2, 3, 16, 16)
    for model in (PlainViT(), ours):
        for dtype in (None, torch.bfloat16):
            report = fast.optimize(model, dtype=dtype)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
                model(images).square().mean().backward()
            optimizer.step()
            if dtype is None:
                torch.func.vmap(model)(images[:, None])
                if name != "torch.Tensor._version":  # torch's exporters ask for it themselves
                    torch.export.export(model, (images,))
            report.undo()
    vitblocks.fold(ours.eval(), images)
    with vitblocks.record_attention(ours) as records:
        ours(images)
    assert len(records) == 2
    everything = [fast.linears(PlainViT()), fast.linears(PlainViT(), dtype=torch.bfloat16), fast.recompute(PlainViT())]
    everything += [fast.convolutions(nn.Conv2d(4, 4, 3, 2, groups=4).bfloat16())]
    for report in everything:
        print(name, report.name, report.aside or " ".join(report.left.values()), sep=": ")
    print(name, "works")


for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        work(name)
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""

ASIDE: dict[str, list[str]] = {
    "torch.ops.mkldnn._linear_pointwise": ["linears"],
    "torch.ops.mkldnn._is_mkldnn_bf16_supported": ["linears"],
    "torch._C._current_graph_task_id": [],
    "torch._C._functorch.maybe_current_level": ["linears", "recompute", "convolutions"],
    "torch._C._autograd._saved_tensors_hooks_is_enabled": ["recompute"],
    "torch._C._autograd._top_saved_tensors_default_hooks": ["recompute"],
    "torch.autograd.forward_ad._current_level": ["linears", "recompute", "convolutions"],
    "torch.Tensor._version": ["recompute"],
    "torch._inductor.aoti_compile_and_package": [],
    "torch._inductor.aoti_load_package": [],
    "torch._inductor.config.patch": [],
}
"""Which passes stand aside without each."""


def test_every_name_is_tried() -> None:
    assert ASIDE.keys() == set(PRIVATE)


@pytest.fixture(scope="module")
def without() -> subprocess.CompletedProcess[str]:
    """What is said with each of the names taken from torch: a process each, after one that has torch at hand."""
    if not hasattr(os, "fork"):
        pytest.skip("processes are forked here")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT, *PRIVATE]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("name", PRIVATE)
def test_without_it_all_else_works_and_the_pass_says_why(name: str, without: subprocess.CompletedProcess[str]) -> None:
    assert f"{name} works" in without.stdout, without.stderr
    for aside in ASIDE[name]:
        assert f"{name}: {aside}: this torch has no {name}" in without.stdout
