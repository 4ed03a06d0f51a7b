"""The command line of the demo."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ..extras import missing

PACKAGES = ("accelerate", "kornia", "PIL", "sklearn", "rich", "matplotlib")
"""What the demo needs beside the core."""


@dataclass(frozen=True)
class Options:
    """What the demo is asked for."""

    output: Path
    seed: int
    epochs: int
    threads: int | None
    quiet: bool


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """An argument type: an int from ``least`` to ``most``."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, got {text!r}")
        return value

    return number


def parser() -> Parser:
    made = Parser(
        prog="vitblocks-demo",
        description="Assemble a hybrid vision transformer from parts, train it on scanned digits, save and reload it, swap "
        "one of its attention kinds, and draw what it looks at. About a minute on two CPU cores.",
    )
    made.add_argument("--output", type=Path, default=Path("demo"), help="folder for what is written (default: demo)")
    made.add_argument(
        "--seed",
        type=whole_number(0, 2**31 - 1),
        default=0,
        help="of the split, the weights and the training (default: 0)",
    )
    made.add_argument("--epochs", type=whole_number(1, 1000), default=20, help="to train for (default: 20)")
    made.add_argument("--threads", type=whole_number(1, 1024), help="CPU threads (default: PyTorch's own choice)")
    made.add_argument("--quiet", action="store_true", help="print nothing unless something goes wrong")
    return made


def make_folder(folder: Path) -> None:
    """Make the folder, and try it, so that a minute's work is not lost on one that cannot be written to.

    Raises:
        OSError: it cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trial = folder / ".writable"
    trial.touch()
    trial.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code.

    Exits with one line and 2 for an argument or a folder that will not do, a missing extra or a full disk, and with 128 and the signal's
    number where one stopped it. Files are whole or not there.
    """
    command = parser()
    options = Options(**vars(command.parse_args(arguments)))
    if lacking := missing(*PACKAGES):
        command.exit(2, f"{command.prog}: {lacking}\n")
    try:
        make_folder(options.output)
    except OSError as error:
        command.error(f"argument --output: cannot write to {str(options.output)!r}: {error.strerror}")
    # Imported this late so that --help and errors come at once, and without the extras.
    from ..train import Stopped
    from .run import run

    try:
        return run(options)
    except Stopped as stopped:
        command.exit(128 + stopped.signal, f"\n{command.prog}: interrupted\n")
    except KeyboardInterrupt:
        command.exit(130, f"\n{command.prog}: interrupted\n")
    except OSError as error:
        command.exit(2, f"\n{command.prog}: {error}\n")
