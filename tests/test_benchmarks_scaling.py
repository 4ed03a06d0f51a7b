"""``benchmarks.scaling`` and ``benchmarks.savings`` at small sizes: what they write and how they count. Times are their own output."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import pytest
import torch

from benchmarks import savings, scaling
from benchmarks.kinds import KINDS
from benchmarks.memory import peak_bytes
from benchmarks.scaling import Curve, Point, Settings, curve, exponent, fit, spread, table, time_again, too_much

CPU = torch.device("cpu")


def test_the_command_measures_every_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scaling.main(["--quick", "--output", str(tmp_path)])
    results = json.loads((tmp_path / "scaling.json").read_text())
    assert [made["kind"] for made in results["curves"]] == list(KINDS)
    for made in results["curves"]:
        assert [point["tokens"] for point in made["points"]] == [196, 256, 576]
        assert all(min(point["rounds"]) > 0 and point["bytes"] > 0 for point in made["points"])
    assert (tmp_path / "scaling.md").read_text().strip() in capsys.readouterr().out
    assert min(matplotlib.image.imread(tmp_path / "scaling.png").shape[:2]) > 300


@pytest.mark.slow
def test_savings_counts_what_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    savings.main(["--quick", "--output", str(tmp_path)])
    rows = json.loads((tmp_path / "savings.json").read_text())["rows"]
    assert {row["against"] for row in rows} == {"dense ViT", "encoder, all tokens", "SimMIM"}
    encoder = next(row for row in rows if row["what"] == "MAE's encoder alone")
    assert encoder["kept"] == 0.25
    assert encoder["fewer_operations"] > 2
    assert all(0 < row["kept"] <= 0.25 for row in rows if "1/4" in row["what"])
    assert (tmp_path / "savings.md").read_text().strip() in capsys.readouterr().out


@pytest.mark.parametrize("command", [scaling.main, savings.main])
def test_arguments_that_will_not_do(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(command)
    with pytest.raises(SystemExit):
        command(["--threads", "0"])
    assert "--threads must be at least 1, got 0" in capsys.readouterr().err


def test_memory_is_what_is_alive_at_the_peak() -> None:
    x = torch.zeros(1000, 1000)

    def two_alive_then_one() -> torch.Tensor:
        first = x + 1
        second = first + 1
        del first
        return second.neg_()

    assert peak_bytes(lambda: x.T[:10], CPU) == 0
    least = 2 * x.numel() * x.itemsize
    assert least <= peak_bytes(two_alive_then_one, CPU) < least + 1000


def measured(name: str) -> Curve:
    settings = Settings(sides=(16, 32, 48), fitted_from=256, least_seconds=0.0, least_calls=1)
    made = curve(name, settings)
    fit(made, settings)
    return made


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.family != "matrix"])
def test_no_kind_holds_an_attention_matrix_but_those_that_change_it(name: str) -> None:
    made = measured(name)
    assert made.memory_exponent is not None
    assert made.memory_exponent < 1.1


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.family == "matrix"])
def test_kinds_that_change_the_matrix_hold_a_few_of_it(name: str) -> None:
    """What they read, what they make of it and what stands between, which plain code keeps a name for."""
    for point in measured(name).points[1:]:
        matrix = 4 * 3 * point.tokens**2
        assert point.bytes < 4.3 * matrix


@pytest.mark.parametrize(
    ("name", "masks"),
    [
        ("windows of 8", 0.0),
        ("dilated windows of 8", 0.0),
        ("shifted windows of 8", 64 / 96),
        ("shifted windows, biased", 64 / 96 + 64 * 3 / 96),
    ],
)
def test_windows_hold_their_tokens_queries_keys_values_and_output(name: str, masks: float) -> None:
    """One copy of the tokens, three projections, two outputs, and where windows differ a mask, its sum with the bias: in tokens."""
    for point in measured(name).points:
        assert point.bytes <= (6.2 + masks) * point.tokens * 4 * 96


def test_exponents_are_slopes() -> None:
    assert exponent([1, 10, 100], [3, 300, 30000]) == pytest.approx(2.0)
    assert exponent([4, 16], [5, 20]) == pytest.approx(1.0)
    assert exponent([4], [5]) is None


def test_a_size_that_a_quadratic_cost_would_not_fit_is_left_out() -> None:
    settings = Settings(seconds_limit=60.0, bytes_limit=8e9)
    assert too_much(Point(100, 10, [1.0]), 1000, settings)
    assert too_much(Point(100, 10**8, [0.1]), 1000, settings)
    assert not too_much(Point(100, 10**7, [0.1]), 1000, settings)
    short = Curve("x", "matrix", [Point(196, 10, [1.0])])
    assert table([short], settings).splitlines()[-1].count("left out") == 6


def test_labels_are_moved_no_further_than_they_must() -> None:
    heights = [0.0, 0.1, 5.0, 0.05, 4.95]
    placed = spread(heights, 0.3)
    ordered = sorted(placed)
    assert all(b - a >= 0.3 - 1e-9 for a, b in pairwise(ordered))
    assert placed[2] > placed[4] > placed[1] > placed[3] > placed[0]
    assert spread([0.0, 1.0, 2.0], 0.3) == [0.0, 1.0, 2.0]


def test_another_round_adds_a_time_where_calls_are_short() -> None:
    settings = Settings(sides=(14,), least_seconds=0.0, least_calls=1)
    made = curve("class attention", settings)
    time_again(made, settings)
    assert len(made.points[0].rounds) == 2
    made.points[0].rounds = [settings.once_from]
    time_again(made, settings)
    assert len(made.points[0].rounds) == 1
    assert Point(1, 1, [3.0, 1.0, 2.0]).seconds == 2.0
