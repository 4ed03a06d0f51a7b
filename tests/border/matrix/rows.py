"""All rows of the matrix by their names, each with the library that it needs."""

from __future__ import annotations

from . import timm_rows, transformers_rows, vit_pytorch_rows
from .row import Row

LIBRARIES: dict[str, dict[str, Row]] = {
    "timm": timm_rows.ROWS,
    "transformers": transformers_rows.ROWS,
    "vit_pytorch": vit_pytorch_rows.ROWS,
}
ROWS: dict[str, tuple[str, Row]] = {
    name: (library, row) for library, rows in LIBRARIES.items() for name, row in rows.items()
}
