"""The README's Python runs as it stands, its links lead somewhere, and the numbers of its zoo are those of the cases."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_python_blocks_run_in_order() -> None:
    assert len(BLOCKS) >= 5
    names: dict[str, Any] = {"__name__": "readme"}
    for i, block in enumerate(BLOCKS):
        exec(compile(block, f"README.md, block {i}", "exec"), names)


def test_the_report_of_the_swap_was_undone_for_good() -> None:
    names: dict[str, Any] = {"__name__": "readme"}
    for block in BLOCKS[:3]:
        exec(compile(block, "README.md", "exec"), names)
    kinds = [type(block.attn).__name__ for _, block in names["model"].blocks()]
    assert kinds == ["LocalWindowAttention", "TalkingHeadsAttention", "TalkingHeadsAttention"]
    assert {layer.new_kind for layer in names["report"].layers} == {"LocalWindowAttention"}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT))))
def test_links_lead_to_files(target: str) -> None:
    assert (ROOT / target).exists()


def test_pictures_are_small() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", TEXT)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 150_000


def test_every_case_is_counted() -> None:
    cases = [path for path in (ROOT / "tests" / "golden").glob("*.json") if "case" in json.loads(path.read_text())]
    assert f"{len(cases)} comparisons" in TEXT
