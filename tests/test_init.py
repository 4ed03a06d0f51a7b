"""Initialisations, the package's public names, and which packages know which."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import vitblocks
from vitblocks.attention import TalkingHeadsAttend
from vitblocks.init import fan_out_conv, kaiming_conv, trunc_normal_conv, trunc_normal_linear, trunc_normal_mix


def test_linears_start_as_a_truncated_normal_with_zero_biases() -> None:
    model = nn.Sequential(nn.Linear(256, 256), nn.Conv2d(3, 4, 3)).apply(trunc_normal_linear)
    linear: Any = model[0]
    conv: Any = model[1]
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert (linear.bias == 0).all()
    assert conv.bias.abs().min() > 0
    nn.Linear(4, 4, bias=False).apply(trunc_normal_linear)


@pytest.mark.parametrize("groups", [1, 8])
def test_convolutions_start_by_their_fan_out(groups: int) -> None:
    conv: Any = nn.Conv2d(64, 128, 5, groups=groups).apply(fan_out_conv)
    assert conv.weight.std().item() == pytest.approx((2 / (25 * 128 / groups)) ** 0.5, rel=0.02)
    assert (conv.bias == 0).all()


def test_convolutions_start_as_other_papers_have_them() -> None:
    conv: Any = nn.Conv2d(64, 128, 5).apply(kaiming_conv)
    assert conv.weight.std().item() == pytest.approx((2 / (25 * 128)) ** 0.5, rel=0.02)
    assert (conv.bias == 0).all()
    conv = nn.Conv2d(64, 128, 5).apply(trunc_normal_conv)
    assert conv.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert (conv.bias == 0).all()


def test_mixes_of_heads_start_small() -> None:
    attend = TalkingHeadsAttend(64).apply(trunc_normal_mix)
    for mix in (attend.mix_logits, attend.mix_weights):
        assert mix.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert (mix.bias == 0).all()


def test_every_public_name_loads() -> None:
    for name in vitblocks.__all__:
        assert getattr(vitblocks, name) is not None
    assert set(vitblocks.__all__) <= set(dir(vitblocks))
    with pytest.raises(AttributeError, match="module 'vitblocks' has no attribute 'Nothing'"):
        vitblocks.Nothing  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_needs_no_extras_and_reaches_its_packages() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['matplotlib', 'sklearn', 'rich', 'accelerate', 'kornia'])); import vitblocks; "
        "vitblocks.zoo.cait, vitblocks.checkpoint.load, vitblocks.attention, vitblocks.objectives"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "package", ["attention", "checkpoint", "embed", "fast", "folding", "inspect", "pool", "position", "surgery"]
)
def test_parts_and_tools_know_no_paper(package: str) -> None:
    """What a tool needs to know of a paper's own part, the part says."""
    for path in sorted((Path(vitblocks.__file__).parent / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert "zoo" not in (node.module or "").split("."), f"{path.name} imports {node.module}"


def test_a_name_is_the_same_object_from_everywhere() -> None:
    from vitblocks.attention import GlobalAttention

    assert vitblocks.GlobalAttention is GlobalAttention
    assert torch.nn.Module in vitblocks.GlobalAttention.__mro__


def test_retired_words_name_nothing() -> None:
    """One word, one meaning (docs/design.md): a part is not "fused", and what is unwrapped is "ejected" by its own method alone."""
    retired = ("fuse", "Fused", "eject", "materialized", "through", "FusedAttention")
    assert not [name for name in vitblocks.__all__ if name.startswith(retired)]
    assert not hasattr(vitblocks.checkpoint, "Chain")
