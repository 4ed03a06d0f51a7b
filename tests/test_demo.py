"""The demo: its model, its training, what it writes, and how it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest
import torch
from torch import nn

from vitblocks.demo import main
from vitblocks.demo.cli import EXTRAS
from vitblocks.demo.digits import digits, jitter
from vitblocks.demo.hybrid import hybrid
from vitblocks.demo.looking import look
from vitblocks.demo.run import survives_saving
from vitblocks.demo.train import accuracy, shuffled, steps_per_epoch, warmup_cosine


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
    for key in ("accuracy", "accuracy_right_after_swap", "accuracy_after_those_steps"):
        assert 0.0 < results[key] <= 1.0
    table = (written / "model.md").read_text()
    assert "TalkingHeadsAttention" in table
    assert f"{sum(p.numel() for p in hybrid().parameters()):,}" in table


def test_saved_weights_are_the_models(tmp_path: Path) -> None:
    images = torch.rand(4, 1, 16, 16)
    model = hybrid()
    assert survives_saving(model, tmp_path / "weights.safetensors", images)


def test_a_reload_that_changes_the_logits_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitblocks.demo.run.load_file", lambda model, path: None)
    assert not survives_saving(hybrid(), tmp_path / "weights.safetensors", torch.rand(4, 1, 16, 16))


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
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
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
    block = f"import sys; sys.modules.update(dict.fromkeys({sorted(EXTRAS)!r}))"
    script = f"{block}; from vitblocks.demo import main; main(sys.argv[1:])"
    run = subprocess.run(
        [sys.executable, "-c", script, "--output", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "pip install 'vitblocks[train,viz]'" in run.stderr
    assert run.stderr.count("\n") == 1


def test_help_needs_no_extras() -> None:
    block = f"import sys; sys.modules.update(dict.fromkeys({sorted(EXTRAS)!r}))"
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
    data, _ = digits(0)
    model, few = hybrid(), type(data)(data.images[:16], data.labels[:16])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model.train()(few.images), few.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert accuracy(model, few) > 0.9


def test_digits_are_split_by_class_without_overlap() -> None:
    train, held_out = digits(3)
    images = torch.cat([train.images, held_out.images])
    assert images.shape == (1797, 1, 16, 16)
    assert (images.min().item(), images.max().item()) == (0.0, 1.0)
    together = torch.bincount(train.labels) + torch.bincount(held_out.labels)
    assert ((torch.bincount(held_out.labels) / together - 0.2).abs() < 0.01).all()
    other, _ = digits(4)
    assert not torch.equal(train.images, other.images)
    # A scan may occur twice in the data set; held-out ones must not be among those trained on more often than that.
    seen = {image.numpy().tobytes() for image in train.images}
    assert sum(image.numpy().tobytes() in seen for image in held_out.images) <= 2


def test_jitter_moves_images_a_little() -> None:
    images = torch.zeros(64, 1, 16, 16)
    images[:, :, 6:10, 6:10] = 1.0
    generator = torch.Generator().manual_seed(0)
    moved = jitter(images, generator)
    assert (moved - images).abs().amax(dim=(1, 2, 3)).min() > 0
    centre = (moved[:, 0].sum(dim=1) * torch.arange(16)).sum(dim=1) / moved[:, 0].sum(dim=(1, 2))
    assert (centre - 7.5).abs().max() < 2.0
    still = jitter(images, generator, degrees=0.0, zoom=0.0, shift=0.0)
    torch.testing.assert_close(still, images, rtol=0, atol=1e-5)


def test_an_epoch_takes_images_at_most_once() -> None:
    data, _ = digits(0)
    numbered = type(data)(torch.arange(len(data.labels)), data.labels)
    batches = list(shuffled(numbered, torch.Generator().manual_seed(0)))
    taken = torch.cat([batch.images for batch in batches])
    assert len(batches) == steps_per_epoch(data)
    assert len(taken.unique()) == len(taken)


def test_learning_rate_rises_then_falls() -> None:
    factors = [warmup_cosine(step, 100) for step in range(100)]
    peak = factors.index(max(factors))
    assert 0 < peak < 15
    assert factors[:peak] == sorted(factors[:peak])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert factors[-1] < 0.01


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
