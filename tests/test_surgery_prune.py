"""prune: the first blocks of every model give the features that they gave before, alone; extract(stop=True) runs no more of a model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks import MeanPool, Model, build, describe, extract, prune

from .zoo.tiny import TINY

MODELS = sorted(name for name in TINY if name not in ("CrossViT", "DistillableEfficientViT", "EfficientViT"))
"""CrossViT is no Model; EfficientViT's transformer is the user's own, a single layer."""


def image(size: int) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def stage_of(name: str) -> str:
    return ".".join(name.split(".")[:2])


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_the_first_blocks_of_every_model(name: str) -> None:
    make, size = TINY[name]
    model, x = make().eval(), image(size)
    blocks = [block for block, _ in model.blocks()]
    for keep in (1, len(blocks)):
        last = blocks[keep - 1]
        whole = keep == len(blocks) or stage_of(blocks[keep]) != stage_of(last)
        with extract(model, last) as tokens:
            model(x)
        pruned = prune(model, keep)
        assert type(pruned) is Model
        assert [block for block, _ in pruned.blocks()] == blocks[:keep]
        expected = model.state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in pruned.state_dict().items() if key in expected)
        found, grid = pruned.forward_stages(x)[-1]
        record = tokens[last]
        torch.testing.assert_close(found, record.x, rtol=0, atol=0)
        assert record.grid is None or record.grid == grid
        assert pruned(x).shape == (2, *pruned.forward_features(x).shape[1:])
        assert pruned.num_features == pruned(x).shape[-1]
        again = build(describe(pruned))
        again.load_state_dict(pruned.state_dict())
        torch.testing.assert_close(again.eval()(x), pruned(x), rtol=0, atol=0)
        if whole:
            named = prune(model, stage_of(last))
            assert len(named.stages) == len(pruned.stages)


def test_a_norm_and_a_pool_that_fit_are_kept() -> None:
    vit = TINY["ViT"].build()
    pruned = prune(vit, 1)
    assert pruned.norm is vit.norm
    assert pruned.pool is vit.pool
    assert isinstance(pruned.head, nn.Identity)
    assert isinstance(prune(TINY["CaiT"].build(), 1).pool, MeanPool)  # the class token came later
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in vit.parameters())


@pytest.mark.parametrize("keep", [0, 3, True, 1.0, "stages.7", "head", None])
def test_what_a_model_has_not_cannot_be_kept(keep: Any) -> None:
    with pytest.raises(ValueError, match="keep must be"):
        prune(TINY["ViT"].build(), keep)


def test_only_models_of_stages_are_pruned() -> None:
    with pytest.raises(TypeError, match="smaller depth"):
        prune(TINY["CrossViT"].build(), 1)


@pytest.mark.parametrize("name", sorted(TINY))
def test_extract_stops_where_it_has_what_it_wants(name: str) -> None:
    make, size = TINY[name]
    model, x = make().eval(), image(size)
    first, *later = [block for block, _ in model.blocks()] or ["embed", "norm"]
    called: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in model.named_modules()
    ]
    went_on = False
    with torch.no_grad(), extract(model, first, stop=True) as tokens:
        model(x)
        went_on = True
    assert not went_on
    assert "" not in called
    assert not set(later) & set(called)
    for handle in handles:
        handle.remove()
    with torch.no_grad(), extract(model, first) as whole:
        model(x)
    torch.testing.assert_close(tokens[first].x, whole[first].x, rtol=0, atol=0)
    with torch.no_grad():
        assert model(x).isfinite().all()


def test_extract_that_stops_needs_all_it_was_asked_for() -> None:
    model = TINY["ViT"].build().eval()
    with extract(model, ["stages.0.layers.*", "norm"], stop=True) as tokens:
        model(image(16))
    assert list(tokens)[-1] == "norm"
    with pytest.raises(RuntimeError, match="got nothing from"), extract(model, ["embed", "head"], stop=True):
        model.encode(image(16))
