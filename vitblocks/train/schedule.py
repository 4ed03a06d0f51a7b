"""What changes in the course of training, as functions of the step: there is nothing to keep."""

from __future__ import annotations

from math import cos, pi

from torch.optim import Optimizer

from .recipe import Recipe


def cosine(first: float, last: float, done: float) -> float:
    """From one value to another along half a cosine (arXiv:1608.03983, eq. 5); ``done`` from 0 to 1."""
    return last + (first - last) * (1 + cos(pi * min(done, 1.0))) / 2


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step, counted from 0: up in a line, then down along a cosine."""
    scale = 1.0 if recipe.lr_batch is None else recipe.batch / recipe.lr_batch
    warm_epochs = min(5.0, recipe.epochs / 10) if recipe.warmup_epochs is None else recipe.warmup_epochs
    warm = round(warm_epochs * steps / recipe.epochs)
    if step < warm:
        return recipe.warmup_lr + (recipe.lr * scale - recipe.warmup_lr) * (step + 1) / warm
    return cosine(recipe.lr * scale, recipe.min_lr, (step - warm) / max(steps - warm, 1))


def weight_decay(recipe: Recipe, step: int, steps: int) -> float:
    if recipe.weight_decay_end is None:
        return recipe.weight_decay
    return cosine(recipe.weight_decay, recipe.weight_decay_end, step / steps)


def set_rates(optimizer: Optimizer, recipe: Recipe, step: int, steps: int) -> float:
    """Put the rates of a step into the groups of :func:`~vitblocks.parameter_groups`; returns the learning rate of the head."""
    rate, decay = learning_rate(recipe, step, steps), weight_decay(recipe, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
        group["weight_decay"] = decay if group["decayed"] else 0.0
    return rate
