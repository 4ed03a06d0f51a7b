"""What the package says is proven is what docs/fidelity.md says."""

from __future__ import annotations

from vitblocks.registry import variants
from vitblocks.zoo.proofs import proofs

from .proofs import counted


def test_the_package_has_what_the_page_says() -> None:
    said = {paper: {layout: one._asdict() for layout, one in found.items()} for paper, found in proofs().items()}
    assert said == counted(), "run python -m tests.golden.proofs"


def test_every_paper_with_variants_is_proven() -> None:
    papers = {one.build.__module__.removeprefix("vitblocks.zoo.").partition(".")[0] for one in variants().values()}
    assert papers <= proofs().keys()
