"""Run notebooks and keep what their cells put out: ``python -m tests.notebooks docs/notebooks/*.ipynb`` (extra ``docs``)."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
STARTUP = """
from importlib.util import find_spec as _find_spec

if _find_spec("torchvision"):
    from benchmarks.peers import allow_torchvision as _allow

    _allow()
"""
"""Lets timm import a torchvision that was built for another torch, as the tests of timm do."""


def executed(path: Path, folder: Path, seconds: float = 900.0) -> Any:
    """The notebook after all its cells ran, in a kernel of their own, in ``folder``.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=int(seconds), kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    with tempfile.TemporaryDirectory() as place:
        startup = Path(place) / "startup.py"
        startup.write_text(STARTUP)
        client.execute(env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSTARTUP": str(startup)})
    return tidy(notebook)


def tidy(notebook: Any) -> Any:
    """Without what differs from run to run and is no output: times of cells, warnings, the version of Python."""
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def main() -> None:
    import nbformat

    for name in sys.argv[1:]:
        path = Path(name)
        nbformat.write(executed(path, path.parent), path)
        print(path)


if __name__ == "__main__":
    main()
