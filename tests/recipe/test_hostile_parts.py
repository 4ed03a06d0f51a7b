"""Every registered class and function with arguments that nobody would give who meant well: a ValueError that names the place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from inspect import Parameter
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vitblocks import Mlp, describe, list_parts
from vitblocks.checkpoint import from_pretrained, load_file, save, save_pretrained
from vitblocks.recipe import Limits, build
from vitblocks.recipe.part import signature_of

from .examples import instances

OURS = [name for name, value in list_parts().items() if value.__module__.startswith("vitblocks.")]


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def cyclic() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


REFUSED: dict[str, tuple[Any, str]] = {
    "huge": (10**9, "1000000000 is more than 1,000,000"),
    "huge, below": (-(10**9), "-1000000000 is more than 1,000,000"),
    "longer than can be printed": (10**5000, "more than 20 digits"),
    "huge, within": ({"tuple": [1, 10**9]}, r"tuple\[1\]: 1000000000 is more than"),
    "deep": (deep(100), "nested deeper than 64 values"),
    "a cycle": (cyclic(), "nested deeper than 64 values"),
    "a path": ({"class": "os.system", "args": {}}, "'os.system' is no registered part"),
    "a name with dots": ({"name": "nn.Linear.__init__"}, "'nn.Linear.__init__' is no registered part"),
    "an object": (object(), "a object is no plain data"),
}
"""What no argument can be."""


@cache
def described(name: str) -> dict[str, Any]:
    """A description that is fine."""
    modules = instances().get(name)
    return json.loads(json.dumps(describe(modules[0]))) if modules else {"class": name, "args": {}}


def arguments(name: str) -> list[str]:
    named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    taken = [p.name for p in signature_of(list_parts()[name]).parameters.values() if p.kind in named]
    return list(dict.fromkeys([*described(name).get("args", {}), *taken]))


def with_argument(name: str, argument: str, value: Any) -> dict[str, Any]:
    found = described(name)
    return {**found, "args": {**found["args"], argument: value}}


def refused(description: Any, names: tuple[str, ...], message: str = "") -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build(description)
    assert any(name in str(caught.value) for name in names), caught.value


@pytest.mark.parametrize("name", OURS)
def test_what_no_part_takes(name: str) -> None:
    """As an argument that there is, as one that there is not, and a factory's."""
    for i, argument in enumerate([*arguments(name), "nobody's", "a.b", "__class__", ""]):
        value, message = list(REFUSED.values())[(i + crc32(name.encode())) % len(REFUSED)]
        refused(with_argument(name, argument, value), (name, argument), message)
    for value, message in REFUSED.values():
        refused({"class": name, "args": {"outer": {"partial": name, "args": {"x": value}}}}, ("outer", name), message)
    for argument in ("nobody's", "a.b", "__class__", "self", ""):
        refused(with_argument(name, argument, 1), (name,))


MAYBE: list[Any] = [
    *({"float": "nan"}, float("nan"), {"float": "inf"}, 1e300, -1, 0, True, 0.5, None),
    *("", "a.b", "__import__('os').abort()", [], [[]], {"tuple": [1, 2, 3]}, {"dict": {"a.b": 1}}),
    *({"dtype": "float64"}, {"name": "ViT"}, {"name": "num_prefix"}, {"class": "nn.ReLU", "args": {}}),
    {"partial": "nn.Linear", "args": {"out_features": 10**6}},
]
"""What some arguments can be."""


def try_out(name: str, argument: str, value: Any) -> None:
    """The part is made with it, or refuses it by a ValueError that names the place."""
    try:
        with torch.device("meta"):
            build(with_argument(name, argument, value))
    except ValueError as error:
        assert name in str(error) or argument in str(error), error  # noqa: PT017


@pytest.mark.parametrize("name", [name for name in OURS if name in instances()])
def test_what_some_parts_take(name: str) -> None:
    for argument in arguments(name):
        try_out(name, argument, MAYBE[crc32(f"{name}{argument}".encode()) % len(MAYBE)])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OURS if name in instances()])
def test_all_that_some_parts_take(name: str) -> None:
    for argument in arguments(name):
        for value in [*MAYBE, 10**6, {"tuple": [10**6] * 3}, [10**6] * 50]:
            try_out(name, argument, value)


def test_no_number_is_nan() -> None:
    """In a description of a number, whatever the part does with it."""
    for value in ({"float": "nan"}, float("nan")):
        refused({"class": "Mlp", "args": {"dim": 4, "dropout": value}}, ("Mlp",), "dropout must be float, got nan")
        refused({"class": "Mlp", "args": {"dim": value}}, ("Mlp",), "dim must be int, got nan")


def test_what_is_computed_is_bounded() -> None:
    """Tensors that are made on the way to what is registered count, too: nothing is drawn a million times."""
    attend = {"class": "KernelAttend", "args": {"head_dim": 8, "features": 10**6}}
    with pytest.raises(ValueError, match="more than 1,000 operations"):
        build(
            {"class": "GlobalAttention", "args": {"dim": 16, "heads": 2, "attend": attend}},
            limits=Limits(operations=1000),
        )
    with pytest.raises(ValueError, match="a tensor of more than 100 elements"):
        build({"class": "nn.Linear", "args": {"in_features": 20, "out_features": 20}}, limits=Limits(elements=100))


# From files.


def hostile(name: str) -> Iterator[tuple[dict[str, Any], str]]:
    chosen = crc32(name.encode())
    values = [REFUSED[key] for key in ("huge", "huge, below", "huge, within", "deep", "a path", "a name with dots")]
    taken = arguments(name) or ["nobody's"]
    for i in range(2):
        value, message = values[(chosen + i) % len(values)]
        yield with_argument(name, taken[(chosen + i) % len(taken)], value), message


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("saved")
    save_pretrained(Mlp(4), made)
    return made


@pytest.mark.parametrize("name", OURS)
def test_files_name_themselves_and_the_place(name: str, folder: Path, tmp_path: Path) -> None:
    """As the config of a folder, and beside weights that would fit a model that there is."""
    model = Mlp(4)
    before, path = {key: value.clone() for key, value in model.state_dict().items()}, tmp_path / "weights.safetensors"
    for description, message in hostile(name):
        text = json.dumps(description)
        (folder / "config.json").write_text(f'{{"model": {text}}}')
        with pytest.raises(ValueError, match=message) as caught:
            from_pretrained(folder)
        assert f"{folder / 'config.json'}, model: " in str(caught.value)
        save_file({key: value + 1 for key, value in before.items()}, path, {"recipe": text})
        with pytest.raises(ValueError, match=message) as caught:
            load_file(model, path)
        assert f"{path}, recipe: " in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_numbers_of_more_digits_than_python_reads(folder: Path, tmp_path: Path) -> None:
    model, path = Mlp(4), tmp_path / "weights.safetensors"
    text = f'{{"class": "Mlp", "args": {{"dim": {"9" * 5000}}}}}'
    (folder / "config.json").write_text(f'{{"model": {text}}}')
    with pytest.raises(ValueError, match=r"config\.json is no JSON"):
        from_pretrained(folder)
    save(model, path)
    save_file(dict(model.state_dict()), path, {"recipe": text})
    with pytest.raises(ValueError, match=r"weights\.safetensors, recipe: "):
        load_file(model, path)
    assert isinstance(model.get_submodule("fc1"), nn.Linear)
