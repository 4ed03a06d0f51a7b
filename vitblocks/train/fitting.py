"""Training from beginning to end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..border import Preprocessing, preprocess
from ..extras import extra
from .data.images import Images
from .data.reading import Reading
from .data.sources import Data
from .data.streams import Stream
from .groups import parameter_groups
from .keeping import Folder
from .preparing import prepared
from .recipe import Recipe
from .result import Result
from .run import Run
from .running import Steps, micro_batch_of
from .seeds import seed_of
from .sharding import is_sharded, shard_by_block
from .stopping import listening
from .tasks import Setting, Task, task_of
from .watching import Watcher

if TYPE_CHECKING:
    from accelerate import Accelerator


def fit(
    model: nn.Module,
    data: Data | tuple[Images, Images | None] | Images,
    recipe: Recipe,
    *,
    folder: str | os.PathLike[str],
    teacher: nn.Module | None = None,
    resume: bool = False,
    keep: int = 2,
    save_every: int | None = None,
    workers: int = 0,
    watchers: Sequence[Watcher] = (),
) -> Result:
    """Train a model by a recipe. On several processes (``accelerate launch``) each calls this with the same arguments.

    What came out lies in ``folder``: ``model/`` (see :func:`vitblocks.load_model`), ``metrics.jsonl``, ``results.json``, the recipe, and
    checkpoints, from which ``resume=True`` goes on as if nothing had happened: with the same losses to the last bit on the same machine.
    What is kept in the end is what was best on the images held out, after an epoch; the last where there are none. The model is then that,
    or where accelerate shards it (FSDP2) the result's model.

    Args:
        model: any module ``images -> (B, classes)``; some objectives need a :class:`~vitblocks.Model`.
        data: what is trained on, or that and what is held out.
        recipe: how.
        folder: made if there is none.
        teacher: for distillation, any module ``images -> (B, classes)``, or with ``logits`` in what it gives.
        resume: go on from the last checkpoint in ``folder``, if there is one.
        keep: how many of the last checkpoints stay.
        save_every: steps between two checkpoints; those of an epoch if None.
        workers: processes that read images, for each process that trains.
        watchers: what is told of every step and epoch.

    Raises:
        ImportError: an extra that the recipe needs is not installed.
        ValueError: the recipe cannot be done with this model or these images; nothing is written then. Or there is a run already.
        NotFinite: a loss or gradient is NaN or infinite; the message says where it began, and what the last checkpoint is.
        Stopped: SIGTERM or Ctrl-C came; a checkpoint was written.
        OSError: a file cannot be written, as on a full disk. The checkpoints that were there are whole.
    """
    train, held_out = data if isinstance(data, tuple) else (data, None)
    _check(recipe, model, train)
    accelerator = _accelerator()
    sharded = is_sharded(accelerator, recipe)
    copy = deepcopy(model) if sharded else None
    torch.manual_seed(seed_of(recipe.seed, "parts"))
    with prepared(model, recipe) as adapted:
        steps = _steps(model, train, recipe, teacher, accelerator, workers, sharded=sharded)
        if not isinstance(train, Stream):
            Reading(train, steps.preprocessing)[0, 0]  # which raises where no image can be read
        place = Folder(Path(folder), keep)
        run = Run(recipe, steps, place, held_out, save_every or steps.steps_per_epoch, watchers, accelerator)
        run.begin(resume)
        with listening() as asked:
            run(asked)
        run.take_best()
        if adapted is not None:
            adapted.merge_and_unload()
    return run.finished(copy)


def _accelerator() -> Accelerator:
    with extra("accelerate", "training"):
        from accelerate import Accelerator
    # Without being told, several processes on a CPU would not know of one another.
    return Accelerator(cpu=not torch.accelerator.is_available())


def _steps(
    model: nn.Module,
    images: Images,
    recipe: Recipe,
    teacher: nn.Module | None,
    accelerator: Accelerator,
    workers: int,
    *,
    sharded: bool,
) -> Steps:
    """The steps of a model that was prepared, on its device."""
    setting = Setting(preprocessing_for(model, recipe), len(images) // recipe.batch, teacher)
    task = task_of(recipe, model, setting)
    optimizer = optimizer_of(recipe, task)
    micro_batch_of(recipe, accelerator.num_processes)
    if teacher is not None:
        teacher.to(accelerator.device)
    task.model.to(accelerator.device)
    if sharded:
        shard_by_block(accelerator, task)
    return Steps(recipe, task, setting, images, accelerator, optimizer, workers)


def _check(recipe: Recipe, model: nn.Module, images: Images) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a module, got {model!r:.80}")
    if len(images) < recipe.batch:
        raise ValueError(f"batch must be at most the {len(images)} images, got {recipe.batch}")
    supervised = recipe.objective in ("supervised", "distillation")
    if supervised and not isinstance(images, Stream) and len({*images.labels}) < 2:
        raise ValueError(
            f"the images are of one class only, {images.classes[images.labels[0]]!r}: there is nothing to tell apart"
        )


def preprocessing_for(model: nn.Module, recipe: Recipe) -> Preprocessing:
    """What is done to images: what the recipe says, or came with the model, or whole images where nothing is cut out in training."""
    if recipe.preprocessing is not None:
        return Preprocessing(**recipe.preprocessing)
    found = preprocess(model)
    if recipe.size is not None:
        found = found.of_size((recipe.size, recipe.size))
    if getattr(model, "preprocessing", None) is None and recipe.crop == 1.0:
        return replace(found, resize=found.size)
    return found


def optimizer_of(recipe: Recipe, task: Task) -> torch.optim.Optimizer:
    """AdamW on what a task trains, in groups whose names and scales the schedule reads."""
    # A decay of 1 only to see which are decayed: the schedule sets the numbers.
    groups = parameter_groups(task.grouped, 1.0, layer_decay=recipe.layer_decay)
    for group in groups:
        group["decayed"] = group["weight_decay"] > 0
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), eps=recipe.eps)
