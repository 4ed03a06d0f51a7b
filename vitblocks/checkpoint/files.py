"""Files that are written whole or not at all, whoever else writes them and whatever ends the process."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl


def write_whole(path: str | os.PathLike[str], pieces: Iterable[bytes | memoryview]) -> None:
    """Write ``pieces`` to ``path``, where the old file stays until the new one is complete.

    A symbolic link is followed, and the mode of the file is what a plain ``open`` gives: that of the old file, or what the umask leaves.
    Threads and processes may write the same path: the last one that is done wins. What killed ones left beside it is removed.

    Raises:
        FileNotFoundError: the folder of ``path`` does not exist.
        OSError: it cannot be written, such as on a full disk; the message names ``path``.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {path}: there is no folder {target.parent}")
    if target.exists() and not target.is_file():
        raise OSError(f"cannot save to {path}: what is there is no file")
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(f"cannot save to {path}: the file there may not be written to")
    try:
        _remove_leftovers(target)
        with _partial(target) as (file, name):
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            if target.exists():
                name.chmod(target.stat().st_mode & 0o777)
            if sys.platform == "win32":
                file.close()  # an open file cannot be renamed there
            os.replace(name, target)  # still locked, so that nobody takes it for a leftover
    except OSError as error:
        raise OSError(error.errno, f"cannot save: {error.strerror or error}", str(path)) from error


@contextmanager
def _partial(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file beside ``target``, locked while it is open; it is gone in the end, unless it was renamed."""
    while True:
        name = target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")
        with open(name, "xb") as file:
            if _locked(file.fileno()) is False or not name.exists():
                continue  # another process came between, and took it for a leftover
            try:
                yield file, name
            finally:
                with suppress(OSError):
                    name.unlink()
            return


def _remove_leftovers(target: Path) -> None:
    """Remove what killed processes left beside ``target``: partial files that nobody holds a lock on."""
    ours = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{16}\.partial")
    with os.scandir(target.parent) as entries:
        found = [entry.path for entry in entries if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)]
    for path in found:
        with suppress(OSError), open(path, "rb") as file:
            if _locked(file.fileno()):
                os.unlink(path)


def _locked(file: int) -> bool | None:
    """Take the lock on an open file, which the system gives back when its process ends.

    False if another holds it, None on a file system that has no locks: there leftovers stay.
    """
    if sys.platform == "win32":
        return True  # there an open file cannot be removed, which is as good
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
