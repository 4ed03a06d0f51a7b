"""The conclusions' numbers are those of the recorded tables, and every row of these is read."""

from __future__ import annotations

from benchmarks.results import CPU, PAGE, cpu, gpu, means, picture_of_gpu, tables


def test_the_page_has_the_means_of_the_tables() -> None:
    assert f"<!-- means -->\n{means()}\n<!-- /means -->" in PAGE.read_text()


def test_every_number_is_read() -> None:
    root = PAGE.parent / "results"
    named = {heads[0]: rows for _, heads, rows in tables(root / "cpu.md")}
    for name, found in cpu().items():
        assert len(found) >= len(named[CPU[name][0]]) - 1  # one is not measured
    assert {len(found) for found in gpu().values()} == {12, 11, 3}  # timm's DINOv3 cannot be recorded


def test_a_mark_for_every_model() -> None:
    axes = picture_of_gpu().axes
    assert [len(labels.get_yticks()) for labels in axes] == [12, 11]
    assert sum(len(line.get_xdata()) for line in axes[0].lines) == 2 + 3 * 12  # the line at 1, and the marks
