"""DINO's whole files, as the authors' code writes them, go into the objective and come out of it; a backbone alone comes out of them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from vitblocks import Dino, ViT, checkpoint
from vitblocks.checkpoint import export, load
from vitblocks.objectives.dino_layouts import as_published
from vitblocks.zoo import XCiT

from ..checkpoint.common import same
from .test_dino import crops, learner, train


def vit(**options: Any) -> ViT:
    return ViT(
        **{"image_size": 16, "patch_size": 4, "num_classes": 0, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32}
        | options
    )


def trained(net: nn.Module | None = None) -> Dino:
    made = learner(vit() if net is None else net, freeze_epochs=0)
    train(made, steps=2)
    return made


def file_of(made: Dino) -> dict[str, Any]:
    """Written key by key as ``main_dino.py`` has it: names of timm's ViT under ``backbone``, the head's under ``head``."""

    def tower(name: str, prefix: str) -> dict[str, Tensor]:
        part: Any = made.get_submodule(name)
        net = vit()
        net.load_state_dict(part.encoder.state_dict())
        head = export(part.head, "official")
        backbone = {f"{prefix}backbone.{key}": value for key, value in export(net, "timm").items()}
        return backbone | {f"{prefix}head.{key}": value for key, value in head.items()}

    return {
        "student": tower("student", "module."),
        "teacher": tower("teacher", ""),
        "optimizer": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
        "args": Namespace(arch="vit_small", lr=0.1),
        "dino_loss": {"center": made.centering.center.clone()},
    }


def test_a_whole_file_goes_in_and_out(tmp_path: Path) -> None:
    made = trained()
    torch.save(file_of(made), tmp_path / "checkpoint.pth")
    fresh = learner(vit(), freeze_epochs=0)
    report = load(fresh, tmp_path / "checkpoint.pth")
    assert "the entries of 'student', 'teacher', 'dino_loss'" in str(report)
    assert same(fresh.student, made.student)
    assert same(fresh.teacher, made.teacher)
    assert torch.equal(fresh.centering.center, made.centering.center)
    assert int(fresh.step) == 0
    fresh.start_epoch(3)
    assert fresh.epoch == 3
    images = crops()
    made.start_epoch(3)
    assert torch.equal(fresh.eval()(images), made.eval()(images))
    again, wanted = as_published(export(fresh, "official")), file_of(made)
    for part, entries in again.items():
        assert entries.keys() == wanted[part].keys()
        assert all(torch.equal(value, wanted[part][key]) for key, value in entries.items())


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_the_backbone_alone_comes_out_of_either(name: str) -> None:
    made = trained()
    net = vit()
    report = load(net, file_of(made)[name], strict=False)
    assert not report.missing
    assert not report.misshaped
    part: Any = made.get_submodule(name)
    assert same(net, part.encoder)


def test_which_one_has_to_be_said() -> None:
    with pytest.raises(ValueError, match="holds weights under 'student', 'teacher'"):
        load(vit(), file_of(trained()))


def test_other_sizes_are_refused_and_nothing_is_changed() -> None:
    made, other = trained(), learner(vit(dim=24, heads=3), freeze_epochs=0)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(ValueError, match=r"student\.backbone\.cls_token is \(1, 1, 16\), must be \(1, 1, 24\)"):
        load(other, file_of(made))
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


def test_a_backbone_of_another_paper() -> None:
    def net() -> XCiT:
        return XCiT(patch_size=8, num_classes=0, dim=16, depth=1, heads=2, image_size=16)

    made = learner(net(), freeze_epochs=0)
    published = as_published(export(made, "official"))
    assert "module.backbone.cls_attn_blocks.0.attn.q.weight" in published["student"]
    fresh = learner(net(), freeze_epochs=0)
    load(fresh, published)
    assert same(fresh.teacher, made.teacher)


def test_a_model_without_such_names_says_so() -> None:
    class Own(ViT):
        layouts: ClassVar = {}

    sizes = {"image_size": 16, "patch_size": 4, "num_classes": 0, "dim": 16, "depth": 1, "heads": 2, "mlp_dim": 16}
    with pytest.raises(ValueError, match="net must be of a class with the layout 'official' or 'timm'"):
        checkpoint.export(learner(Own(**sizes)), "official")
