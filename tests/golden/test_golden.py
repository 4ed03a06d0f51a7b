"""Every case in this folder: outputs, sensitivity to weights, and export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.golden.__main__ import check
from tests.golden.case import Case
from tests.golden.check import build, error, errors, fresh, tolerance, written
from vitblocks.checkpoint import export, load

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.json"))
CASES = {path.stem: Case.read(path) for path in FILES}
WITH_WEIGHTS = [name for name, case in CASES.items() if case.raw.get("state")]
OUTPUTS = [(name, output) for name, case in CASES.items() for output in case.raw["outputs"]]


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    """The errors of the cases run so far."""
    return {}


@pytest.mark.parametrize(("name", "output"), OUTPUTS, ids=[f"{name}-{output}" for name, output in OUTPUTS])
def test_output_is_the_reference(found: dict[str, dict[str, float]], name: str, output: str) -> None:
    case = CASES[name]
    if name not in found:
        found[name] = dict(errors(case, build(case)))
    assert found[name][output] <= tolerance(case, output)


def influential(case: Case, most: int = 12) -> list[str]:
    """Names of weights that reach the outputs, evenly spread over the model."""
    without = {
        *case.raw.get("insensitive", ()),
        *case.raw.get("entries_without_influence", ()),
        *case.raw.get("weak", ()),
    }
    names = [key for key, _, kind in case.raw["state"] if kind == "param" and key not in without]
    return names[:: -(-len(names) // most)]


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_another_weight_is_another_output(name: str) -> None:
    case = CASES[name]
    state, (model, key_map) = case.state, fresh(case)
    twins = {first: second for second, first in case.raw.get("aliases", {}).items()}
    for key in influential(case):
        changed = state[key] + 0.01 * case.random(f"change of {key}", tuple(state[key].shape))
        one_off = {**state, key: changed, **({twins[key]: changed} if key in twins else {})}
        load(model, one_off, layout=key_map)
        assert any(value > tolerance(case, output) for output, value in errors(case, model)), key


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_export_gives_the_weights_back(name: str) -> None:
    case = CASES[name]
    model = build(case)
    state, exported = case.state, export(model, written(case, model))
    kinds = {key: kind for key, _, kind in case.raw["state"]}
    assert exported.keys() == state.keys()
    for key, value in state.items():
        if key in case.indices:  # the case does not hold their values
            assert exported[key].shape == value.shape
            assert exported[key].dtype == value.dtype
        elif kinds[key] == "fixed":  # the reference rounded these to float32
            torch.testing.assert_close(exported[key].double(), value, rtol=0.0, atol=1e-6)
        else:
            assert torch.equal(exported[key], value), key


def test_error_is_infinite_for_nan_and_other_shapes() -> None:
    ones = torch.ones(2, 3)
    assert error(ones, ones) == 0.0
    assert error(ones.where(torch.eye(2, 3) == 0, float("nan")), ones) == float("inf")
    assert error(ones[:1], ones) == float("inf")
    assert error(3 * ones, 2 * ones) == 0.5


def test_command_fails_on_a_wrong_output_and_an_unknown_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(str(shutil.copy(FOLDER / "vit.json", tmp_path))) == 0
    raw = json.loads((FOLDER / "vit.json").read_text())
    raw["outputs"]["logits"][0][0] += 1e-7
    (tmp_path / "wrong.json").write_text(json.dumps(raw))
    assert check(str(tmp_path / "wrong.json")) == 1
    assert "FAILED" in capsys.readouterr().out
    (tmp_path / "unknown.json").write_text(json.dumps(raw | {"architecture": "Nothing"}))
    assert check(str(tmp_path / "unknown.json")) == 2
    assert "no builder for" in capsys.readouterr().err
    (tmp_path / "output.json").write_text(json.dumps(raw | {"outputs": {"unheard": [0.0]}}))
    assert check(str(tmp_path / "output.json")) == 2
    (tmp_path / "no_case.json").write_text("{}")
    assert check(str(tmp_path / "no_case.json")) == 2
    assert check(str(tmp_path / "absent.json")) == 2
