"""No key of a case's config is ignored: another value makes another model, or is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.golden.__main__ import check
from tests.golden.case import Case
from tests.golden.check import NoBuilderError, config_of, find_builder
from tests.golden.config import Config, ConfigError
from vitblocks.checkpoint import export

FOLDER = Path(__file__).parent
CASES = {path.stem: Case.read(path) for path in sorted(FOLDER.glob("*.json"))}

# What is without effect in the references, too, by architecture: path in the config -> why.
WITHOUT_EFFECT: dict[str, dict[str, str]] = {
    "ATS": {"num_tokens": "cut down to the number of tokens that a block gets; smaller numbers fail"},
    "CrossViT": {"mlp_ratio.2": "fusions have no feed-forward"},
    "DeepViT": {"depth": "only the length of the list counts"},
    "LocalViT": {"reduction": "of the squeeze, which only act=3 has"},
    "MaxViT": {
        **dict.fromkeys(
            ("cfg.transformer_cfg.attn_drop", "cfg.transformer_cfg.proj_drop"), "twice no dropout is no dropout"
        ),
        "cfg.transformer_cfg.head_first": "the order of weights in a checkpoint, which the key map of a case has",
        "cfg.weight_init": "the weights are made from their names",
        "cfg.transformer_cfg.expand_first": "widths do not change within a block",
        "cfg.transformer_cfg.shortcut_bias": "of CoAtNet's blocks",
        "cfg.transformer_cfg.use_nchw_attn": "the same, in another order of axes",
        "cfg.transformer_cfg.rel_pos_dim": "of an MLP of positions, which only rel_pos_type=mlp has",
    },
    "SAM ViT": {"mlp_ratio": "transformers reads it where there is no mlp_dim alone"},
    "DINO loss": {
        "epochs.2": "an epoch later is after the warm-up, too",
        "nepochs": "the temperature stays as it is after the warm-up",
    },
}


def others(value: Any) -> list[Any]:
    """Values that a key could have instead."""
    match value:
        case bool():
            return [not value]
        case int():
            return [2 * value, value + 1]
        case float():
            return [2 * value]
        case None:
            return [2]
        case str():
            return ["nothing that anybody calls so"]
    raise TypeError(f"{value!r} is no part of a config")


def changes(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Everything that differs from a value in one place: the place, and the whole."""
    if not isinstance(value, (dict, list)):
        yield from ((path, other) for other in others(value))
        return
    for key in value if isinstance(value, dict) else range(len(value)):
        for place, other in changes(value[key], f"{path}.{key}" if path else str(key)):
            whole = copy.copy(value)
            whole[key] = other
            yield place, whole


def changed(case: Case, config: dict[str, Any]) -> Case:
    return Case({**case.raw, "config": config})


def built(case: Case, device: str = "cpu") -> tuple[nn.Module, Config]:
    config, builder = config_of(case), find_builder(case)
    torch.manual_seed(0)
    with torch.device(device):
        model = builder.build(config)
    for setting in builder.settings:
        config.get(setting)
    config.finish()
    return model.double().eval(), config


def described(case: Case, model: nn.Module) -> Iterator[object]:
    """What can be told of a model without running it, and what the reference calls its weights if that depends on the config.

    What takes longer comes later: most models differ in what comes first.
    """
    yield {key: tuple(value.shape) for key, value in model.state_dict().items()}
    yield [parameter.requires_grad for parameter in model.parameters()]
    key_map = find_builder(case).key_map
    yield None if key_map is None else list(export(model, key_map(Config(case.config))))
    yield repr(model)


@torch.no_grad()
def outputs(case: Case, model: nn.Module) -> dict[str, Tensor]:
    how = {name: find_builder(case).output(name) for name in case.raw["outputs"]}
    return {name: output(model, case) for name, output in how.items() if output is not None}


def differ(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return any(one[name].shape != two[name].shape or not torch.equal(one[name], two[name]) for name in one)


def is_another(case: Case, model: nn.Module, description: list[object], other: Case) -> bool:
    """Whether another config makes another model, other outputs, or is refused."""
    try:
        if any(a != b for a, b in zip(described(other, built(other, "meta")[0]), description, strict=True)):
            return True
        rebuilt, _ = built(other)
    except ConfigError as error:
        # Two keys that do not go together are refused by the name of either.
        return any(key in str(error) for key in case.config)
    except ValueError:  # sizes that no model can have together
        return True
    if differ(model.state_dict(), rebuilt.state_dict()):
        return True
    try:
        return differ(outputs(case, model), outputs(other, rebuilt))
    except (ValueError, LookupError, RuntimeError):  # an input of another size than the case's
        return True


def of_different_kinds() -> list[str]:
    """The names of cases that differ in their builder or in the keys of their config."""
    seen: dict[tuple[object, ...], str] = {}
    for name, case in CASES.items():
        paths = sorted({place for place, _ in changes(case.config)})
        seen.setdefault((id(find_builder(case)), *paths), name)
    return list(seen.values())


@pytest.mark.parametrize("name", of_different_kinds())
def test_another_value_makes_another_model_or_is_refused(name: str) -> None:
    case = CASES[name]
    model, read = built(case)
    description = [*described(case, model)]
    places: dict[str, bool] = {}
    for place, config in changes(case.config):
        if not (place.split(".")[0] in read.without_effect or is_known(case, place) or places.get(place)):
            places[place] = is_another(case, model, description, changed(case, config))
    assert not [place for place, another in places.items() if not another]


def is_known(case: Case, place: str) -> bool:
    """Whether the place is, or lies in, one that has no effect in the reference."""
    known = WITHOUT_EFFECT.get(case.architecture, {})
    return any(place == path or place.startswith(f"{path}.") for path in known)


@pytest.mark.parametrize("name", CASES)
def test_a_key_that_nobody_knows_is_refused(name: str) -> None:
    case = CASES[name]
    with pytest.raises(ConfigError, match=r"config\.unheard_of"):
        built(changed(case, {**case.config, "unheard_of": 1}))


@pytest.mark.parametrize("name", CASES)
def test_a_builder_is_found_by_the_reference_and_not_by_the_name_of_the_case(name: str) -> None:
    renamed = Case({**CASES[name].raw, "case": "another name"})
    assert find_builder(renamed) is find_builder(CASES[name])
    with pytest.raises(NoBuilderError):
        find_builder(Case({**CASES[name].raw, "layout": "unheard of"}))


def test_nested_keys_are_read_one_by_one() -> None:
    config = Config({"stages": [{"dim": 1, "depth": 2}, {"dim": 3}], "all": {"bias": True}, "drop_rate": 0.1})
    assert [stage["dim"] for stage in config["stages"]] == [1, 3]
    assert config.unread() == ["config.all", "config.stages.0.depth", "config.all.bias"]
    with pytest.raises(ConfigError, match=r"config\.stages\.0\.depth"):
        config.finish()
    with pytest.raises(ConfigError, match="lacks 'absent'"):
        config["absent"]
    assert "absent" not in config
    assert config.get("absent", 5) == 5
    with pytest.raises(ConfigError, match=r"config.stages.1.dim is 3: no such option but 1"):
        config["stages"][1].only("dim", 1, why="no such option")
    with pytest.raises(ConfigError, match="2 stages"):
        Config({"depth": [1, 2, 3]}).each("depth", 2)
    with pytest.raises(ConfigError, match=r"img_size is 32: the case feeds an image of \(32, 48\)"):
        Config({"img_size": 32}, (2, 3, 32, 48)).same_size("img_size")


def test_command_names_a_key_that_it_cannot_honour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = json.loads((FOLDER / "vit.json").read_text())
    raw["config"]["scale_attn_norm"] = True
    (tmp_path / "asked.json").write_text(json.dumps(raw))
    assert check(str(tmp_path / "asked.json")) == 2
    assert "config.scale_attn_norm is True" in capsys.readouterr().err
