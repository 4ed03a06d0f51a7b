"""Proof that a written file does what the model does: it is run in a process of its own, where nothing else can be imported."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from .modules import projects

_RUN = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[2:]:
            raise ImportError(f"the file imports {name}")

sys.meta_path.insert(0, Refuse())
import torch

def leaves(found):
    inside = found.values() if isinstance(found, dict) else found if isinstance(found, (tuple, list)) else None
    return [found] if inside is None else [leaf for item in inside for leaf in leaves(item)]

folder = sys.argv[1]
written = sys.modules["written"] = type(sys)("written")
with open(f"{folder}/written.py", encoding="utf-8") as file:
    exec(compile(file.read(), "written.py", "exec"), vars(written))
given = torch.load(f"{folder}/given.pt", weights_only=True)
model = written.build_model()
shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
output = None
if given["sample"] is not None and list(shapes) == list(given["state"]):
    model.load_state_dict(given["state"], assign=True)
    torch.manual_seed(0)
    with torch.no_grad():
        output = leaves(model.eval()(given["sample"]))
torch.save({"shapes": shapes, "output": output}, f"{folder}/found.pt")
"""


def verify_source(text: str, model: nn.Module, sample: Tensor | None) -> None:
    """Raise ValueError unless a file makes a model with the same state, and the same outputs where there are images to compare on."""
    state = {key: value.detach() for key, value in model.state_dict().items()}
    on_meta = any(value.is_meta for value in state.values())
    images, expected = (None, None) if on_meta else _sample(model) if sample is None else _given(model, sample)
    found = _run(
        text,
        {} if on_meta else {key: value.cpu() for key, value in state.items()},
        None if images is None else images.cpu(),
    )
    shapes = {key: list(value.shape) for key, value in state.items()}
    if found["shapes"] != shapes or list(found["shapes"]) != list(shapes):
        differing = [key for key in {**shapes, **found["shapes"]} if shapes.get(key) != found["shapes"].get(key)]
        raise ValueError(
            f"the model cannot be written out: its file would differ in {', '.join(differing[:8]) or 'the order of keys'}"
        )
    if expected is not None and not _close(found["output"], expected):
        raise ValueError("the model cannot be written out: its file would give other outputs on a sample")


def _run(text: str, state: dict[str, Tensor], sample: Tensor | None) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        Path(folder, "written.py").write_text(text, encoding="utf-8")
        torch.save({"state": state, "sample": sample}, Path(folder, "given.pt"))
        refused = sorted({*projects(), "einops", "opt_einsum", "safetensors"} - {"__main__"})
        command = [sys.executable, "-I", "-c", _RUN, folder, *refused]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise ValueError(f"the model cannot be written out: its file would not run ({reason})")
        found: dict[str, Any] = torch.load(Path(folder, "found.pt"), weights_only=True)
        return found


def _sample(model: nn.Module) -> tuple[Tensor | None, list[Any] | None]:
    """An image of the size that the model was made for, or of a usual one, and what it gives for it; None if it takes none."""
    size = getattr(model, "image_size", None)
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    sizes = [size] if isinstance(size, tuple) and len(size) == 2 else [(32, 32), (64, 64), (224, 224)]
    channels = next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)
    for channel, (height, width) in product(dict.fromkeys((channels, 3, 1)), sizes):
        noise = torch.randn(1, channel, height, width, generator=torch.Generator().manual_seed(0))
        try:
            return noise.to(like), _outputs(model, noise.to(like))
        except Exception:  # it takes no such images
            continue
    return None, None


def _given(model: nn.Module, sample: Tensor) -> tuple[Tensor, list[Any]]:
    try:
        return sample, _outputs(model, sample)
    except Exception as error:
        raise ValueError(f"sample: the model fails on it ({error})") from error


def _close(found: list[Any] | None, expected: list[Any]) -> bool:
    """Whether outputs agree: to rounding, and to that of an accelerator where the model is on one."""
    if found is None or len(found) != len(expected):
        return False
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if isinstance(b, Tensor)]
    tolerances = [1e-5 if b.device.type == "cpu" else 1e-2 for _, b in pairs]
    return all(
        isinstance(a, Tensor)
        and (a.shape, a.dtype) == (b.shape, b.dtype)
        and torch.allclose(a, b.cpu(), rtol=t, atol=t * float(b.abs().max() if b.numel() else 0), equal_nan=True)
        for (a, b), t in zip(pairs, tolerances, strict=True)
    )


def _outputs(model: nn.Module, sample: Tensor) -> list[Any]:
    """What a model gives in evaluation, from the same random state each time."""
    from ..inspect.frames import evaluating  # whose parts are registered by this package

    with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _leaves(model(sample))


def _leaves(found: Any) -> list[Any]:
    """The tensors of an output."""
    inside = found.values() if isinstance(found, dict) else found if isinstance(found, (tuple, list)) else None
    return [found] if inside is None else [leaf for item in inside for leaf in _leaves(item)]
