"""The steps of training, on accelerate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from math import inf, isfinite
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .augment import augmentation, erasing, mixed, targets
from .average import Average
from .data.images import Images
from .data.reading import Batch, Order, Reading, loader
from .data.streams import Stream, Streaming, stream_loader
from .recipe import Recipe
from .schedule import set_rates
from .seeds import seed_of
from .stopping import Asked, NotFinite
from .tasks import Setting, Task
from .tracing import Origin, not_finite_gradients

if TYPE_CHECKING:
    from accelerate import Accelerator

LOGGER = logging.getLogger("vitblocks.train")


class Steps:
    """The steps of a recipe on some images.

    Args:
        recipe, task, setting: what is done.
        images: what is trained on.
        accelerator: of accelerate, which says how many processes there are.
        optimizer: of the parameters of ``task.grouped``, before it is prepared.
        workers: processes that read images.

    Raises:
        ValueError: there are fewer images than in a batch, or the micro-batches cannot be shared out among the processes.
    """

    def __init__(
        self,
        recipe: Recipe,
        task: Task,
        setting: Setting,
        images: Images,
        accelerator: Accelerator,
        optimizer: torch.optim.Optimizer,
        workers: int = 0,
    ) -> None:
        self.recipe, self.task, self.images, self.workers = recipe, task, images, workers
        self.accelerator = accelerator
        self.preprocessing = setting.preprocessing
        self.micro_batch = micro_batch_of(recipe, accelerator.num_processes)
        self.steps = recipe.epochs * setting.steps_per_epoch
        self.steps_per_epoch = setting.steps_per_epoch
        self.module, self.optimizer = accelerator.prepare(task.module, optimizer)
        trained = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        # In the module's order: accelerate compares them with the module's own where these are sharded.
        self.parameters = [p for p in self.module.parameters() if id(p) in trained]
        self.average = None if recipe.ema is None else Average(task.model, recipe.ema)
        size = setting.preprocessing.size
        self.augment: Callable[[Tensor], Tensor] = (
            nn.Identity() if task.normalizes else augmentation(recipe, size, setting.channels)
        )
        self.erase = erasing(recipe)
        self.broken: set[str] = set()

    def __call__(self, start: int, asked: Asked) -> Iterator[dict[str, Any]]:
        """Train from a step on; what each came to: step (how many were taken), loss, lr, norm, seconds, and signal if asked to stop.

        Raises:
            NotFinite: a loss or gradient is not finite, before the weights are changed by it.
        """
        share = self.recipe.batch // self.micro_batch // self.accelerator.num_processes
        order = Order(
            len(self.images),
            self.recipe.batch,
            self.micro_batch,
            self.recipe.seed,
            start,
            self.steps,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        crop = 1.0 if self.task.normalizes else self.recipe.crop
        if isinstance(self.images, Stream):
            batches = iter(stream_loader(Streaming(self.images, order, self.preprocessing, crop), self.workers))
        else:
            batches = iter(loader(Reading(self.images, self.preprocessing, crop), order, self.workers))
        for step in range(start, self.steps):
            began = perf_counter()
            self.module.train()
            rate = set_rates(self.optimizer, self.recipe, step, self.steps)
            given = [next(batches) for _ in range(share)]
            self._note(words for batch in given for words in batch.broken)
            loss, signal = self._agreed(self._backward(step, given), asked.signal)
            if not isfinite(loss):
                raise NotFinite(self._where(step, given, f"the loss is {loss}"))
            norm = float(self.accelerator.clip_grad_norm_(self.parameters, self.recipe.clip or inf))
            if not isfinite(norm):
                raise NotFinite(self._where(step, given, f"the gradients' norm is {norm}"))
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.task.after_step()
            if self.average is not None:
                self.average.update(step)
            record = {"step": step + 1, "loss": loss, "lr": rate, "norm": norm, "seconds": perf_counter() - began}
            yield {**record, **({"signal": signal} if signal else {})}

    def _note(self, broken: Iterable[str]) -> None:
        """Say of each image that cannot be read, once."""
        for words in broken:
            if words not in self.broken:
                self.broken.add(words)
                LOGGER.warning("cannot read %s; another takes its place", words)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of images as bytes, without augmentation."""
        with self._autocast():
            return self.task.module(self._ready(images), targets(labels, len(self.images.classes), 0.0))

    def _backward(self, step: int, given: list[Batch]) -> float:
        """The gradients of this process's micro-batches, and the sum of their losses."""
        total = 0.0
        for i, batch in enumerate(given):
            with nullcontext() if i == len(given) - 1 else self.accelerator.no_sync(self.module):
                loss = self._forward(self.module, step, i, batch)
                self.accelerator.backward(loss / len(given))
            total += loss.item()
        return total

    def _forward(self, module: nn.Module, step: int, i: int, batch: Batch) -> Tensor:
        """The loss of a micro-batch. All that is drawn follows from the step and the micro-batch's number in it, over all processes."""
        micro = i * self.accelerator.num_processes + self.accelerator.process_index
        torch.manual_seed(seed_of(self.recipe.seed, "step", step, micro))
        labels = batch.labels.to(self.accelerator.device)
        images = self._ready(batch.images, train=True)
        target = targets(labels, len(self.images.classes), self.recipe.label_smoothing)
        mixes = self.recipe.mix_epochs is None or step < self.recipe.mix_epochs * self.steps_per_epoch
        if self.task.labelled and mixes:
            images, target = mixed(images, target, self.recipe.mixup, self.recipe.cutmix)
        with self._autocast():
            loss: Tensor = module(images, target)
        return loss

    def _ready(self, images: Tensor, train: bool = False) -> Tensor:
        """Bytes as floats on the device, augmented and normalised where the task does not do so itself."""
        scaled = images.to(self.accelerator.device, non_blocking=True).float() / 255
        if train:
            scaled = self.augment(scaled)
        if self.task.normalizes:
            return scaled
        normal = self.preprocessing.normalized(scaled)
        return self.erase(normal) if train else normal

    def _autocast(self) -> Any:
        if self.recipe.precision == "bf16":
            return torch.autocast(self.accelerator.device.type, torch.bfloat16)
        return nullcontext()

    def _agreed(self, loss: float, signal: int) -> tuple[float, int]:
        """The mean loss over all micro-batches, and the largest signal of all processes: the same everywhere."""
        values = torch.tensor([[loss, signal]], dtype=torch.float64)
        if self.accelerator.num_processes > 1:
            values = self.accelerator.gather(values.to(self.accelerator.device)).cpu()
        return (values[:, 0].sum() / (self.recipe.batch // self.micro_batch)).item(), int(values[:, 1].max())

    def _where(self, step: int, given: list[Batch], what: str) -> str:
        """Where it began: the step run again, without gradients of it kept."""
        epoch = step // self.steps_per_epoch + 1
        words = f"{what} in step {step + 1}, epoch {epoch}"
        if self.accelerator.is_fsdp2:
            return words  # processes would gather what others do not
        weights = [name for name, p in self.task.module.named_parameters() if not bool(p.isfinite().all())]
        if weights:
            return f"{words}: {weights[0]} is not finite before it"
        gradients = not_finite_gradients(self.task.module.named_parameters())
        self.optimizer.zero_grad()
        for i, batch in enumerate(given):
            with Origin(self.task.module) as origin, torch.no_grad():
                self._forward(self.task.module, step, i, batch)
            if origin.where is not None:
                names = ", ".join(self.images.name(place) for place in batch.places[:3])
                return f"{words}: it began in {origin.where}, with images such as {names}"
        if gradients:
            return f"{words}: it began in the backward pass, the gradient of {gradients[0]} is not finite"
        return f"{words}, in another process"


def micro_batch_of(recipe: Recipe, processes: int) -> int:
    """The images of a micro-batch.

    Raises:
        ValueError: micro-batches cannot be shared out among the processes.
    """
    micro = recipe.micro_batch
    if micro is None:
        if recipe.batch % processes:
            raise ValueError(f"batch must be a multiple of the {processes} processes, got {recipe.batch}")
        return recipe.batch // processes
    if recipe.batch // micro % processes:
        raise ValueError(
            f"batch must be micro-batches for each of {processes} processes, got {recipe.batch} in micro-batches of {micro}"
        )
    return micro
