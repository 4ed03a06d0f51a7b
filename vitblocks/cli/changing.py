"""``swap``, ``convert-weights`` and ``export``: other layers, other names, other programs."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer

from .. import attention, feedforward, norm, pool, position
from ..border import preprocess
from ..checkpoint import export as exported, save_pretrained
from ..checkpoint.files import write_whole
from ..checkpoint.tensor_file import write_tensors
from ..deploying import to_onnx, to_program
from ..deploying.exporting import INPUT, require_one_file
from ..extras import missing
from ..folding import fold
from ..inspect.summary import image_channels
from ..surgery import swap as swapped
from .output import Json, Size, examples, say
from .sources import SOURCE, model_from, options_of

Source = Annotated[str, typer.Argument(metavar="MODEL", help=f"The model: {SOURCE}.", show_default=False)]
Family = Annotated[str, typer.Option(help="attention, feedforward, norm, position or pool.")]


def add(app: typer.Typer) -> None:
    app.command(
        "swap",
        epilog=examples(
            "vitblocks swap runs/digits/model LocalWindowAttention --where 2: -o window=4 --output swapped"
        ),
    )(swap)
    app.command(
        "convert-weights",
        epilog=examples(
            "vitblocks convert-weights deit.pth --to ours --output deit",
            "vitblocks convert-weights runs/a/model --to timm --output a.safetensors",
        ),
    )(convert_weights)
    app.command(
        "export",
        epilog=examples(
            "vitblocks export runs/digits/model --output digits.onnx",
            "vitblocks export runs/digits/model --output digits.pt2",
        ),
    )(export)


def swap(
    source: Source,
    to: Annotated[str, typer.Argument(help="The class to put in, such as LocalWindowAttention.")],
    output: Annotated[Path, typer.Option(help="Folder for the changed model.")],
    family: Family = "attention",
    where: Annotated[
        str | None, typer.Option(help="A pattern of names, a depth (2) or depths (2:4, 2:); all if not given.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="An argument of the class, key=value.")
    ] = None,
    size: Size = None,
    as_json: Json = False,
) -> None:
    """Replace layers by another kind, keep every weight that has a place in it, and save the model."""
    model = model_from(source, pretrained=True).eval()
    kind = next(
        (getattr(home, to) for home in (attention, feedforward, norm, pool, position) if hasattr(home, to)), None
    )
    if kind is None:
        raise ValueError(f"no part is called {to!r}; see vitblocks.list_parts()")
    sample = sample_for(model, size)
    report: Any = swapped(model, family, kind, _where(where), sample, **options_of(option or [], "--option"))
    save_pretrained(model, output)
    drift = None if report.drift is None else str(report.drift)
    found = {"folder": str(output), "layers": [layer.name for layer in report.layers], "drift": drift}
    say(found, as_json, f"{report}\nsaved to {output}")


def _where(text: str | None) -> Any:
    if text is None:
        return None
    if text.lstrip("-").isdigit():
        return int(text)
    start, colon, stop = text.partition(":")
    if colon and all(not side or side.lstrip("-").isdigit() for side in (start, stop)):
        return slice(int(start) if start else None, int(stop) if stop else None)
    return text


def sample_for(model: Any, size: int | None, count: int = 2) -> torch.Tensor:
    """Noise of the size that the model is for."""
    height, width = (size, size) if size is not None else size_of(model)
    return torch.rand(count, image_channels(model), height, width, generator=torch.Generator().manual_seed(0))


def size_of(model: Any) -> tuple[int, int]:
    """The size that a model was made for, or that images are brought to for it.

    Raises:
        ValueError: none is known.
    """
    own: tuple[int, int] | None = getattr(model, "image_size", None)
    if own is None and getattr(model, "preprocessing", None) is not None:
        own = preprocess(model).size
    if own is None:
        raise ValueError("--size must be given: the model was made for no size")
    return own


def convert_weights(
    source: Source,
    to: Annotated[
        str,
        typer.Option(help="ours, for a folder that load_model reads, or a layout of the model: timm, hf, official."),
    ],
    output: Annotated[Path, typer.Option(help="Folder, or for another layout a file .safetensors.")],
    as_json: Json = False,
) -> None:
    """Write a model's weights under the names that another library has for them."""
    model = model_from(source, pretrained=True)
    if to == "ours":
        save_pretrained(model, output)
    else:
        weights = exported(model, to)
        write_tensors(output, weights, {"format": "pt"})
    say({"written": str(output), "layout": to}, as_json, f"{output}")


def export(
    source: Source,
    output: Annotated[Path, typer.Option(help="A file .onnx, or .pt2 for torch.export.")],
    size: Size = None,
    folded: Annotated[
        bool, typer.Option("--fold/--no-fold", help="Fold norms, scales and biases first, which is exact.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Export a model for another program, for any number of images at once, and compare what it says there."""
    kind = output.suffix
    if kind not in (".onnx", ".pt2"):
        raise ValueError(f"--output must end in .onnx or .pt2, got {output}")
    if not output.resolve().parent.is_dir():
        raise ValueError(f"there is no folder {output.resolve().parent}")
    model = model_from(source, pretrained=True).eval()
    sample = sample_for(model, size)
    with torch.no_grad():
        expected = model(sample)
    if not isinstance(expected, torch.Tensor):
        raise TypeError(f"the model must give one tensor, got a {type(expected).__name__}")
    made = fold(model, sample).model if folded else model
    difference = _onnx(made, sample, output, expected) if kind == ".onnx" else _program(made, sample, output, expected)
    say(
        {"written": str(output), "largest_difference": difference},
        as_json,
        f"{output}; largest difference to the model, of logits up to {expected.abs().max():.3g}: {difference:.2g}",
    )


def _onnx(model: torch.nn.Module, sample: torch.Tensor, output: Path, expected: torch.Tensor) -> float:
    if lacking := missing("onnx", "onnxruntime"):
        raise ImportError(f"export to ONNX {lacking}")
    import onnxruntime

    with TemporaryDirectory() as folder:
        made = Path(folder) / output.name
        to_onnx(model, sample, made)
        require_one_file(made)
        session = onnxruntime.InferenceSession(str(made), providers=["CPUExecutionProvider"])
        difference = float((torch.from_numpy(session.run(None, {INPUT: sample.numpy()})[0]) - expected).abs().max())
        write_whole(output, [made.read_bytes()])
    return difference


def _program(model: torch.nn.Module, sample: torch.Tensor, output: Path, expected: torch.Tensor) -> float:
    program = to_program(model, sample)
    with torch.no_grad():
        difference = float((program.module()(sample) - expected).abs().max())
    made = BytesIO()
    torch.export.save(program, made)
    write_whole(output, [made.getvalue()])
    return difference
