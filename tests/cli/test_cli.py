"""Every command does what its help says, and fails in one line."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from vitblocks import create_model, load_model
from vitblocks.cli import main
from vitblocks.train import Recipe

get_command = pytest.importorskip("typer.main").get_command
Image = pytest.importorskip("PIL.Image")

MODEL = """
from vitblocks import ViT


def model(num_classes=3, depth=2):
    return ViT(image_size=8, patch_size=4, num_classes=num_classes, dim=16, depth=depth, heads=2, mlp_dim=16, channels=1)


def raises(num_classes=3):
    raise RuntimeError("two\\nlines")


made = model()
number = 3
"""
SHORT = ["--epochs", "2", "--batch", "4", "--set", "warmup_epochs=1", "--quiet"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in Python, a folder of images, and a short run."""
    root = tmp_path_factory.mktemp("cli")
    (root / "my_model.py").write_text(MODEL)
    (root / "no_python.py").write_text("def model(:")
    (root / "exits.py").write_text("raise SystemExit(3)")
    for name, said in (("text", {"model": 3}), ("number", {"workers": "two"}), ("keep", {"keep": 0})):
        (root / f"{name}.json").write_text(json.dumps({"model": "x", "data": "digits", "output": "x", **said}))
    for k, name in enumerate(("dark", "light")):
        (root / "no_images" / name).mkdir(parents=True)
        for i in range(4):
            (root / "no_images" / name / f"{i}.png").write_bytes(b"no image")
        (root / "images" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("L", (9, 11), 150 * k + 10 * i).save(root / "images" / name / f"{i}.png")
    assert main(train(root, root / "run")) == 0
    return root


def train(root: Path, output: Path, *more: str) -> list[str]:
    made = ["train", "-m", f"{root}/my_model.py:model", "-d", f"{root}/images", "--output", str(output), *SHORT]
    return [*made, *more]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a command prints as JSON."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_train_writes_a_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = place / "run"
    model = load_model(run / "model")
    assert model.labels == ["dark", "light"]
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 4
    page = (run / "report.html").read_text()
    assert "How it went" in page
    assert "What was taken for what" in page
    assert page.count("<img") >= 1
    found = said(capsys, *train(place, run, "--resume"))
    assert found["held_out_accuracy"] == json.loads((run / "results.json").read_text())["accuracy"]
    told = said(capsys, "evaluate", str(run / "model"), "-d", f"{place}/images")
    assert told["accuracy"] == found["held_out_accuracy"]
    assert told["images"] == 2


def test_train_from_a_file(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {
        "model": f"{place}/my_model.py:model",
        "model_options": {"depth": 1},
        "data": f"{place}/images",
        "output": str(tmp_path / "run"),
        "recipe": {"epochs": 9, "batch": 4, "warmup_epochs": 0, "objective": "simmim"},
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    found = said(capsys, "train", str(tmp_path / "settings.json"), "--epochs", "1", "--quiet")
    assert found["steps"] == 2  # the flag says more than the file
    assert len(list(load_model(tmp_path / "run" / "model").blocks())) == 1
    (tmp_path / "settings.json").write_text(json.dumps({**settings, "modle": "x"}))
    assert main(["train", str(tmp_path / "settings.json")]) == 2
    assert "did you mean model" in capsys.readouterr().err


def test_predict_and_attend(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, model = f"{place}/images/dark/0.png", str(place / "run" / "model")
    (row,) = said(capsys, "predict", image, "-m", model, "--top", "2")
    assert {one["name"] for one in row["classes"]} == {"dark", "light"}
    assert sum(one["probability"] for one in row["classes"]) == pytest.approx(1.0)
    pytest.importorskip("matplotlib")
    assert main(["attend", image, "-m", model, "-o", str(tmp_path / "seen.png")]) == 0
    assert Image.open(tmp_path / "seen.png").size[0] > 100


def test_list_info_summary(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = said(capsys, "list", "cct_2_3x2*")
    assert names == ["cct_2_3x2_32"]
    (row,) = said(capsys, "list", "cct_2_3x2*", "--table", "--family", "cct")
    assert row["parameters"] == sum(p.numel() for p in create_model("cct_2_3x2_32").parameters())
    assert row["layouts"] == ["official"]
    assert row["proof"]["official"]["cases"] == 4
    assert row["proof"]["official"]["largest_error"] < 1e-12
    assert "vit_tiny_patch16_224" in said(capsys, "info", "vit_tiny_patch16_224")["published"][0]
    found = said(capsys, "info", str(place / "run" / "model"))
    assert found["labels"] == ["dark", "light"]
    assert found["image"] == [1, 8, 8]
    counts = said(capsys, "summary", f"{place}/my_model.py:made")
    assert counts["params"] == sum(p.numel() for p in load_model(place / "run" / "model").reset_head(3).parameters())


def test_swap_and_convert(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(place / "run" / "model")
    found = said(
        capsys,
        "swap",
        model,
        "LocalWindowAttention",
        "--where",
        "1:",
        "-o",
        "window=2",
        "--output",
        str(tmp_path / "s"),
    )
    assert len(found["layers"]) == 1
    kinds = [type(block.get_submodule("attn")).__name__ for _, block in load_model(tmp_path / "s").blocks()]
    assert kinds == ["GlobalAttention", "LocalWindowAttention"]
    found = said(capsys, "convert-weights", model, "--to", "timm", "--output", str(tmp_path / "timm.safetensors"))
    from vitblocks.checkpoint import read_checkpoint

    assert "blocks.0.attn.qkv.weight" in read_checkpoint(tmp_path / "timm.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_export(kind: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name)
    found = said(capsys, "export", str(place / "run" / "model"), "--output", str(tmp_path / f"model.{kind}"))
    assert found["largest_difference"] < 1e-5
    assert (tmp_path / f"model.{kind}").stat().st_size > 1000


@pytest.mark.slow
def test_what_is_exported_is_folded_unless_told_otherwise(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = {}
    for way in ("--fold", "--no-fold"):
        said(capsys, "export", str(place / "run" / "model"), "--output", str(tmp_path / "model.pt2"), way)
        held[way] = torch.export.load(tmp_path / "model.pt2").state_dict
    assert any("norm1.weight" in name for name in held["--no-fold"])
    assert not any("norm1.weight" in name for name in held["--fold"])


def test_bench(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "bench", f"{place}/my_model.py:model", "--batch", "2", "--seconds", "0.1")
    assert found["inference_images_per_second"] > 0
    assert found["training_images_per_second"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lst"], "No such command"),
        (["train", "--epoch", "3"], "--epoch"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train"], "--model"),
        (["train", "-m", "x"], "--data"),
        (["train", "nowhere.json"], "nowhere.json"),
        (
            ["train", "-m", "{place}/my_model.py:model", "-d", "{place}/images/dark", "--output", "{out}"],
            "no images of a class",
        ),
        (["train", "-m", "{place}/my_model.py:nothing", "-d", "{place}/images", "--output", "{out}"], "nothing"),
        (
            ["train", "-m", "{place}/my_model.py:number", "-d", "{place}/images", "--output", "{out}"],
            "must be a module",
        ),
        (["train", "-m", "{place}/no_model.py:model", "-d", "{place}/images", "--output", "{out}"], "no file"),
        (["train", "-m", "vit_tiny_patch16_24", "-d", "{place}/images", "--output", "{out}"], "did you mean"),
        (["train", "-m", "{place}/my_model.py:model", "-d", "nowhere", "--output", "{out}"], "digits"),
        (
            ["train", "-m", "{place}/my_model.py:model", "-d", "{place}/images", "--output", "{out}", "-s", "lr"],
            "key=value",
        ),
        (
            ["train", "-m", "{place}/my_model.py:model", "-d", "{place}/images", "--output", "{out}", "-s", "lrr=1"],
            "lr",
        ),
        (
            ["train", "-m", "{place}/my_model.py:model", "-d", "{place}/images", "--output", "{out}", "--batch", "99"],
            "batch",
        ),
        (
            ["train", "-m", "{place}/my_model.py:model", "-d", "{place}/images", "--output", "{place}/run", *SHORT],
            "resume",
        ),
        (["train", "-m", "{place}/my_model.py:model", "-d", "{place}/no_images", "--output", "{out}", *SHORT], "read"),
        (["train", "{place}/text.json"], "model must be a text, got 3"),
        (["train", "{place}/number.json"], "workers must be an int"),
        (["train", "{place}/keep.json"], "keep must be at least 1"),
        (["info", "{place}/my_model.py:raises"], "RuntimeError: two lines"),
        (["info", "{place}/no_python.py:model"], "SyntaxError"),
        (["info", "{place}/exits.py:model"], "SystemExit: 3"),
        (["bench", "{place}/my_model.py:made", "--device", "tpu"], "cpu or cuda"),
        (["list", "no_such_*"], "no_such_*"),
        (["info", "vit_tny_patch16_224"], "did you mean"),
        (["predict", "nowhere.png", "-m", "{place}/run/model"], "nowhere.png"),
        (["attend", "{place}/images/dark/0.png", "-m", "{place}/run/model", "-o", "{out}.gif"], ".png"),
        (["swap", "{place}/run/model", "Nothing", "--output", "{out}"], "Nothing"),
        (["convert-weights", "{place}/run/model", "--to", "nobody", "--output", "{out}"], "nobody"),
        (["export", "{place}/run/model", "--output", "{out}.bin"], ".onnx"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], words: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([argument.format(place=place, out=out) for argument in arguments]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.startswith("vitblocks: ")
    assert message.count("\n") == 1
    assert not out.exists()


def test_export_of_a_model_that_gives_more_than_a_tensor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        "from torch import nn",
        "class Twice(nn.Module):",
        "    def forward(self, x): return x, x",
        "model = Twice()",
    ]
    (tmp_path / "twice.py").write_text("\n".join(lines))
    output = tmp_path / "twice.pt2"
    assert main(["export", f"{tmp_path / 'twice.py'}:model", "--size", "8", "--output", str(output)]) == 2
    assert capsys.readouterr().err == "vitblocks: the model must give one tensor, got a tuple\n"
    assert not output.exists()


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    commands = [
        "list",
        "info",
        "summary",
        "predict",
        "attend",
        "train",
        "evaluate",
        "swap",
        "convert-weights",
        "export",
        "bench",
        "demo",
    ]
    shown = capsys.readouterr().out
    for command in commands:
        assert command in shown
        assert main([command, "--help"]) == 0
        assert f"vitblocks {command}" in capsys.readouterr().out


def test_missing_extra_says_which(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitblocks.extras.find_spec", lambda name: None)
    assert main(["list"]) == 2
    message = capsys.readouterr().err
    assert message == "vitblocks: needs typer and rich: pip install 'vitblocks[cli]'\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo on Unix")
def test_accelerate_launch(place: Path, tmp_path: Path) -> None:
    """Two processes started as users do have the losses of one."""
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "vitblocks"]
    found = subprocess.run(
        [*launch, *train(place, tmp_path / "two", "-s", "micro_batch=2")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert found.returncode == 0, found.stderr
    assert main(train(place, tmp_path / "one", "-s", "micro_batch=2")) == 0
    one, two = (
        [json.loads(x)["loss"] for x in (tmp_path / n / "metrics.jsonl").read_text().splitlines()]
        for n in ("one", "two")
    )
    assert two == pytest.approx(one, abs=1e-5)
    assert len(one) == 4


DOCS = Path(__file__).parents[2] / "docs"
NAMES = re.findall(r"^\| `vitblocks ([\w-]+)`", (DOCS / "cli.md").read_text(), flags=re.MULTILINE)
LINES = [
    line
    for page in [*sorted(DOCS.glob("*.md")), DOCS.parent / "README.md"]
    for line in page.read_text().replace("\\\n", " ").splitlines()
    if re.match(rf"( {{4}})?vitblocks ({'|'.join(NAMES)}) ", line)
]


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_commands_in_the_guides_are_understood(line: str) -> None:
    """Parsed, not run; a variable of the shell stands for settings that other lines give."""
    from vitblocks.cli.app import app

    line = re.sub(r"\$\w+", "", re.sub(r'"\$\w+"', "seed=0", line))
    command, *arguments = shlex.split(line, comments=True)[1:]
    found = get_command(app).commands[command].make_context(command, arguments).params
    settings = {given.partition("=")[0] for given in found.get("setting") or ()}
    assert settings <= {field.name for field in dataclasses.fields(Recipe)}


def test_the_page_names_every_command() -> None:
    from vitblocks.cli.app import app

    assert list(get_command(app).commands) == NAMES
