"""Models saved to folders and loaded from them, with what they are composed of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.recipe.examples import MODELS
from vitblocks import CaiT, LocalWindowAttention, Model, ViT, describe, swap_attention
from vitblocks.checkpoint import from_pretrained, push_to_hub, save_pretrained
from vitblocks.checkpoint.pretrained import CONFIG, WEIGHTS
from vitblocks.demo.hybrid import hybrid
from vitblocks.surgery import swaps_of


def vit() -> ViT:
    return ViT(image_size=16, patch_size=4, num_classes=3, dim=8, depth=2, heads=2, mlp_dim=16).eval()


def images(channels: int = 3) -> Tensor:
    return torch.randn(2, channels, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_and_objective(name: str, tmp_path: Path) -> None:
    model: Any = MODELS[name]()
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert describe(again) == describe(model)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())


def test_a_hybrid_in_a_fresh_process(tmp_path: Path) -> None:
    model = hybrid(dim=8, heads=2).eval()
    model.save_pretrained(tmp_path, preprocessing={"mean": [0.5]}, labels=["zero", "one"])
    torch.save({"images": images(1), "output": model(images(1)).detach()}, tmp_path / "given.pt")
    script = """
import sys, torch, vitblocks
model = vitblocks.Model.from_pretrained(sys.argv[1])
given = torch.load(sys.argv[1] + "/given.pt")
assert torch.equal(model(given["images"]), given["output"])
assert not model.training and model.labels == ["zero", "one"] and model.preprocessing == {"mean": [0.5]}
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_swapped_model(tmp_path: Path) -> None:
    model = vit()
    swap_attention(model, LocalWindowAttention, where=1, window=2)
    model.save_pretrained(tmp_path)
    again = ViT.from_pretrained(tmp_path)
    assert torch.equal(again(images()), model(images()))
    assert swaps_of(again) == json.loads(json.dumps(swaps_of(model)))


def test_labels_are_kept_when_saved_again(tmp_path: Path) -> None:
    vit().save_pretrained(tmp_path / "a", labels=["x"])
    ViT.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    assert json.loads((tmp_path / "b" / CONFIG).read_text())["labels"] == ["x"]


def test_of_another_class(tmp_path: Path) -> None:
    vit().save_pretrained(tmp_path)
    assert isinstance(Model.from_pretrained(tmp_path), ViT)
    with pytest.raises(ValueError, match="holds a ViT, not a CaiT"):
        CaiT.from_pretrained(tmp_path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        from_pretrained(tmp_path)
    vit().save_pretrained(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match="there are no weights"):
        from_pretrained(tmp_path)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the classes of torch"):
        save_pretrained(nn.LSTM(2, 2), tmp_path / "a")
    with pytest.raises(ValueError, match="labels must be a list of names"):
        vit().save_pretrained(tmp_path / "a", labels=[1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="preprocessing is no plain data"):
        vit().save_pretrained(tmp_path / "a", preprocessing={"mean": object()})
    assert not (tmp_path / "a").exists()


HOSTILE: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "is no JSON"),
    "deep": ("[" * 100_000, "is no JSON"),
    "a list": ("[]", "must be a dictionary with a description"),
    "no model": ('{"vitblocks": "0.1.0"}', "must be a dictionary with a description"),
    "code": (
        '{"model": {"class": "os.system", "args": {"command": "touch ran"}}}',
        "'os.system' is no registered part",
    ),
    "enormous": ('{"model": {"class": "Mlp", "args": {"dim": 1000000000}}}', "is more than 1,000,000"),
    "labels": ('{"model": {"class": "Mlp"}, "labels": 3}', "labels must be a list"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_folder_of_anybodys(name: str, tmp_path: Path) -> None:
    text, message = HOSTILE[name]
    vit().save_pretrained(tmp_path)
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        from_pretrained(tmp_path)
    assert CONFIG in str(caught.value)


def test_weights_of_another_model(tmp_path: Path) -> None:
    vit().save_pretrained(tmp_path / "a")
    hybrid(dim=8, heads=2).save_pretrained(tmp_path / "b")
    (tmp_path / "a" / WEIGHTS).write_bytes((tmp_path / "b" / WEIGHTS).read_bytes())
    with pytest.raises(ValueError, match=r"the model is a ViT here, a Model there|embed is a"):
        from_pretrained(tmp_path / "a")


# The Hub, without a network.


def test_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    calls: list[tuple[Any, ...]] = []

    class Api:
        def __init__(self, token: str | None = None) -> None:
            calls.append(("token", token))

        def create_repo(self, repo_id: str, **options: Any) -> None:
            calls.append(("create", repo_id, options))

        def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
            for path in Path(folder_path).iterdir():
                (tmp_path / path.name).write_bytes(path.read_bytes())
            return f"https://hub/{repo_id}"

    def snapshot_download(repo_id: str, **options: Any) -> str:
        calls.append(("download", repo_id, options))
        return str(tmp_path)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    model = vit()
    assert model.push_to_hub("me/model", private=True, token="t", labels=["a"]) == "https://hub/me/model"
    again = ViT.from_pretrained("me/model", revision="main")
    assert torch.equal(again(images()), model(images()))
    assert again.labels == ["a"]
    assert calls == [
        ("token", "t"),
        ("create", "me/model", {"private": True, "exist_ok": True}),
        ("download", "me/model", {"allow_patterns": [CONFIG, WEIGHTS], "revision": "main"}),
    ]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for use in (lambda: from_pretrained("me/model"), lambda: push_to_hub(vit(), "me/model")):
        with pytest.raises(ImportError, match=r"pip install 'vitblocks\[hub\]'"):
            use()
    vit().save_pretrained(tmp_path)
    assert isinstance(from_pretrained(tmp_path), ViT)
