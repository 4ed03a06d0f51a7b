"""Packages of an extra: what is said where one is missing, and that the extra has it."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

from vitblocks.extras import DISTRIBUTIONS, EXTRAS, extra, missing, needed


@pytest.mark.parametrize("package", EXTRAS)
def test_the_extra_that_is_named_has_the_package(package: str) -> None:
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    (declared,) = re.findall(rf"^{EXTRAS[package]} = \[(.*?)\]$", project, re.MULTILINE | re.DOTALL)
    assert re.search(rf'"{DISTRIBUTIONS.get(package, package)}[>\[]', declared, re.IGNORECASE)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    said = r"^the digits needs scikit-learn: pip install 'vitblocks\[train\]'$"
    with pytest.raises(ModuleNotFoundError, match=said) as raised, extra("sklearn", "the digits"):
        import sklearn  # noqa: F401
    assert raised.value.name == "sklearn"
    with pytest.raises(ModuleNotFoundError, match=said):
        needed("sklearn", "the digits")
    assert missing("sklearn", "torch") == "needs scikit-learn: pip install 'vitblocks[train]'"
    assert missing("torch") is None


def test_what_a_package_itself_lacks_and_other_errors_pass() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'nowhere'$"), extra("sklearn", "it"):
        import_module("nowhere")
    with pytest.raises(ValueError, match=r"^its own$"), extra("sklearn", "it"):
        raise ValueError("its own")
