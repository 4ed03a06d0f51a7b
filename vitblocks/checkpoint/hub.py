"""The Hugging Face Hub, where there is huggingface_hub, and the small files of JSON that its repositories have."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..extras import extra

MOST_BYTES = 16 * 2**20
"""Of a file of JSON, which is read before it is known to be small."""


def is_repository(name: str) -> bool:
    """Whether it can be the id of a repository, ``org/name``."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None


def hub(what: str) -> Any:
    """huggingface_hub; raises ImportError that says for ``what`` it is needed and how to have it."""
    with extra("huggingface_hub", what):
        import huggingface_hub
    return huggingface_hub


def snapshot(name: str, patterns: Sequence[str], what: str, **download: Any) -> Path:
    """The folder of a repository's files that match, downloaded once. ``what`` and ImportError: see :func:`hub`."""
    return Path(hub(what).snapshot_download(name, allow_patterns=list(patterns), **download))


def read_json(path: Path) -> Any:
    """What a small file of JSON holds.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is large, or no JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} has more than {MOST_BYTES:,} bytes")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
