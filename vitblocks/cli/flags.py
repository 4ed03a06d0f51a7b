"""The flags of ``train``, under the names of what they set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..train import PRESETS
from ..train.recipe import Objective
from .sources import SOURCE

DATA = (
    "digits, mnist5k, a folder with a folder for each class (or with train/ and val/ of that kind), hf:NAME, or as a stream stream:NAME or "
    "stream:shards/*.tar"
)

Config = Annotated[
    Path | None, typer.Argument(help="Settings in a file, JSON or TOML; flags say more.", show_default=False)
]
Model = Annotated[str | None, typer.Option("--model", "-m", help=f"The model: {SOURCE}.")]
Images = Annotated[str | None, typer.Option("--data", "-d", help=f"The images: {DATA}.")]
Output = Annotated[
    Path | None, typer.Option("--output", help="Folder of the run, which must hold none, but for --resume.")
]
Preset = Annotated[str | None, typer.Option("--preset", help=f"A published recipe: {', '.join(PRESETS)}.")]
ObjectiveName = Annotated[str | None, typer.Option(help=f"{', '.join(Objective.__args__)}.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the images.")]
BatchSize = Annotated[int | None, typer.Option(help="Images of a step, over all processes.")]
LearningRate = Annotated[float | None, typer.Option(help="The highest learning rate.")]
Seed = Annotated[int | None, typer.Option(help="Of all that is drawn.")]
OfRecipe = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Anything else of the recipe, key=value (see vitblocks.train.Recipe)."),
]
OfModel = Annotated[list[str] | None, typer.Option("--option", "-o", help="An argument of the model, key=value.")]
Pretrained = Annotated[bool | None, typer.Option("--pretrained", help="Start a variant from its published weights.")]
Teacher = Annotated[
    str | None, typer.Option(help="For distillation, a model as --model; timm:NAME is timm's, with weights.")
]
Splits = Annotated[str | None, typer.Option(help="Of hf:NAME, what to train on and what is held out: train,test.")]
HeldOut = Annotated[float | None, typer.Option(help="Share held out where the data has no part for it. [default: 0.2]")]
SplitSeed = Annotated[int | None, typer.Option(help="Which images those are. [default: 0]")]
LabelCount = Annotated[int | None, typer.Option(help="Train on so many of the images only.")]
ImageCount = Annotated[int | None, typer.Option(min=1, help="How many images a stream has that does not say it.")]
ClassCount = Annotated[int | None, typer.Option(min=2, help="How many classes a stream has that does not say it.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes that read images. [default: 0]")]
Keep = Annotated[int | None, typer.Option(min=1, help="Checkpoints that stay. [default: 2]")]
SaveEvery = Annotated[int | None, typer.Option(min=1, help="Steps between checkpoints; an epoch if not given.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --output.")]
ToTensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write for TensorBoard, too, to OUTPUT/tensorboard.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
