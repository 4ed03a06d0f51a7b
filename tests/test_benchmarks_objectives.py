"""``benchmarks.objectives`` in a few steps: what it writes and how it counts. What is learned in many is its own output."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.image
import pytest
import torch

from benchmarks.digits import Labelled
from benchmarks.experiments import QUICK, RUNS, Job, Score, steps_of
from benchmarks.objectives import compared, main, table
from benchmarks.probes import WHITENED, few_labels, load, nearest_neighbours, pooled_blocks, probe
from benchmarks.training import encoder
from benchmarks.views import crop, ink


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("mae", "dino")), "distillation"]
)
def test_every_step_is_counted_and_every_method_scored(name: str, tmp_path: Path) -> None:
    ticks: list[None] = []
    scores = RUNS[name](Job(0, QUICK, tmp_path, lambda: ticks.append(None)))
    assert len(ticks) == steps_of(name, QUICK)
    assert all(0.0 <= score.accuracy <= 1.0 for score in scores)
    assert any(score.baselines for score in scores)
    methods = {score.method for score in scores}
    known = methods | {"untrained", "raw pixels"}
    assert all(known.issuperset(score.baselines) for score in scores)
    assert methods <= {line.split("|")[1].strip() for line in table(scores).splitlines() if line}
    if name == "mae":
        assert min(matplotlib.image.imread(tmp_path / "mae.png").shape[:2]) > 300


@pytest.mark.slow
def test_the_command_writes_its_table_and_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--workers", "1", "--only", "untrained", "--output", str(tmp_path)])
    results = json.loads((tmp_path / "objectives.json").read_text())
    assert {score["method"] for score in results["scores"]} == {"untrained"}
    assert results["machine"]["workers"] == 1
    written = (tmp_path / "objectives.md").read_text()
    assert "| untrained |" in written
    assert written.strip() in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--seeds", "0"], ["--workers", "-1"], ["--only", "moco"]])
def test_arguments_that_will_not_do(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert f"{arguments[0]}" in capsys.readouterr().err


def test_comparison_is_seed_by_seed() -> None:
    def scores(method: str, *told: float, baselines: tuple[str, ...] = ()) -> list[Score]:
        return [Score("features", method, "linear", seed, value, baselines) for seed, value in enumerate(told)]

    both = [*scores("untrained", 0.5, 0.9), *scores("MAE", 0.6, 0.85, baselines=("untrained",))]
    assert compared(both) == ["MAE is better than untrained on 1 of 1 measures in the mean, 0 in every seed"]
    assert compared(scores("MAE", 0.6, baselines=("untrained",))) == []


def test_features_that_tell_the_digit_are_told_from_those_that_do_not() -> None:
    data = load(0)
    parts = (data.train, data.held_out, data.moved_train, data.moved_held_out)
    labels = {
        image.numpy().tobytes(): label
        for part in parts
        for image, label in zip(data.normalise(part.images), part.labels, strict=True)
    }
    knowing = probe(
        lambda images: torch.eye(10)[[labels[image.numpy().tobytes()] for image in images]], data, whiten=False
    )
    blind = probe(lambda x: x.new_ones(len(x), 3), data, whiten=False)
    assert min(knowing.values()) > 0.99
    assert max(blind.values()) < 0.2


def test_whitened_neighbours_are_the_same_in_any_coordinates() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (400,), generator=generator)
    features = torch.randn(400, WHITENED, generator=generator, dtype=torch.float64)
    features[:, :10] += 2 * torch.eye(10)[labels]
    other = features @ torch.randn(WHITENED, WHITENED, generator=generator, dtype=torch.float64)

    def told(features: torch.Tensor, *, whiten: bool) -> float:
        parts = Labelled(features[:300], labels[:300]), Labelled(features[300:], labels[300:])
        return nearest_neighbours(*parts, whiten=whiten)

    assert told(features, whiten=True) == told(other, whiten=True) > 0.2
    assert told(features, whiten=False) != told(other, whiten=False)


def test_features_are_the_normed_means_of_every_block() -> None:
    model, images = encoder(0), load(0).train.images[:3]
    features = pooled_blocks(model, images).unflatten(1, (4, -1))
    assert torch.allclose(features.mean(dim=2), torch.zeros(3, 4), atol=1e-5)
    # The norm of the pool is still that without weights.
    assert torch.allclose(features[:, -1], model.forward_features(images), atol=1e-5)


def test_few_labels_are_balanced_and_from_the_training_part() -> None:
    data = load(0)
    few = few_labels(data.train, 100)
    assert few.labels.bincount().tolist() == [10] * 10
    train = {image.numpy().tobytes() for image in data.train.images}
    assert all(image.numpy().tobytes() in train for image in few.images)


def test_pixels_are_normalised_by_the_training_images() -> None:
    data = load(0)
    images = data.normalise(data.train.images)
    assert torch.allclose(images.mean(), torch.zeros(()), atol=1e-5)
    assert torch.allclose(images.std(), torch.ones(()), atol=1e-5)


def test_views_differ_and_are_drawn_from_the_generator() -> None:
    images = load(0).train.images[:4]

    def view(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return ink(crop(images, 12, (0.6, 1.0), generator), generator)

    assert view(0).shape == (4, 1, 12, 12)
    assert torch.equal(view(0), view(0))
    assert not torch.allclose(view(0), view(1))


def test_a_crop_of_everything_is_the_image_up_to_its_turn_and_slant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEGREES", "SLANT", "STRETCH"):
        monkeypatch.setattr(f"benchmarks.views.{name}", 0.0)
    images = load(0).train.images[:4]
    same = crop(images, 16, (1.0, 1.0), torch.Generator().manual_seed(0))
    assert torch.allclose(same, images, atol=1e-5)
