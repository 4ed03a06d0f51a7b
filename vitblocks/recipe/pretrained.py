"""The methods of models that are saved and loaded whole."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import Self

from .limits import Limits


class Pretrained:
    """``save_pretrained``, ``from_pretrained`` and ``push_to_hub`` for a module that can be described.

    They are the functions of :mod:`vitblocks.checkpoint.pretrained`, which take any such module.
    """

    preprocessing: Mapping[str, Any] | None = None
    labels: Sequence[str] | None = None

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        preprocessing: Mapping[str, Any] | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Write weights and description to a folder: see :func:`vitblocks.checkpoint.save_pretrained`."""
        from ..checkpoint import save_pretrained

        model: Any = self
        save_pretrained(model, folder, preprocessing=preprocessing, labels=labels)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], *, limits: Limits | None = None, **download: Any) -> Self:
        """The model of a folder or of a repository of the Hub: see :func:`vitblocks.checkpoint.from_pretrained`.

        Raises:
            ValueError: it is no model of this class.
        """
        from ..checkpoint import from_pretrained

        model: Any = from_pretrained(source, limits=limits, **download)
        if not isinstance(model, cls):
            raise ValueError(f"{source} holds a {type(model).__name__}, not a {cls.__name__}")
        return model

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | None = None, **about: Any) -> str:
        """Write the model to a repository of the Hub: see :func:`vitblocks.checkpoint.push_to_hub`."""
        from ..checkpoint import push_to_hub

        model: Any = self
        return push_to_hub(model, repo_id, private=private, token=token, **about)
