"""The demo: its model, its training, what it writes, and how it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import matplotlib.image
import pytest
import torch
from torch import nn

from vitblocks.demo import main
from vitblocks.demo.cli import PACKAGES
from vitblocks.demo.hybrid import hybrid
from vitblocks.demo.learning import pixels, predict
from vitblocks.demo.looking import look
from vitblocks.demo.run import survives_saving
from vitblocks.train import load_data
from vitblocks.train.data.images import few


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo writes after a single epoch; told to be quiet, it prints nothing."""
    folder = tmp_path_factory.mktemp("demo") / "made" / "on the way"
    command = [sys.executable, "-m", "vitblocks.demo", "--epochs", "1", "--threads", "1", "--quiet"]
    run = subprocess.run([*command, "--output", str(folder)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    return folder


@pytest.mark.parametrize("name", ["attention", "training", "model"])
def test_pictures_show_something(written: Path, name: str) -> None:
    pixels = matplotlib.image.imread(written / f"{name}.png")
    assert min(pixels.shape[:2]) > 300
    colours = {tuple(pixel) for pixel in (pixels[::2, ::2].reshape(-1, pixels.shape[2]) * 255).astype(int)}
    assert len(colours) > 50


def test_results_are_written(written: Path) -> None:
    results = json.loads((written / "results.json").read_text())
    assert results["same_logits_after_reload"] is True
    assert results["steps_after_swap"] > 0
    for key in ("accuracy", "accuracy_of_the_last_epoch", "accuracy_right_after_swap", "accuracy_after_those_steps"):
        assert 0.0 < results[key] <= 1.0
    table = (written / "model.md").read_text()
    assert "TalkingHeadsAttention" in table
    assert f"{sum(p.numel() for p in hybrid().parameters()):,}" in table


def test_what_is_saved_is_the_model(tmp_path: Path) -> None:
    assert survives_saving(hybrid(), tmp_path / "hybrid", torch.rand(4, 1, 16, 16))


def test_a_reload_that_changes_the_logits_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitblocks.demo.run.load_model", lambda folder: hybrid())
    assert not survives_saving(hybrid(), tmp_path / "hybrid", torch.rand(4, 1, 16, 16))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "0"], "--epochs"),
        (["--epochs", "many"], "many"),
        (["--seed", "-1"], "--seed"),
        (["--threads", "0"], "--threads"),
        (["--colour"], "--colour"),
        (["--output"], "--output"),
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(arguments)
    message = capsys.readouterr().err
    assert refusal.value.code == 2
    assert words in message
    assert message.count("\n") == 1


def test_output_that_cannot_be_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SystemExit) as refusal:
            main(["--output", str(path)])
        message = capsys.readouterr().err
        assert refusal.value.code == 2
        assert str(path) in message
        assert message.count("\n") == 1
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_ctrl_c_is_one_line_and_leaves_whole_files(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "vitblocks.demo", "--threads", "1", "--output", str(tmp_path)]
    heard = partial(
        signal.signal, signal.SIGINT, signal.SIG_DFL
    )  # a shell ignores it for what it runs in the background
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        while "to train on" not in (line := run.stdout.readline()):
            assert line, run.stderr.read()
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert said.strip() == "vitblocks-demo: interrupted"
    assert {path.name for path in tmp_path.iterdir()} == {"model.png", "model.md"}
    assert matplotlib.image.imread(tmp_path / "model.png").size


@pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    import resource

    def small_files() -> None:  # to the writer a disk that takes no more looks the same
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    command = [sys.executable, "-m", "vitblocks.demo", "--quiet", "--threads", "1", "--output", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=small_files)
    assert run.returncode == 2
    assert len(run.stderr.strip().splitlines()) == 1
    assert "model.png" in run.stderr
    assert not list(tmp_path.iterdir())


def test_missing_extras_are_named(tmp_path: Path) -> None:
    block = f"import sys; sys.modules.update(dict.fromkeys({PACKAGES!r}))"
    script = f"{block}; from vitblocks.demo import main; main(sys.argv[1:])"
    run = subprocess.run(
        [sys.executable, "-c", script, "--output", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "pip install 'vitblocks[cli,images,train,viz]'" in run.stderr
    assert run.stderr.count("\n") == 1


def test_help_needs_no_extras() -> None:
    block = f"import sys; sys.modules.update(dict.fromkeys({PACKAGES!r}))"
    script = f"{block}; from vitblocks.demo import main; main(['--help'])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "--seed" in run.stdout


def test_every_parameter_of_the_hybrid_gets_a_gradient() -> None:
    model = hybrid()
    nn.functional.cross_entropy(model(torch.rand(8, 1, 16, 16)), torch.arange(8)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.slow  # a minute; its parts are compiled one by one in test_compile.py
def test_hybrid_compiles_whole() -> None:
    model = hybrid().eval()
    images = torch.rand(3, 1, 16, 16)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), model(images), rtol=1e-5, atol=1e-5)


def test_hybrid_exports_with_any_batch() -> None:
    model = hybrid().eval()
    exported = torch.export.export(
        model, (torch.rand(2, 1, 16, 16),), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},)
    ).module()
    for batch in (1, 5):
        images = torch.rand(batch, 1, 16, 16)
        torch.testing.assert_close(exported(images), model(images), rtol=1e-5, atol=1e-5)


def test_hybrid_learns_a_few_digits_by_heart() -> None:
    model, data = hybrid(), pixels(few(load_data("digits").train, 16, 0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model.train()(data.images), data.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (predict(model, data.images).argmax(dim=1) == data.labels).double().mean() > 0.9


def test_looks_lead_from_the_pool_back_through_the_blocks() -> None:
    shares, patches, seen = look(hybrid(), torch.rand(3, 1, 16, 12))
    assert shares.shape == (3, 8, 6)
    torch.testing.assert_close(shares.sum(dim=(1, 2)), torch.ones(3))
    assert [shares[i][patch] for i, patch in enumerate(patches)] == list(shares.amax(dim=(1, 2)))
    assert len(seen) == 4
    for i, (row, column) in enumerate(patches):
        # The first block's windows of 4x4 lie side by side; the last block's attention reaches everything.
        inside = torch.zeros(8, 6, dtype=torch.bool)
        inside[row // 4 * 4 : row // 4 * 4 + 4, column // 4 * 4 : column // 4 * 4 + 4] = True
        assert torch.equal(seen[0][i] > 0, inside)
        assert (seen[3][i] > 0).all()
        for maps in (seen[0], seen[1], seen[3]):
            torch.testing.assert_close(maps[i].sum(), torch.tensor(1.0))
