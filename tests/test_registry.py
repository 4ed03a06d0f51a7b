"""Published variants: exact parameter counts, and multiply-adds as the references count them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import vitblocks
from vitblocks import KernelAttend, SinePosition1d
from vitblocks.registry import variants

REFERENCE: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "variants.json").read_text())

FROZEN_TABLES: dict[str, dict[type[nn.Module], str]] = {
    # T2T-ViT's code keeps its sine positions and the performer's random features among the parameters, frozen.
    "T2T-ViT": {SinePosition1d: "table", KernelAttend: "features"},
}
"""Buffers of ours that a reference counts as parameters: the part that holds them, and their name."""


def frozen_tables(model: nn.Module, architecture: str) -> list[torch.Tensor]:
    kinds = FROZEN_TABLES.get(architecture, {})
    return [getattr(part, kinds[type(part)]) for part in model.modules() if type(part) in kinds]


SAME_SIZES = {
    **{f"nest_{size}_jx": f"nest_{size}" for size in ("tiny", "small", "base")},
    **{f"jx_nest_{size}": f"nest_{size}" for size in ("tiny", "small", "base")},
    **{f"{name}x{name[-3:]}": name for name in vitblocks.list_models("cvt_*_???") if name[-3:] in ("224", "384")},
}
"""Variants that differ from another in what has no weights: activations, padding."""


@pytest.mark.parametrize("name", vitblocks.list_models())
def test_counts_as_the_reference(name: str) -> None:
    reference = REFERENCE[SAME_SIZES.get(name, name)]
    with torch.device("meta"):
        model = vitblocks.create_model(name)
    counted = vitblocks.summary(model, reference["image_size"])
    tables = frozen_tables(model, reference["architecture"])
    assert counted.params == reference.get("params_trainable", reference["params"])
    assert counted.params + sum(table.numel() for table in tables) == reference["params"]
    assert counted.macs == pytest.approx(reference["macs"], rel=0.01)


def test_lists_by_pattern() -> None:
    names = vitblocks.list_models("cait*")
    assert names == sorted(name for name in variants() if name.startswith("cait"))
    assert "cait_s24_224" in names
    assert vitblocks.list_models("no such model") == []


def test_overrides_and_features() -> None:
    with torch.device("meta"):
        model = vitblocks.create_model("vit_tiny_patch16_224", num_classes=0, depth=2)
    assert len(list(model.blocks())) == 2
    assert isinstance(model.head, nn.Identity)


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match="cait_s24_224"):
        vitblocks.create_model("cait_s24_225")
    with pytest.raises(TypeError, match="colour"):
        vitblocks.create_model("cait_s24_224", colour="blue")
