"""How weights lie on disk: whole or not at all, whatever happens."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file as library_load, save_file as library_save
from torch import nn

from vitblocks import ViT, checkpoint as ck
from vitblocks.checkpoint.files import write_whole
from vitblocks.checkpoint.tensor_file import read_tensors, write_tensors


def vit(**options: Any) -> ViT:
    sizes = {"image_size": 8, "patch_size": 4, "num_classes": 3, "dim": 8, "depth": 1, "heads": 2, "mlp_dim": 16}
    return ViT(**{**sizes, **options})


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# What is written


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = vit()
    for i in range(4):
        ck.save(model, tmp_path / str(i))
    assert len({(tmp_path / str(i)).read_bytes() for i in range(4)}) == 1


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    kinds = (torch.float64, torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.uint8, torch.bool)
    tensors = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in kinds}
    tensors |= {"ü": torch.ones(()), "none": torch.ones(0, 3), "view": torch.randn(4, 6).T[1:, ::2]}
    write_tensors(tmp_path / "x", tensors, {"b": "1", "a": "ä"})
    read = library_load(tmp_path / "x")
    assert read.keys() == tensors.keys()
    assert all(read[key].dtype == tensors[key].dtype and torch.equal(read[key], tensors[key]) for key in tensors)
    assert read_tensors(tmp_path / "x")[1] == {"a": "ä", "b": "1"}
    # Byte for byte what the library writes, where it writes no metadata.
    weights = vit().state_dict()
    write_tensors(tmp_path / "y", {key: weights[key] for key in reversed(weights)}, {})
    library_save(dict(weights), tmp_path / "z")
    assert (tmp_path / "y").read_bytes() == (tmp_path / "z").read_bytes()


@pytest.mark.parametrize("how", ["sparse", "meta"])
def test_what_is_no_plain_tensor_is_not_saved(how: str, tmp_path: Path) -> None:
    model = vit()
    model.head.weight = nn.Parameter(
        model.head.weight.data.to_sparse() if how == "sparse" else model.head.weight.to("meta")
    )
    with pytest.raises(ValueError, match=rf"head\.weight: it is .*{how}"):
        ck.save(model, tmp_path / "x")
    assert names(tmp_path) == []


def test_a_wrapped_model_is_saved_and_loaded_as_what_is_inside(tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "x"
    ck.save(model, path)
    plain = path.read_bytes()
    compiled: Any = torch.compile(model)
    for wrapped in (compiled, nn.DataParallel(model), nn.DataParallel(compiled)):
        ck.save(wrapped, path)
        assert path.read_bytes() == plain
        assert ck.load_file(wrapped, path).ok
        ck.save_pretrained(wrapped, tmp_path / "folder")
        assert torch.equal(ck.from_pretrained(tmp_path / "folder").head.weight, model.head.weight)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        ck.save(nn.parallel.DistributedDataParallel(model), path)
    finally:
        torch.distributed.destroy_process_group()
    assert path.read_bytes() == plain
    block: Any = vit()
    block.stages[0].layers[2] = torch.compile(block.stages[0].layers[2])
    ck.save(block, path)
    assert ck.load_file(vit(), path).ok
    assert ck.load_file(block, path).ok


# Where it is written


def test_mode_of_a_plain_open(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        ck.save(vit(), tmp_path / "new")
        ck.save_pretrained(vit(), tmp_path / "folder")
        (tmp_path / "plain").touch()
    finally:
        os.umask(old)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "new", "folder/config.json")]
    assert modes == [modes[0]] * 3
    (tmp_path / "new").chmod(0o604)
    ck.save(vit(), tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for start in (b"old", None):  # a link to a file, and to one that is not there yet
        target, link = tmp_path / "real" / f"{start!r}", tmp_path / f"link {start!r}"
        if start:
            target.write_bytes(start)
        link.symlink_to(target)
        ck.save(vit(), link)
        assert link.is_symlink()
        assert ck.load_file(vit(), target).ok


def test_what_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot save to .*: what is there is no file"):
        ck.save(vit(), tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe: what is there is no file"):
        ck.save(vit(), tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ck.save(vit(), tmp_path / "nowhere" / "x")
    with pytest.raises(OSError, match="x" * 300):
        ck.save(vit(), tmp_path / ("x" * 300))
    assert names(tmp_path) == ["pipe"]


# Whoever writes


def test_threads_that_save_to_one_path(tmp_path: Path) -> None:
    path, models = tmp_path / "x", [vit() for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda i: ck.save(models[i % 4], path), range(32)):
            pass
    read = read_tensors(path)[0]
    assert any(all(torch.equal(read[key], value) for key, value in m.state_dict().items()) for m in models)
    assert names(tmp_path) == ["x"]


def test_leftovers_go_and_what_is_being_written_stays(tmp_path: Path) -> None:
    path, begun, go_on = tmp_path / "x", threading.Event(), threading.Event()
    others = [".x.partial", ".x.y.0123456789abcdef.partial", ".y.0123456789abcdef.partial"]
    for name in [*others, ".x.0123456789abcdef.partial"]:
        (tmp_path / name).touch()

    def slowly() -> Iterator[bytes]:
        begun.set()
        assert go_on.wait(20)
        yield b"slow"

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(write_whole, path, slowly())
        assert begun.wait(20)
        write_whole(path, [b"quick"])
        assert path.read_bytes() == b"quick"
        assert len(names(tmp_path)) == len(others) + 2  # the file, and what is being written
        go_on.set()
        slow.result()
    assert path.read_bytes() == b"slow"
    assert names(tmp_path) == sorted([*others, "x"])


def test_without_locks_files_are_written_and_leftovers_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", none)
    (tmp_path / ".x.0123456789abcdef.partial").touch()
    write_whole(tmp_path / "x", [b"new"])
    assert (tmp_path / "x").read_bytes() == b"new"
    assert names(tmp_path) == [".x.0123456789abcdef.partial", "x"]


def test_whatever_ends_the_writing_the_old_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def ended() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, ended())
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


KILLED = """
import os, random, sys, time
from pathlib import Path
import torch
from vitblocks import ViT, checkpoint
from vitblocks.checkpoint.tensor_file import read_tensors, write_tensors

torch.set_num_threads(1)
path, random = sys.argv[1], random.Random(0)
model = ViT(image_size=8, patch_size=4, num_classes=3, dim=64, depth=1, heads=2, mlp_dim=64)
states = [{key: value + i for key, value in model.state_dict().items()} for i in range(2)]
checkpoint.save(model, path)
left = killed = 0
while killed < int(sys.argv[2]) or not left:  # until some were killed while they wrote
    killed += 1
    begun, begin = os.pipe()
    child = os.fork()
    if not child:
        os.write(begin, b"x")
        while True:
            for state in states:
                write_tensors(path, state, {})
    os.read(begun, 1)
    time.sleep(random.uniform(0.0, 0.02))
    os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(begun), os.close(begin)
    left += len(os.listdir(os.path.dirname(path))) - 1
    read = read_tensors(Path(path))[0]
    assert any(all(torch.equal(read[k], v) for k, v in state.items()) for state in states)
    assert len(os.listdir(os.path.dirname(path))) <= 2, "only the last one's leftover"
checkpoint.save(model, path)
print(os.listdir(os.path.dirname(path)))
"""


def run(program: str, path: Path, times: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(times)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_full_disk_is_an_oserror_that_names_the_path(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "x.safetensors"
    ck.save(vit(), path)
    old, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    # What a file may have: writing more fails as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot save: File too large.*x\.safetensors") as caught:
            ck.save(vit(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == old
    assert names(tmp_path) == [path.name]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals are Unix's")
@pytest.mark.parametrize("times", [15, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_while_saving(times: int, tmp_path: Path) -> None:
    assert run(KILLED, tmp_path / "x.safetensors", times).strip() == "['x.safetensors']"


# What is read


NONSENSE = {"no text": b"not weights at all", "nothing": b"", "a length": b"\xff" * 8, "a pickle": b"\x80\x04}."}


@pytest.mark.parametrize("name", NONSENSE)
def test_what_is_no_such_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(NONSENSE[name])
    with pytest.raises(ValueError, match=r"x\.safetensors is not a whole safetensors file"):
        ck.load_file(vit(), tmp_path / "x.safetensors")


@pytest.mark.parametrize("key", ["recipe", "swaps"])
def test_metadata_of_anybodys(key: str, tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "x.safetensors"
    weights = dict(model.state_dict())
    nonsense = [None, 3, "x", [1], {"a": 1}, {"class": "ViT", "args": 3}, {"stages.0.layers.1.table": [1, "a"]}]
    for text in ("{not json", "[" * 5000, *map(json.dumps, nonsense)):
        write_tensors(path, weights, {key: text})
        with pytest.raises(ValueError, match=rf"x\.safetensors, {key}"):
            ck.load_file(model, path)
