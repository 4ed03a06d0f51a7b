"""``train`` and ``evaluate``."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..extras import needed
from ..train import Bar, Recipe, Result, TensorBoard, evaluate as evaluated, fit, load_data
from ..train.data.images import few
from ..train.data.sources import Data
from ..train.fitting import preprocessing_for
from ..train.seeds import seed_of
from . import flags
from .output import Json, examples, say, table
from .settings import Settings
from .sources import SOURCE, model_from, options_of

OF_RECIPE = ("objective", "epochs", "batch", "lr", "seed")
"""What of a recipe has a flag of its own."""


def add(app: typer.Typer) -> None:
    app.command(
        "train",
        epilog=examples(
            "vitblocks train --model vitblocks.demo.hybrid:hybrid --data digits --output runs/digits --epochs 20 --batch 64",
            "vitblocks train --model cct_7_3x1_32 --data hf:cifar10 --splits train,test --preset cct_cifar10 --output runs/cifar",
            "vitblocks train settings.json --resume",
            "accelerate launch -m vitblocks train settings.json",
        ),
    )(train)
    app.command("evaluate", epilog=examples("vitblocks evaluate runs/digits/model --data digits"))(evaluate)


def train(
    context: typer.Context,
    config: flags.Config = None,
    model: flags.Model = None,
    data: flags.Images = None,
    output: flags.Output = None,
    preset: flags.Preset = None,
    objective: flags.ObjectiveName = None,
    epochs: flags.Epochs = None,
    batch: flags.BatchSize = None,
    lr: flags.LearningRate = None,
    seed: flags.Seed = None,
    setting: flags.OfRecipe = None,
    option: flags.OfModel = None,
    pretrained: flags.Pretrained = None,
    teacher: flags.Teacher = None,
    splits: flags.Splits = None,
    held_out: flags.HeldOut = None,
    split_seed: flags.SplitSeed = None,
    labels: flags.LabelCount = None,
    images: flags.ImageCount = None,
    classes: flags.ClassCount = None,
    workers: flags.Workers = None,
    keep: flags.Keep = None,
    save_every: flags.SaveEvery = None,
    resume: flags.Resume = False,
    tensorboard: flags.ToTensorBoard = False,
    quiet: flags.Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a model."""
    said = {**context.params, "output": None if output is None else str(output)}
    recipe = {name: said[name] for name in OF_RECIPE if said[name] is not None}
    given = {field.name: said[field.name] for field in fields(Settings) if field.name in said}
    given["recipe"] = recipe | options_of(setting or [], "--set")
    given["model_options"] = options_of(option or [], "--option")
    settings = Settings.of(config, given)
    result = _trained(settings, resume, tensorboard, quiet)
    if int(os.environ.get("RANK", 0)) == 0:
        _report(result, as_json)


def _trained(settings: Settings, resume: bool, tensorboard: bool, quiet: bool) -> Result:
    recipe = settings.made_recipe()
    labelled = recipe.objective in ("supervised", "distillation")
    found = _data(settings, recipe.seed, labelled)
    classes = len(found.train.classes)
    torch.manual_seed(seed_of(recipe.seed, "model"))
    assert settings.model is not None
    net = model_from(
        settings.model,
        num_classes=classes if labelled else None,
        pretrained=settings.pretrained,
        options=settings.model_options,
    )
    taught = _teacher(settings.teacher, classes) if settings.teacher is not None else None
    folder = Path(str(settings.output))
    first = int(os.environ.get("RANK", 0)) == 0
    watchers: list[Any] = [Bar(recipe.batch, quiet=quiet)] if first else []
    if tensorboard and first:
        watchers.append(TensorBoard(folder / "tensorboard"))
    return fit(
        net,
        found,
        recipe,
        folder=folder,
        teacher=taught,
        resume=resume,
        keep=settings.keep,
        save_every=settings.save_every,
        workers=settings.workers,
        watchers=watchers,
    )


def _data(settings: Settings, seed: int, labelled: bool) -> Data:
    splits = None
    if settings.splits is not None:
        first, _, second = settings.splits.partition(",")
        if not first or not second:
            raise ValueError(f"--splits must be two names, such as train,test, got {settings.splits!r}")
        splits = (first, second)
    found = load_data(
        str(settings.data),
        held_out=settings.held_out,
        seed=settings.split_seed,
        labelled=labelled,
        splits=splits,
        count=settings.images,
        classes=settings.classes,
    )
    return found if settings.labels is None else found._replace(train=few(found.train, settings.labels, seed))


def _teacher(source: str, classes: int) -> torch.nn.Module:
    if not source.startswith("timm:"):
        return model_from(source, pretrained=True)
    timm = needed("timm", "a teacher of timm")
    try:
        made: torch.nn.Module = timm.create_model(source.removeprefix("timm:"), pretrained=True, num_classes=classes)
    except RuntimeError as error:
        raise ValueError(f"--teacher {source}: {error}") from error
    return made


def _report(result: Result, as_json: bool) -> None:
    from ..train.page import write_page

    page = write_page(result)
    found = {
        "folder": str(result.folder),
        "model": str(result.folder / "model"),
        "page": str(page),
        "steps": result.steps,
        "seconds": result.seconds,
        "held_out_accuracy": result.accuracy,
        "broken": result.broken,
    }
    lines = [
        f"{result.steps} steps in {result.seconds:.0f} s; the model is in {result.folder / 'model'}, what became of it in {page}"
    ]
    if result.accuracy is not None:
        lines.insert(0, f"held-out accuracy: {result.accuracy:.2%}")
    if result.broken:
        lines.append(f"{len(result.broken)} images could not be read, the first: {result.broken[0]}")
    say(found, as_json, "\n".join(lines))


def evaluate(
    source: Annotated[str, typer.Argument(metavar="MODEL", help=f"The model: {SOURCE}.", show_default=False)],
    data: Annotated[str, typer.Option("--data", "-d", help=f"The images: {flags.DATA}.")],
    splits: Annotated[str | None, typer.Option(help="Of hf:NAME, two names; the second is what is asked.")] = None,
    held_out: Annotated[float, typer.Option(help="Share held out, as in training.")] = 0.2,
    split_seed: Annotated[int, typer.Option(help="Which images those are, as in training.")] = 0,
    whole: Annotated[bool, typer.Option("--all", help="All images, those trained on as well.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 128,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    as_json: Json = False,
) -> None:
    """Say how many images of those held out a model tells right."""
    found = _data(
        Settings(data=data, splits=splits, held_out=0.0 if whole else held_out, split_seed=split_seed), 0, True
    )
    images = found.train if found.held_out is None else found.held_out
    model = model_from(source, pretrained=True).eval()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    said = evaluated(model.to(device), images, preprocessing_for(model, Recipe()), batch=batch, workers=workers)
    right = said.confusion.diagonal()
    count = said.confusion.sum(dim=1)
    rows = [
        {"class": name, "images": int(n), "right": int(k)}
        for name, n, k in zip(said.classes, count, right, strict=True)
    ]
    data_found = {
        "accuracy": said.accuracy,
        "loss": said.loss,
        "images": len(said.labels),
        "classes": rows,
        "broken": said.broken,
    }
    lines = table(("class", "images", "right"), [[str(v) for v in row.values()] for row in rows])
    words = f"accuracy: {said.accuracy:.2%} of {len(said.labels)} images, loss {said.loss:.4f}\n{lines}"
    if said.broken:
        words += f"\n{len(said.broken)} images could not be read, the first: {said.broken[0]}"
    say(data_found, as_json, words)
