"""``python -m tests.release`` (``make release-check``): what is published, built and tried as its users get it.

The wheel and the source distribution are built, each installed into a fresh environment of every Python at hand, with the lowest torch that
pyproject.toml allows and with the newest that there is; a hybrid, a zoo model, a swap and a file are run through it from an empty folder,
and mypy checks a typed script against the newest.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("python3.10", "python3.11", "python3.12", "python3.13")
SCRIPT = ROOT / "tests" / "types" / "user.py"

SMOKE = """
import importlib.metadata, pathlib
import torch, vitblocks
from vitblocks import Block, ConvEmbed, GlobalAttention, LocalWindowAttention, MeanPool, Mlp, Model, Stage, swap_attention
assert "site-packages" in vitblocks.__file__, vitblocks.__file__
assert (pathlib.Path(vitblocks.__file__).parent / "py.typed").exists()
model = Model(
    ConvEmbed(4, 16),
    [Stage([Block(16, GlobalAttention(16, 2), Mlp(16))])],
    pool=MeanPool(),
    head=torch.nn.Linear(16, 3),
).eval()
images = torch.rand(2, 3, 32, 24)
assert model(images).shape == (2, 3)
swap_attention(model, LocalWindowAttention, window=4)
model.save_pretrained("saved")
assert torch.equal(Model.from_pretrained("saved").eval()(images), model(images))
vit = vitblocks.create_model("vit_tiny_patch16_224").eval()
assert vit(torch.rand(1, 3, 224, 224)).shape == (1, 1000)
assert len(vitblocks.list_models(pretrained=True)) > 300
print(importlib.metadata.version("vitblocks"), "on torch", torch.__version__)
"""


def run(*command: object, cwd: Path = ROOT) -> str:
    """The output of a command.

    Raises:
        SystemExit: it fails; what it said is shown.
    """
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done.stdout.strip()


def lowest_torch() -> str:
    found = re.search(r'"torch>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert found is not None
    return f"torch=={found[1]}.0"


def works(python: str) -> bool:
    """Whether there is such a Python; a shim of that name may lead nowhere."""
    return bool(shutil.which(python)) and not subprocess.run([python, "--version"], capture_output=True).returncode


def built(folder: Path) -> list[Path]:
    """The wheel and the source distribution."""
    run(sys.executable, "-m", "venv", folder / "build")
    python = folder / "build" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "build")
    run(python, "-m", "build", "--outdir", folder / "dist", ROOT)
    return sorted((folder / "dist").iterdir())


def tries(pythons: Sequence[str], files: Sequence[Path]) -> Iterator[tuple[str, Path, str]]:
    """Python, file and torch of every environment: each Python has both torches with the wheel, one of them has the source, too."""
    for python in pythons:
        for torch in (lowest_torch(), "torch"):
            yield python, next(file for file in files if file.suffix == ".whl"), torch
    yield pythons[-1], next(file for file in files if file.suffix == ".gz"), "torch"


def attempt(python: str, file: Path, torch: str, folder: Path) -> str:
    environment = Path(tempfile.mkdtemp(dir=folder))
    run(python, "-m", "venv", environment)
    inside = environment / "bin" / "python"
    run(inside, "-m", "pip", "install", "--quiet", file, torch)
    empty = environment / "empty"
    empty.mkdir()
    said = run(inside, "-c", SMOKE, cwd=empty)
    if torch == "torch" and file.suffix == ".whl":
        run(inside, "-m", "pip", "install", "--quiet", "mypy")
        shutil.copy(SCRIPT, empty)  # beside the repository mypy would read the package from there
        run(inside, "-m", "mypy", "--strict", SCRIPT.name, cwd=empty)
        said += ", a typed script checked"
    shutil.rmtree(environment)
    return said


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.release", description=__doc__)
    here = [python for python in PYTHONS if works(python)] or [sys.executable]
    parser.add_argument("--python", nargs="+", default=here, help="which Pythons (default: those at hand)")
    pythons = parser.parse_args(arguments).python
    print(f"Pythons: {', '.join(pythons)}; not at hand: {', '.join(p for p in PYTHONS if not works(p)) or 'none'}")
    with tempfile.TemporaryDirectory() as folder:
        files = built(Path(folder))
        print(*(file.name for file in files), sep="\n")
        for python, file, torch in tries(pythons, files):
            print(f"{python}, {file.name}, {torch}: {attempt(python, file, torch, Path(folder))}", flush=True)


if __name__ == "__main__":
    main()
