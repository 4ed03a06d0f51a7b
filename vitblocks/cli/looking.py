"""``predict`` and ``attend``: what a model says of images, and where it looks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..border import preprocess
from ..checkpoint.files import write_whole
from .output import Json, examples, say, table
from .sources import SOURCE, model_from

Images = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Files of images.")]
Source = Annotated[str, typer.Option("--model", "-m", help=f"The model: {SOURCE}.")]


def add(app: typer.Typer) -> None:
    app.command(
        "predict",
        epilog=examples(
            "vitblocks predict cat.jpg -m runs/cats/model",
            "vitblocks predict *.jpg -m vit_tiny_patch16_224.augreg_in21k_ft_in1k --json",
        ),
    )(predict)
    app.command("attend", epilog=examples("vitblocks attend cat.jpg -m runs/cats/model -o attention.png"))(attend)


def predict(
    images: Images,
    model: Source,
    top: Annotated[int, typer.Option(min=1, help="How many classes.")] = 5,
    as_json: Json = False,
) -> None:
    """Say which classes images are of."""
    loaded: Any = model_from(model, pretrained=True).eval()
    given = preprocess(loaded)(_files(images))
    with torch.no_grad():
        logits = loaded(given)
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(f"{model} gives {tuple(logits.shape[1:])} for an image, which are no classes")
    chances, classes = logits.float().softmax(dim=1).topk(min(top, logits.shape[1]))
    names = getattr(loaded, "labels", None)
    rows: list[dict[str, Any]] = [
        {
            "image": str(path),
            "classes": [
                {"class": k, "name": names[k] if names else str(k), "probability": p}
                for k, p in zip(ks, ps, strict=True)
            ],
        }
        for path, ks, ps in zip(images, classes.tolist(), chances.tolist(), strict=True)
    ]
    lines = [
        (row["image"], ", ".join(f"{one['name']} {one['probability']:.1%}" for one in row["classes"])) for row in rows
    ]
    say(rows, as_json, table(("image", "classes"), lines, left=2))


def attend(
    images: Images,
    model: Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture, .png, .pdf or .svg.")] = Path(
        "attention.png"
    ),
    as_json: Json = False,
) -> None:
    """Draw where a model looks in images."""
    from io import BytesIO

    from ..inspect.overview import attention_overview
    from ..viz import overlay

    kind = output.suffix.removeprefix(".")
    if kind not in ("png", "pdf", "svg"):
        raise ValueError(f"--output must end in .png, .pdf or .svg, got {output}")
    loaded = model_from(model, pretrained=True).eval()
    given = preprocess(loaded)(_files(images))
    figure = overlay(given, attention_overview(loaded, given), columns=["reads"], rows=[path.name for path in images])
    picture = BytesIO()
    figure.savefig(picture, format=kind, dpi=150)
    write_whole(output, [picture.getvalue()])
    say({"picture": str(output)}, as_json, f"{output}")


def _files(paths: list[Path]) -> list[str]:
    for path in paths:
        if not path.is_file():
            raise ValueError(f"there is no image {path}")
    return [str(path) for path in paths]
