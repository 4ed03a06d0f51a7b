"""Another process that loads what a library saved, and has nothing of that library in it: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import vitblocks
from vitblocks import checkpoint

THEIRS = ("timm", "transformers", "vit_pytorch")


class Fresh:
    """The process, as long as it is needed: it imports once, and keeps no model."""

    def __init__(self) -> None:
        root = Path(__file__).parents[3]
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def errors(self, source: Mapping[str, Any], images: list[Tensor], outputs: list[Tensor]) -> list[float]:
        """How far what it loads from a source is from ``outputs``, of the largest of each.

        Args:
            source: keywords of ``load_model``, and ``origin``, the full name of their class, if ours is not called with images alone; or
                ``{"recipe": path, "weights": path}`` of a model that no config tells.

        Raises:
            RuntimeError: it could not load it; the message is what it raised.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            given = Path(folder) / "given.pt"
            torch.save((images, outputs), given)
            print(json.dumps({"source": source, "given": str(given)}), file=self.process.stdin, flush=True)
            found = json.loads(self.process.stdout.readline())
        if "failed" in found:
            raise RuntimeError(found["failed"])
        return list(found["errors"])

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def loaded(source: Mapping[str, Any]) -> torch.nn.Module:
    """The model of a source, in evaluation."""
    if "recipe" in source:
        model: Any = vitblocks.build(json.loads(Path(source["recipe"]).read_text()))
        checkpoint.load(model, source["weights"])
        return model.eval()
    return vitblocks.load_model(**source)


@torch.no_grad()
def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    from vitblocks.border.origin import origins, plain_call
    from vitblocks.folding.report import relative_error

    images, outputs = torch.load(asked["given"])
    try:
        source = dict(asked["source"])
        origin = source.pop("origin", None)
        call = plain_call if origin is None else origins()[origin][1].own
        model = loaded(source)
        errors = [relative_error(call(model, image), output) for image, output in zip(images, outputs, strict=True)]
    except Exception as error:  # whatever it is, the other process has to know
        return {"failed": f"{type(error).__name__}: {error}"}
    if strangers := [name for name in THEIRS if name in sys.modules]:
        return {"failed": f"{', '.join(strangers)} was imported"}
    return {"errors": errors}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
