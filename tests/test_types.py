"""Types hold: what a type checker sees of the public names, and what it says of right and of wrong calls. mypy and pyright, offline."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from inspect import Parameter, getdoc, signature
from pathlib import Path
from types import FunctionType
from typing import Any, TypeAlias, get_args, get_type_hints

import pytest
from typing_extensions import is_typeddict

import vitblocks
from vitblocks import attention

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(__file__).parent / "types"
Checker: TypeAlias = Callable[[Path], list[tuple[int, str, str]]]
"""``script -> (line, severity, message)`` of each of its remarks."""

LOOSE = {"create_model", "swap", "swap_attention"}
"""What takes the keywords of a class that is named at run time."""


def mypy(script: Path) -> list[tuple[int, str, str]]:
    cache = os.environ.get("MYPY_CACHE_DIR", str(ROOT / ".mypy_cache" / "user"))
    options = ["--config-file=", "--strict", "--follow-imports=silent", "--no-error-summary", "--output=json"]
    command = [sys.executable, "-m", "mypy", *options, "--cache-dir", cache, str(script)]
    done = subprocess.run(
        command, cwd=script.parent, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stderr or done.stdout
    remarks = [json.loads(line) for line in done.stdout.splitlines()]
    return [(remark["line"], remark["severity"], remark["message"]) for remark in remarks]


def pyright(script: Path) -> list[tuple[int, str, str]]:
    project = script.parent / "pyrightconfig.json"
    project.write_text(json.dumps({"extraPaths": [str(ROOT)], "reportAttributeAccessIssue": "error"}))
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "--project",
        str(project),
    ]
    done = subprocess.run([*command, str(script)], cwd=script.parent, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr or done.stdout
    remarks = json.loads(done.stdout)["generalDiagnostics"]
    return [(remark["range"]["start"]["line"] + 1, remark["severity"], remark["message"]) for remark in remarks]


@pytest.fixture(params=[mypy, pyright], ids=["mypy", "pyright"])
def check(request: pytest.FixtureRequest) -> Any:
    return request.param


def copied(name: str, folder: Path) -> Path:
    """A script where a user's would lie: outside of this repository and its settings."""
    script = folder / name
    script.write_text((SCRIPTS / name).read_text())
    return script


def test_a_users_script_is_right(check: Checker, tmp_path: Path) -> None:
    assert [remark for remark in check(copied("user.py", tmp_path)) if remark[1] == "error"] == []


def test_a_users_script_runs() -> None:
    runpy.run_path(str(SCRIPTS / "user.py"), run_name="__main__")


def test_wrong_calls_are_errors(check: Checker, tmp_path: Path) -> None:
    script = copied("wrong.py", tmp_path)
    wrong = {i for i, line in enumerate(script.read_text().splitlines(), 1) if line.endswith("# wrong")}
    said = {line for line, severity, _ in check(script) if severity == "error"}
    lines = script.read_text().splitlines()
    assert {lines[i - 1] for i in wrong - said} == set(), "no error is said of these"
    assert {lines[i - 1] for i in said - wrong} == set(), "these are right"


def test_no_public_name_is_any(check: Checker, tmp_path: Path) -> None:
    script = tmp_path / "names.py"
    names = sorted(vitblocks.__all__)
    script.write_text("\n".join(["import vitblocks", *(f"reveal_type(vitblocks.{name})" for name in names)]) + "\n")
    remarks = [(line, message) for line, severity, message in check(script) if severity in ("note", "information")]
    revealed = {names[line - 2]: message for line, message in remarks if line > 1}
    assert revealed.keys() == set(names)
    for name, message in revealed.items():
        assert not re.search(r'"(builtins\.)?(Any|Unknown)"$', message), f"{name}: {message}"
        keywords = re.search(r"\*\*\w+: *(Any|Unknown)", message)
        assert name in LOOSE or keywords is None, f"{name} takes any keyword: {message}"


def typed_options() -> Iterator[tuple[str, str, set[str]]]:
    """Every public class and function with ``**options`` of a typed dictionary: its name, its docstring, those keys."""
    for module in (vitblocks, vitblocks.zoo, vitblocks.zoo.cct, vitblocks.zoo.deepvit, attention):
        for name, what in vars(module).items():
            if name.startswith("_") or not isinstance(what, (type, FunctionType)):
                continue
            function: Any = what.__init__ if isinstance(what, type) else what
            hint = (
                get_type_hints(function)["options"] if "options" in getattr(function, "__annotations__", {}) else None
            )
            if get_args(hint) and is_typeddict(get_args(hint)[0]):
                yield name, getdoc(what) or "", set(get_type_hints(get_args(hint)[0]))


def test_help_names_every_option() -> None:
    found = {name: (text, keys) for name, text, keys in typed_options()}
    assert len(found) >= 20
    for name, (text, keys) in found.items():
        missing = {key for key in keys if not re.search(rf"\b{key}\b", text)}
        assert not missing or "as for :func:`cct_2`" in text, f"help({name}) does not say {missing}"


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (attention.AttentionOptions, attention.Attention),
        (attention.CrossAttentionOptions, attention.CrossAttention),
        (attention.SelfAttentionOptions, attention.SelfAttention),
    ],
)
def test_options_are_the_keywords_of_their_class(options: Any, kind: Any) -> None:
    keywords = {p.name for p in signature(kind).parameters.values() if p.kind is Parameter.KEYWORD_ONLY}
    assert set(get_type_hints(options)) == keywords
    hints = get_type_hints(kind.__init__)
    assert all(hints[name] == hint for name, hint in get_type_hints(options).items())


def test_every_package_is_reachable_after_import() -> None:
    """In a fresh interpreter: nothing else has imported them."""
    code = (
        "import vitblocks as v; v.zoo.ViT; v.attention.Attend; v.checkpoint.load_file; v.inspect.capture; v.surgery.swap; "
        "v.objectives.MAE; v.pool.MeanPool; v.position.PEG; v.embed.ConvEmbed; v.folding.fold; v.testing.check_layer; v.viz; "
        "v.grid.Grid; v.block.Block; v.model.Model; v.norm.LayerNorm; v.registry.variants; v.train.fit; v.convert.plan; v.parameter_groups"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
