"""A model in ONNX Runtime, which the suite has: the same outputs, every batch, saved and loaded, refusals. Others where installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitblocks
from tests.zoo.tiny import TINY
from vitblocks import Recorder, deploy, extras
from vitblocks.deploying import RUNTIMES, Deployed, load

SIZE = 16


def model() -> nn.Module:
    torch.manual_seed(0)
    return TINY["ViT"].build().eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def deployed(images: Tensor) -> Deployed:
    pytest.importorskip("onnxruntime")
    return deploy(model(), images, "onnxruntime", outputs=["attention", "features"])


def close(found: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_every_batch(deployed: Deployed, batch: int) -> None:
    image = torch.randn(batch, 3, SIZE, SIZE)
    with torch.no_grad():
        close(deployed(image), model()(image))


def test_extra_outputs_are_what_inspection_gives(deployed: Deployed) -> None:
    image, plain = torch.randn(2, 3, SIZE, SIZE), model()
    with torch.no_grad():
        output, attention = Recorder(plain)(image)
        found, maps = deployed.outputs(image), plain.feature_maps(image)
    close(found.output, output)
    close(torch.stack(list(found.attention.values()), dim=1), attention)
    with vitblocks.record_attention(plain) as records:
        plain(image)
    assert list(found.attention) == [record.name for record in records]
    assert list(found.features) == ["stages.0"]
    close(found.features["stages.0"], maps[0].map)


def test_what_it_takes(deployed: Deployed, images: Tensor) -> None:
    close(deployed(images.double()), deployed(images))
    close(deployed(images.to(memory_format=torch.channels_last)), deployed(images))
    assert deployed(images.clone().requires_grad_(True)).dtype == torch.float32
    for image in (torch.randn(1, 3, SIZE, 8), torch.randn(3, SIZE, SIZE), torch.randn(0, 3, SIZE, SIZE)):
        with pytest.raises(ValueError, match=r"image must be \(batch, 3, 16, 16\), got"):
            deployed(image)
    with pytest.raises(TypeError, match=r"image must be a tensor of floats, got torch\.int64"):
        deployed(torch.zeros(1, 3, SIZE, SIZE, dtype=torch.int64))


def test_saved_and_loaded(deployed: Deployed, images: Tensor, tmp_path: Path) -> None:
    deployed.save(tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deployed.json", "folder", "model.onnx"]
    again = load(tmp_path / "folder", threads=1)
    assert torch.equal(again(images), deployed(images))
    assert again.report == deployed.report
    assert list(again.outputs(images).attention) == list(deployed.outputs(images).attention)
    with pytest.raises(FileExistsError, match="there is something already"):
        deployed.save(tmp_path / "folder")
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "new" / "below"):
        deployed.save(folder)
        assert sorted(path.name for path in folder.iterdir()) == ["deployed.json", "model.onnx"]


def test_saved_where_one_stands(deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    deployed.save(".")
    assert sorted(path.name for path in Path().iterdir()) == ["deployed.json", "model.onnx"]


@pytest.mark.parametrize("threads", [0, -1, True, 1.5, "2"])
def test_threads_are_a_number(deployed: Deployed, tmp_path: Path, threads: Any) -> None:
    deployed.save(tmp_path / "folder")
    with pytest.raises(ValueError, match="threads must be a number above 0"):
        load(tmp_path / "folder", threads=threads)


def test_a_file_that_the_runtime_cannot_open(deployed: Deployed, images: Tensor, tmp_path: Path) -> None:
    deployed.save(tmp_path / "folder")
    (tmp_path / "folder" / "model.onnx").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=r"onnxruntime cannot open .*model\.onnx"):
        load(tmp_path / "folder")(images)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "is not the metadata"),
        ({"version": 2}, "version 2"),
        ({"size": [1, 3, 16]}, "size must be 4 numbers"),
        ({"names": ["logits"]}, "names must be those of outputs"),
        ({"report": {}}, "report must name a runtime"),
        ({"report": {"runtime": "onnxruntime", "dtype": "float32", "int8": 1}}, "int8 of the report must be bool"),
        ({"report": {"runtime": "../other", "dtype": "float32"}}, "report must name a runtime"),
    ],
)
def test_metadata_are_looked_at(deployed: Deployed, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    deployed.save(tmp_path / "folder")
    path = tmp_path / "folder" / "deployed.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=said):
        load(tmp_path / "folder")


def test_files_that_are_code_are_opened_when_asked_alone(deployed: Deployed, tmp_path: Path) -> None:
    deployed.save(tmp_path / "folder")
    path = tmp_path / "folder" / "deployed.json"
    metadata = json.loads(path.read_text())
    metadata["report"]["runtime"] = "aot_inductor"
    path.write_text(json.dumps(metadata))
    with pytest.raises(FileNotFoundError, match=r"model\.pt2"):
        load(tmp_path / "folder")
    (tmp_path / "folder" / "model.pt2").write_bytes(b"code")
    with pytest.raises(ValueError, match="whose files are code"):
        load(tmp_path / "folder")


def test_the_model_stays_as_it_is(images: Tensor) -> None:
    pytest.importorskip("onnxruntime")
    plain = model().train()
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    deploy(plain, images, "onnxruntime")
    assert plain.training
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())


def test_another_answer_is_refused(images: Tensor) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(RuntimeError, match="onnxruntime gives another output than the model: off by"):
        deploy(model(), images, "onnxruntime", bound=0.0)


class KeepsTheBatch(nn.Module):
    """A model that an exporter cannot make out: it takes the batch of the trace for a number."""

    def forward(self, image: Tensor) -> Tensor:
        return image.mean(dim=(2, 3)) * image.new_tensor(float(image.shape[0]))


def test_other_batches_are_compared_too(images: Tensor) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(RuntimeError, match="with a batch of 4"):
        deploy(KeepsTheBatch(), images, "onnxruntime")


class TakesThree(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image.unflatten(0, (3, 1)).mean(dim=(3, 4))


def test_a_model_of_one_batch_is_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="model must take batches of every size, of 4 images it says RuntimeError"):
        deploy(TakesThree(), images, "onnxruntime")


def test_best_measures_what_is_there(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    without(monkeypatch, "openvino")
    found = deploy(model(), images, ["openvino", "onnxruntime"])
    assert found.report.runtime == "onnxruntime"
    assert found.report.milliseconds["onnxruntime"] > 0
    assert "pip install 'vitblocks[openvino]'" in found.report.passed_over["openvino"]
    assert "pip install 'vitblocks[openvino]'" in str(found.report)
    with pytest.raises(RuntimeError, match="no runtime will do: openvino: openvino needs openvino"):
        deploy(model(), images, ["openvino"])


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else find_spec(name))


@pytest.mark.parametrize(
    ("package", "runtime", "options", "said"),
    [
        ("openvino", "openvino", {}, r"needs openvino: pip install 'vitblocks\[openvino\]'"),
        ("onnxruntime", "onnxruntime", {}, r"needs onnxruntime: pip install 'vitblocks\[onnx\]'"),
        ("nncf", "onnxruntime", {"int8": True}, r"onnxruntime in int8 needs .*nncf.*: pip install 'vitblocks\[int8"),
        (
            "torchao",
            "aot_inductor",
            {"int8": True},
            r"aot_inductor in int8 needs torchao: pip install 'vitblocks\[int8",
        ),
    ],
)
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, images: Tensor, package: str, runtime: Any, options: dict[str, Any], said: str
) -> None:
    without(monkeypatch, package)
    with pytest.raises(ModuleNotFoundError, match=said):
        deploy(model(), images, runtime, **({"int8": images} if options else {}))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"model": 1}, TypeError, "model must be a module"),
        ({"sample": torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)}, TypeError, "sample must be a tensor of floats"),
        ({"sample": torch.zeros(3, SIZE, SIZE)}, ValueError, r"sample must be \(batch, C, H, W\)"),
        ({"runtime": "tensorrt"}, ValueError, "runtime must be 'best', or one or several of"),
        ({"runtime": []}, ValueError, "runtime must be 'best'"),
        ({"runtime": 3}, ValueError, "runtime must be 'best'"),
        ({"runtime": [["onnxruntime"]]}, ValueError, "runtime must be 'best'"),
        ({"dtype": []}, ValueError, "dtype must be torch.float32 or torch.bfloat16"),
        ({"outputs": None}, ValueError, "outputs must be some of"),
        ({"outputs": [["attention"]]}, ValueError, "outputs must be some of"),
        ({"outputs": ["logits"]}, ValueError, r"outputs must be some of \['attention', 'features'\], got \['logits'\]"),
        (
            {"model": nn.Conv2d(3, 4, 1), "outputs": ["features"]},
            ValueError,
            "outputs cannot have 'features'.*Conv2d has",
        ),
        ({"bound": "1"}, TypeError, "bound must be a number"),
        ({"bound": -1.0}, ValueError, "bound must be at least 0"),
        ({"sample": torch.zeros(1, 3, SIZE, SIZE, device="meta")}, ValueError, "sample must lie on the CPU"),
        (
            {"model": nn.Conv2d(3, 4, 1, device="meta")},
            ValueError,
            "model must lie on the CPU, got model.weight on meta",
        ),
        ({"model": torch.compile(nn.Conv2d(3, 4, 1))}, TypeError, "model must not be compiled"),
        ({"dtype": torch.float16}, ValueError, "dtype must be torch.float32 or torch.bfloat16"),
        ({"dtype": torch.bfloat16}, ValueError, "dtype must be torch.float32 for onnxruntime"),
        ({"int8": torch.zeros(2, 3, 8, 8)}, ValueError, "int8 must be images of the sample's size"),
        ({"outputs": ["tokens"]}, ValueError, "outputs must be some of"),
        ({"threads": 0}, ValueError, "threads must be a number above 0"),
    ],
)
def test_arguments_are_looked_at(images: Tensor, change: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        deploy(**{"model": model(), "sample": images, "runtime": "onnxruntime", **change})


CASES: list[Any] = [
    ("openvino", {}),
    ("openvino", {"dtype": torch.bfloat16}),
    ("openvino", {"int8": True}),
    ("onnxruntime", {"int8": True}),
    pytest.param("compile", {}, marks=pytest.mark.slow),
    pytest.param("compile", {"dtype": torch.bfloat16}, marks=pytest.mark.slow),
    pytest.param("compile", {"int8": True}, marks=pytest.mark.slow),
    pytest.param("aot_inductor", {}, marks=pytest.mark.slow),
    pytest.param("aot_inductor", {"dtype": torch.bfloat16}, marks=pytest.mark.slow),
    pytest.param("aot_inductor", {"int8": True}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("runtime", "options"), CASES)
def test_other_runtimes(images: Tensor, tmp_path: Path, runtime: Any, options: dict[str, Any]) -> None:
    """Also the precisions; those that are not installed are skipped."""
    module = RUNTIMES[runtime]
    for package in (*module.PACKAGES, *(module.QUANTIZERS if "int8" in options else ())):
        pytest.importorskip(package)
    if "int8" in options:
        options = {"int8": torch.randn(8, 3, SIZE, SIZE)}
    found = deploy(model(), images, runtime, threads=1, **options)
    found.save(tmp_path / "folder")
    again = load(tmp_path / "folder", threads=1, run_code=True)
    image = torch.randn(5, 3, SIZE, SIZE)
    assert torch.equal(again(image), found(image))
    with torch.no_grad():
        right = model()(image)
    assert (again(image) - right).abs().max() <= found.report.bound * right.abs().max()


def test_the_package_gives_deploy() -> None:
    called: Callable[..., Any] = vitblocks.deploy
    assert called is deploy


def test_a_deployed_model_is_loaded_without_what_trains(deployed: Deployed, tmp_path: Path) -> None:
    deployed.save(tmp_path / "folder")
    code = (
        "import sys, torch; from vitblocks.deploying import load; load(sys.argv[1])(torch.zeros(1, 3, 16, 16)); "
        "print([name for name in sys.modules if name.startswith(('vitblocks.train', 'vitblocks.convert'))])"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "folder")], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr
