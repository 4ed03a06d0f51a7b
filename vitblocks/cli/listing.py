"""``list``, ``info`` and ``summary``: what there is, and what a model is made of."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import typer

from ..border.published import published, weights_of
from ..inspect import summary as counted
from ..registry import create_model, list_models, variants
from ..zoo.proofs import proofs
from .output import Json, Size, examples, say, table
from .sources import SOURCE, model_from, options_of


def add(app: typer.Typer) -> None:
    app.command("list", epilog=examples("vitblocks list 'swin*'", "vitblocks list 'vit_small*' --table"))(list_command)
    app.command("info", epilog=examples("vitblocks info cait_s24_224", "vitblocks info runs/digits/model"))(info)
    app.command("summary", epilog=examples("vitblocks summary cct_7_3x1_32"))(summary)


def list_command(
    pattern: Annotated[str, typer.Argument(help="A shell pattern; all if not given.")] = "*",
    family: Annotated[str | None, typer.Option(help="Only those of this folder of the zoo, such as swin.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Published weights rather than variants.")] = False,
    as_table: Annotated[
        bool,
        typer.Option(
            "--table",
            help="With class, parameters, multiply-adds, and how far off the published code at most; seconds for each dozen.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models that have a name."""
    names = list_models(pattern, pretrained=pretrained)
    if family is not None:
        names = [name for name in names if _family(name).lower() == family.lower()]
    if not names:
        raise ValueError(f"no model is called like {pattern!r}" + (f" of the family {family}" if family else ""))
    if not as_table:
        say(names, as_json, "\n".join(names))
        return
    rows = [_row(name) for name in names]
    cells = [
        (r["name"], r["class"], _size(r["image"]), _short(r["parameters"]), _short(r["macs"]), *_proven(r["proof"]))
        for r in rows
    ]
    heads = ("name", "class", "image", "parameters", "MACs", "compared with", "cases", "largest error")
    say(rows, as_json, table(heads, cells, left=2))


def _variant(name: str) -> str:
    return published()[name].variant if name in published() else name


def _family(name: str) -> str:
    return variants()[_variant(name)].build.__module__.removeprefix("vitblocks.zoo.").partition(".")[0]


def _row(name: str) -> dict[str, Any]:
    with torch.device("meta"):
        model: Any = create_model(name)
    counts = counted(model)
    return {
        "name": name,
        "class": type(model).__name__,
        "image": list(counts.image[1:]),
        "parameters": counts.params,
        "macs": counts.macs,
        "layouts": sorted(getattr(model, "layouts", {})),
        "proof": _proof(name),
    }


def _proof(name: str) -> dict[str, Any]:
    """Of each layout that the paper's models were compared with: how many cases, and the largest error."""
    return {layout: one._asdict() for layout, one in proofs().get(_family(name), {}).items()}


def _proven(proof: dict[str, Any]) -> tuple[str, str, str]:
    """Whose code, how many cases, and the largest error of all."""
    if not proof:
        return "", "0", ""
    worst = max(one["largest_error"] for one in proof.values())
    return ", ".join(proof), str(sum(one["cases"] for one in proof.values())), f"{worst:.0e}"


def _size(image: list[int]) -> str:
    return "x".join(map(str, image))


def _short(count: int) -> str:
    for unit, word in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.2f} {word}"
    return str(count)


Named = Annotated[str, typer.Argument(metavar="MODEL", help=f"The model: {SOURCE}.", show_default=False)]
Options = Annotated[list[str] | None, typer.Option("--option", "-o", help="An argument of the model, key=value.")]


def info(source: Named, option: Options = None, as_json: Json = False) -> None:
    """Say what a model is: its composition, its stages, whose weights load, and where its own lie."""
    model: Any = model_from(source, options=options_of(option or [], "--option"))
    size = getattr(model, "image_size", None) or (getattr(model, "preprocessing", None) or {}).get("size")
    counts = counted(model, size and tuple(size))
    stages = [
        {"stage": one.name, "channels": one.channels, "stride": list(one.stride)}
        for one in getattr(model, "feature_info", [])
    ]
    found: dict[str, Any] = {
        "name": source,
        "class": type(model).__name__,
        "image": list(counts.image),
        "parameters": counts.params,
        "macs": counts.macs,
        "stages": stages,
        "layouts": sorted(getattr(model, "layouts", {})),
        "labels": getattr(model, "labels", None),
        "preprocessing": getattr(model, "preprocessing", None),
        "published": [row.name for row in published().values() if row.variant == source or row.name == source],
        "proof": _proof(source) if source in variants() or source in published() else {},
        "composition": repr(model),
    }
    if found["published"]:
        row = weights_of(source)
        found["weights"] = {"hub": row.hub, "license": row.license, "num_classes": row.num_classes}
    lines = [
        f"{found['class']}: {counts.params:,} parameters, {counts.macs:,} multiply-adds for an image of {_size(found['image'])}",
        f"weights of these load: {', '.join(found['layouts']) or 'only our own'}",
    ]
    if found["proof"]:
        whose, cases, worst = _proven(found["proof"])
        lines.append(
            f"compared with published code ({whose}): {cases} cases of this paper's models, largest error {worst}"
        )
    if stages:
        lines.append(table(("stage", "channels", "stride"), [[str(v) for v in s.values()] for s in stages]))
    if found["published"]:
        lines.append(f"published weights: {', '.join(found['published'])}")
    if found["labels"]:
        lines.append(
            f"{len(found['labels'])} labels: {', '.join(found['labels'][:8])}{', ...' if len(found['labels']) > 8 else ''}"
        )
    say(found, as_json, "\n".join([*lines, "", found["composition"]]))


def summary(source: Named, size: Size = None, option: Options = None, as_json: Json = False) -> None:
    """Count a model layer by layer: shapes, parameters, multiply-adds, activations."""
    counts = counted(model_from(source, options=options_of(option or [], "--option")), size)
    say({**vars(counts), "layers": [vars(layer) for layer in counts.layers]}, as_json, str(counts))
