"""What a conversion writes on its way, so that what was done is not done again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import nn

from ..checkpoint.files import write_whole
from ..checkpoint.tensor_file import read_tensors, write_tensors
from .drift import Drift
from .report import Stage


class Keep:
    """The folder of a conversion: what was done, so that it is not done again."""

    def __init__(self, folder: Path | None, assignment: Mapping[str, str], settings: Mapping[str, Any]) -> None:
        self.folder = folder
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        about = json.dumps({"assignment": dict(assignment), "settings": dict(settings)}, sort_keys=True)
        self.mark = sha256(about.encode()).hexdigest()
        what = folder / "conversion.json"
        if what.exists() and json.loads(what.read_text(encoding="utf-8")).get("mark") != self.mark:
            raise ValueError(f"{folder} is of another conversion: give an empty folder, or the settings of that one")
        write_whole(what, [json.dumps({"mark": self.mark, **json.loads(about)}, indent=1).encode()])

    def path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{name}.safetensors"

    def done(self, name: str, model: nn.Module) -> Stage | None:
        path = self.path(name)
        if path is None or not path.exists():
            return None
        tensors, about = read_tensors(path)
        model.load_state_dict(tensors)
        data = json.loads(about["stage"])
        return Stage(**{**data, "drift": Drift(**data["drift"])})

    def write(self, stage: Stage, model: nn.Module) -> None:
        path = self.path(stage.name)
        if path is None:
            return
        tensors = {key: value.detach().cpu() for key, value in model.state_dict().items()}
        write_tensors(path, tensors, {"stage": json.dumps(asdict(stage))})
        loop = self.path(f"{stage.name}.loop")
        if loop is not None:
            loop.unlink(missing_ok=True)
