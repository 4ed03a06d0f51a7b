"""The commands put together, and how they fail."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

import torch
import typer

from ..train.stopping import NotFinite, Stopped
from . import changing, listing, looking, measuring, training

app = typer.Typer(
    name="vitblocks",
    help="Vision transformers from parts: list, look into, train, evaluate, change and convert them.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (listing, looking, training, changing, measuring):
    module.add(app)

FAILURES = (ValueError, TypeError, OSError, ImportError, NotFinite)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line  # type: ignore[assignment]
            given = sys.argv[1:] if arguments is None else list(arguments)
            code = app(args=given or ["--help"], standalone_mode=False)
    except Stopped as stopped:
        return _said(str(stopped), 128 + stopped.signal)
    except (KeyboardInterrupt, typer.Abort):
        return _said("interrupted", 130)
    except BrokenPipeError:
        return 0  # whoever reads has enough
    except FAILURES as error:
        return _said(_words(error), 2)
    except Exception as error:
        told = getattr(error, "format_message", None)  # of the parser of arguments
        if told is None:
            raise
        return _said(f"{told()} (see --help)", 2)
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return code if isinstance(code, int) else 0


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error) or type(error).__name__


def _said(words: str, code: int) -> int:
    print(f"vitblocks: {' '.join(words.split())}", file=sys.stderr)
    return code


def _one_line(message: Warning | str, *_: object) -> None:
    print(f"vitblocks: note: {' '.join(str(message).split())}", file=sys.stderr)
