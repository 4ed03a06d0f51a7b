"""What is trained on what and how, from a file and flags."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..checks import check_int, check_number
from ..train import Recipe, preset
from ..train.recipe import read_config


@dataclass
class Settings:
    """What a config file may say, and flags say over it."""

    model: str | None = None
    data: str | None = None
    output: str | None = None
    preset: str | None = None
    recipe: Any = None
    model_options: Any = None
    pretrained: bool = False
    teacher: str | None = None
    splits: str | None = None
    held_out: float = 0.2
    split_seed: int = 0
    labels: int | None = None
    images: int | None = None
    classes: int | None = None
    workers: int = 0
    keep: int = 2
    save_every: int | None = None

    @classmethod
    def of(cls, config: Path | None, flags: dict[str, Any]) -> Settings:
        """Raises ValueError for a key that is none, or when model, data or output is said nowhere."""
        said = {} if config is None else read_config(config)
        names = list(cls.__dataclass_fields__)
        for key in said:
            if key not in names:
                close = get_close_matches(key, names, n=3)
                raise ValueError(
                    f"{config} has no {key!r}; "
                    + (f"did you mean {', '.join(close)}?" if close else f"it has {', '.join(names)}")
                )
        for name in ("recipe", "model_options"):
            given, flag = said.get(name) or {}, flags.pop(name)
            if not isinstance(given, dict):
                raise ValueError(f"{config}, {name}: must be a dictionary, got {given!r:.80}")
            said[name] = {**given, **flag}
        found = cls(**{**said, **{name: value for name, value in flags.items() if value is not None}})
        found._check()
        for name in ("model", "data", "output"):
            if getattr(found, name) is None:
                raise ValueError(f"--{name} must be given, or said in the config")
        return found

    def _check(self) -> None:
        """Raises TypeError or ValueError for what a file said and a flag could not."""
        for name in ("model", "data", "output", "preset", "teacher", "splits"):
            if not isinstance(getattr(self, name), str | None):
                raise TypeError(f"{name} must be a text, got {getattr(self, name)!r}")
        for name, least in {"labels": 1, "images": 1, "classes": 2, "workers": 0, "keep": 1, "save_every": 1}.items():
            if getattr(self, name) is not None or name in ("workers", "keep"):
                check_int(name, getattr(self, name), least)
        check_int("split_seed", self.split_seed, 0)
        check_number("held_out", self.held_out)
        if not isinstance(self.pretrained, bool):
            raise TypeError(f"pretrained must be true or false, got {self.pretrained!r}")

    def made_recipe(self) -> Recipe:
        return Recipe.of(self.recipe) if self.preset is None else preset(self.preset, **self.recipe)
