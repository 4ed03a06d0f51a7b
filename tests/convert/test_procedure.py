"""convert: stage by stage, undone, saved, and gone on with where it was broken off."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks import Model, ViT, load_model
from vitblocks.convert import (
    Conversion,
    Settings,
    Training,
    align,
    answers,
    convert,
    converted,
    distil,
    drift,
    global_layers,
    kernel,
    loop as loops,
    plan,
    procedure,
    reduced,
    sensitivity,
    windows,
)
from vitblocks.convert.distil import apart
from vitblocks.convert.images import augmented
from vitblocks.convert.loop import train

from .test_refit import IMAGES, vit

SHORT = Settings(align=4, distil=4, labels=4, batch=8, check_every=2, align_lr=1e-2, lr=3e-3)
LABELS = torch.arange(24) % 5


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def short(to: Any = None, folder: Path | None = None, model: ViT | None = None, **options: Any) -> Conversion:
    torch.manual_seed(0)
    return convert(
        vit() if model is None else model,
        reduced(2) if to is None else to,
        IMAGES,
        labels=LABELS,
        settings=SHORT,
        folder=folder,
        **options,
    )


def test_each_stage_brings_it_closer_and_is_undone(tmp_path: Path) -> None:
    model = vit()
    before = state(model)
    conversion = short(model=model)
    assert [stage.name for stage in conversion.stages] == ["swap", "refit", "align", "distil", "labels"]
    moved = [stage.drift.tokens + stage.drift.logits for stage in conversion.stages]
    assert moved[1] < moved[0]
    assert moved[3] <= moved[2]  # of so few steps the best may be none
    assert all(stage.accuracy is not None for stage in conversion.stages)
    assert all(list(stage.layers) == global_layers(model) for stage in conversion.stages)
    assert "refit" in str(conversion)
    conversion.save_pretrained(tmp_path)
    conversion.model.eval()
    torch.testing.assert_close(load_model(tmp_path).eval()(IMAGES), conversion.model(IMAGES))
    assert (tmp_path / "conversion.json").exists()
    undone = [conversion.undo().name for _ in range(5)]
    assert undone == ["labels", "distil", "align", "refit", "swap"]
    assert all(torch.equal(value, before[key]) for key, value in state(conversion.model).items())
    assert all(torch.equal(value, before[key]) for key, value in state(model).items())
    with pytest.raises(ValueError, match="every stage"):
        conversion.undo()


def test_windows_are_not_aligned_and_the_report_says_why() -> None:
    both = [windows(2), kernel()]
    first, second = global_layers(vit())
    conversion = short({first: "windows of 2", second: "kernel features"}, kinds=both)
    aligned = next(stage for stage in conversion.stages if stage.name == "align")
    assert first not in aligned.why
    assert "not windows of 2" in aligned.why
    assert "align" not in [stage.name for stage in short(windows(2)).stages]


def test_a_stage_that_moves_the_answer_away_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(student: nn.Module, *_: Any) -> list[Any]:
        with torch.no_grad():
            for name in global_layers(student):
                proj: Any = student.get_submodule(f"{name}.proj")
                proj.weight.mul_(-50)
        return []

    monkeypatch.setattr(procedure, "refit", spoil)
    conversion = short(kernel())
    swapped, refitted = conversion.stages[:2]
    assert refitted.drift == swapped.drift
    assert refitted.why.startswith("taken back")


def test_images_are_augmented_by_the_seed_and_the_step_alone() -> None:
    def first(images: Tensor) -> Tensor:
        seen.append(torch.rand(1).item())
        return images.flip(-1)

    seen: list[float] = []
    torch.manual_seed(7)
    before = torch.get_rng_state()
    moved = augmented(IMAGES, first, seed=1, step=2)
    assert torch.equal(moved, IMAGES.flip(-1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    augmented(IMAGES, first, seed=1, step=2)
    augmented(IMAGES, first, seed=1, step=3)
    assert seen[0] == seen[1] != seen[2]
    with pytest.raises(ValueError, match="augment must keep"):
        augmented(IMAGES, lambda images: images[:1], 0, 0)
    seen.clear()
    short(augment=first)
    assert len(set(seen[:4])) == 4
    assert len(seen) == 12  # of three stages


def test_with_labels_what_knew_those_held_out_best_is_kept() -> None:
    teacher, student = vit(), vit()
    with torch.no_grad():
        student.head.weight.zero_()  # labels are known no better than by chance, and any step is away from that
    how = Training(4, 1.0, 8, 1)
    wrong = (LABELS[16:] + 1) % 5
    got = distil(student, teacher, IMAGES[:16], IMAGES[16:], how, labels=LABELS[:16], held_out_labels=wrong)
    assert got.first[""] == pytest.approx(torch.tensor(5.0).log().item(), abs=1e-4)
    assert got.best[""] <= got.first[""]


def test_the_class_token_counts_as_much_as_all_patches() -> None:
    before = answers(vit(), IMAGES)
    moved = [[a._replace(tokens=a.tokens.clone()) for a in before] for _ in range(2)]
    for one in moved[0]:
        one.tokens[:, 0] += 1.0
    for one in moved[1]:
        one.tokens[:, 1:] += 1.0
    class_token, patches = (drift(before, after).tokens for after in moved)
    assert class_token == pytest.approx(patches)
    assert float(apart(moved[0][0], before[0])) == pytest.approx(float(apart(moved[1][0], before[0])), rel=1e-5)


def test_a_plan_is_carried_out() -> None:
    model, kinds = vit(), [windows(2), reduced(2)]
    found = plan(sensitivity(model, IMAGES, kinds), 0.95, cost="macs")
    conversion = short(found, kinds=kinds, model=model)
    assert conversion.assignment == found.changed
    assert isinstance(conversion.model, Model)


@pytest.mark.parametrize("broken_in", ["align", "distil"])
def test_interrupted_work_goes_on_to_the_same_end(
    broken_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = short(folder=tmp_path / "whole")
    steps, take = 0, loops._Loop.take

    def stop(self: Any, step: int, loss: Tensor) -> None:
        nonlocal steps
        steps += 1
        if steps == {"align": 4, "distil": 8}[broken_in]:  # after a look at step 2, before the last step
            raise KeyboardInterrupt
        take(self, step, loss)

    with monkeypatch.context() as patch:
        patch.setattr(loops._Loop, "take", stop)
        with pytest.raises(KeyboardInterrupt):
            short(folder=tmp_path / "broken")
    assert (tmp_path / "broken" / f"{broken_in}.loop.safetensors").exists()
    resumed = short(folder=tmp_path / "broken")
    assert not list((tmp_path / "broken").glob("*.loop.*"))
    for key, value in state(whole.model).items():
        torch.testing.assert_close(state(resumed.model)[key], value, rtol=0, atol=0)
    assert [stage.drift for stage in resumed.stages] == [stage.drift for stage in whole.stages]


def test_a_folder_of_another_conversion_is_refused(tmp_path: Path) -> None:
    short(folder=tmp_path)
    with pytest.raises(ValueError, match="another conversion"):
        short(windows(2), folder=tmp_path)
    shutil.rmtree(tmp_path)


def test_aligning_brings_each_layer_closer() -> None:
    teacher = vit()
    layers = global_layers(teacher)
    student = converted(teacher, dict.fromkeys(layers, "kernel features"), [kernel()])
    got = align(student, teacher, IMAGES[:16], IMAGES[16:], layers, Training(12, 1e-2, 8, 4))
    assert all(got.best[name] < got.first[name] for name in layers)


def test_new_layers_alone_are_trained_if_asked_for() -> None:
    teacher = vit()
    layers = tuple(global_layers(teacher))
    student = converted(teacher, dict.fromkeys(layers, "reduced by 2"), [reduced(2)])
    before = state(student)
    how = Training(4, 1e-2, 8, 2)
    distil(student, teacher, IMAGES[:16], IMAGES[16:], how, trained="new", layers=layers)
    changed = {key for key, value in state(student).items() if not torch.equal(value, before[key])}
    assert changed
    assert all(key.startswith(layers) for key in changed)
    assert all(parameter.requires_grad for parameter in student.parameters())


@pytest.mark.slow
def test_low_rank_adaptors_are_merged() -> None:
    pytest.importorskip("peft")
    teacher = vit()
    layers = tuple(global_layers(teacher))
    student = converted(teacher, dict.fromkeys(layers, "kernel features"), [kernel()])
    before = state(student)
    got = distil(student, teacher, IMAGES[:16], IMAGES[16:], Training(4, 1e-2, 8, 2), lora=2)
    assert got.best[""] < got.first[""]
    assert state(student).keys() == before.keys()
    moved = state(student)["stages.0.layers.3.attn.qkv.weight"] - before["stages.0.layers.3.attn.qkv.weight"]
    assert torch.linalg.matrix_rank(moved, tol=1e-5) == 2


def test_the_best_is_kept_and_it_ends_early() -> None:
    weight = nn.Parameter(torch.zeros(1))
    scores = iter([3.0, 2.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0])
    seen = []

    def score() -> dict[str, float]:
        seen.append(float(weight.detach()))
        return {"": next(scores)}

    got = train({"": [weight]}, lambda places, step: weight.sum(), score, 8, Training(8, 0.1, 2, 1, patience=3))
    assert got.steps == 7  # three looks in the second half
    assert got.best == {"": 2.0}
    assert float(weight.detach()) == seen[1]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        convert(vit(), {}, IMAGES)
    with pytest.raises(ValueError, match="at least 4"):
        convert(vit(), windows(2), IMAGES[:3])
    with pytest.raises(ValueError, match="labels must be"):
        distil(vit(), vit(), IMAGES, IMAGES, Training(1, 1e-3), labels=LABELS[:3])
    with pytest.raises(ValueError, match="trained must be"):
        distil(vit(), vit(), IMAGES, IMAGES, Training(1, 1e-3), trained="some")
