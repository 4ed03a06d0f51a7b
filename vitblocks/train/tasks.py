"""What a recipe has a model learn: a module ``(images, target) -> loss`` around the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..border import Preprocessing
from ..norm import at_least_float32
from ..objectives import MAE, MPP, Dino, DistillWrapper, SimMIM
from ..objectives.views import IMAGENET
from .augment import augmentation
from .recipe import Recipe


class Supervised(nn.Module):
    """Cross entropy with probabilities ``(B, classes)``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(at_least_float32(self.model(images)), target)


class Unlabelled(nn.Module):
    """The loss of an objective that needs no labels."""

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        return self.objective(images)


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        module: ``(images, target) -> loss``; what it holds is trained.
        model: the model that comes out.
        labelled: whether labels are learned, and accuracy is what counts.
        normalizes: whether the module takes images from 0 to 1 and normalises them itself.
        after_step: what is to be done after each step of the optimizer.
        fixed: the beginnings of the names of weights in ``module`` that never change, and are not kept.
        grouped: the module whose parameters an optimizer gets.
    """

    module: nn.Module
    model: nn.Module
    grouped: nn.Module
    labelled: bool
    normalizes: bool = False
    after_step: Callable[[], None] = lambda: None
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """What a task has to know beside the recipe."""

    preprocessing: Preprocessing
    steps_per_epoch: int
    teacher: nn.Module | None = None

    @property
    def channels(self) -> int:
        return len(self.preprocessing.mean)


def task_of(recipe: Recipe, model: nn.Module, setting: Setting) -> Task:
    """The task of a recipe. Fresh parts are drawn from PyTorch's own generator.

    Raises:
        ValueError: model and objective do not go together, or an option is none of the objective.
    """
    if (setting.teacher is not None) != (recipe.objective == "distillation"):
        raise ValueError(
            f"teacher must be given for distillation, and for nothing else; the objective is {recipe.objective}"
        )
    try:
        return _TASKS[recipe.objective](recipe, model, setting)
    except TypeError as error:
        raise ValueError(f"{recipe.objective}: {error}") from error


def _supervised(recipe: Recipe, model: nn.Module, setting: Setting) -> Task:
    return Task(Supervised(model), model, model, labelled=True)


def _distillation(recipe: Recipe, model: Any, setting: Setting) -> Task:
    assert setting.teacher is not None
    module = DistillWrapper(model, setting.teacher, **recipe.objective_options)
    return Task(module, model, model, labelled=True, fixed=("teacher.",))


def _unlabelled(objective: type[Any], options: Mapping[str, Any]) -> Callable[[Recipe, nn.Module, Setting], Task]:
    def made(recipe: Recipe, model: nn.Module, setting: Setting) -> Task:
        known = {"channels": setting.channels, **options}
        if objective is MPP:  # which predicts colours from 0 to 1
            known |= {"mean": setting.preprocessing.mean, "std": setting.preprocessing.std}
        module = Unlabelled(objective(model, **{**known, **recipe.objective_options}))
        return Task(module, model, module, labelled=False)

    return made


def _dino(recipe: Recipe, model: nn.Module, setting: Setting) -> Task:
    size, normalize = setting.preprocessing.size, setting.preprocessing.normalized
    own = augmentation(recipe, size, setting.channels)
    given: dict[str, Any] = {}
    usual = (setting.preprocessing.mean, setting.preprocessing.std) == IMAGENET
    if not isinstance(own, nn.Identity) or setting.channels != 3 or not usual:
        given["augment_fn"] = lambda images: normalize(own(images))
    known = {"channels": setting.channels, "epochs": recipe.epochs, "steps_per_epoch": setting.steps_per_epoch}
    known["warmup_epochs"] = min(30, recipe.epochs)
    dino = Dino(model, size, **{**known, **given, **recipe.objective_options})
    module = Unlabelled(dino)
    return Task(module, model, module, labelled=False, normalizes=True, after_step=dino.update_moving_average)


_TASKS: dict[str, Callable[[Recipe, Any, Setting], Task]] = {
    "supervised": _supervised,
    "distillation": _distillation,
    "mae": _unlabelled(MAE, {}),
    "simmim": _unlabelled(SimMIM, {}),
    "mpp": _unlabelled(MPP, {}),
    "dino": _dino,
}
