"""The experiments of ``python -m benchmarks.objectives``: what is trained, on what, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from vitblocks.demo.pictures import one_of_each
from vitblocks.model import Model
from vitblocks.objectives import MAE, MPP, Dino, DistillWrapper, SimMIM
from vitblocks.viz import mask_picture

from .digits import SIDE, Labelled
from .learning import accuracy
from .probes import Digits, few_labels, load, pooled_blocks, probe
from .training import BATCH, FEW, Supervised, Tick, convnet, encoder, fit, image_batches, labelled_batches, student
from .views import crop, ink

FEW_LABELS = (100, 300)
DISTILLED_LABELS = 300
DINO_EPOCH = 22
"""Batches of 64 in the training images."""
VIEWS_SHARE = (0.6, 1.0)
PICTURED = [0, 2, 3, 5, 8]
BASELINES = ("untrained", "raw pixels")


@dataclass(frozen=True)
class Settings:
    """Steps of each training, and how often all of it is repeated."""

    seeds: int = 3
    masked_steps: int = 2000
    dino_epochs: int = 64
    labelled_steps: int = 700
    teacher_steps: int = 300


QUICK = Settings(seeds=1, masked_steps=6, dino_epochs=1, labelled_steps=6, teacher_steps=6)


@dataclass(frozen=True)
class Score:
    """Held-out accuracy of one method of one seed. ``baselines`` are the methods that it should beat."""

    experiment: str
    method: str
    measure: str
    seed: int
    accuracy: float
    baselines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One seed of one experiment, where its pictures go, and what to call after each step."""

    seed: int
    settings: Settings
    folder: Path
    tick: Tick

    def data(self) -> Digits:
        return load(self.seed)

    def features(self, method: str, model: Model, baselines: tuple[str, ...] = ()) -> list[Score]:
        found = probe(partial(pooled_blocks, model), self.data())
        return self.scores("features", method, found, baselines)

    def told(
        self, experiment: str, method: str, model: nn.Module, labels: int, baselines: tuple[str, ...]
    ) -> list[Score]:
        """By a classifier, of the scans and of the moved ones."""
        data = self.data()
        parts = {f"{labels} labels": data.held_out, f"{labels} labels, moved": data.moved_held_out}
        found = {name: accuracy(model, normalised(data, part)) for name, part in parts.items()}
        return self.scores(experiment, method, found, baselines)

    def scores(self, experiment: str, method: str, found: dict[str, float], baselines: tuple[str, ...]) -> list[Score]:
        return [Score(experiment, method, measure, self.seed, told, baselines) for measure, told in found.items()]

    def supervise(self, objective: nn.Module, data: Digits, labels: int) -> None:
        """Train on a few labelled images."""
        batches = labelled_batches(data, few_labels(data.train, labels), FEW, self.seed)
        fit(objective, batches, steps=self.settings.labelled_steps, learning_rate=3e-3, tick=self.tick)

    def masked(self, objective: MAE | SimMIM | MPP, data: Digits) -> None:
        """Train on all training images without labels."""
        batches = image_batches(data, self.seed)
        fit(objective, batches, steps=self.settings.masked_steps, learning_rate=3e-3, tick=self.tick)

    def draw(self, objective: MAE | SimMIM, data: Digits, name: str) -> None:
        """A picture of the first seed's held-out digits: what is hidden, predicted, both together, and the image."""
        if self.seed == 0:
            images = data.normalise(one_of_each(data.held_out).images[PICTURED])
            pictures = objective.eval().pictures(images, generator=torch.Generator().manual_seed(0))
            mask_picture(pictures, images).savefig(self.folder / f"{name}.png", dpi=120)


def run_raw(job: Job) -> list[Score]:
    """Neighbours by the pixels as they are: whitening, which helps features, makes them worse."""
    found = probe(lambda images: images.flatten(1), job.data(), whiten=False)
    return job.scores("features", "raw pixels", found, ())


def run_untrained(job: Job) -> list[Score]:
    return job.features("untrained", encoder(job.seed))


def run_mae(job: Job) -> list[Score]:
    """Its features, and fine-tuning after it against from scratch."""
    data, net = job.data(), encoder(job.seed)
    mae = MAE(net, masking_ratio=0.5, decoder_dim=64, decoder_depth=1, decoder_heads=4, channels=1)
    job.masked(mae, data)
    job.draw(mae, data, "mae")
    scores = job.features("MAE", net, BASELINES)
    for labels in FEW_LABELS:
        tuned = deepcopy(net)
        for method, start in (("from scratch", encoder(job.seed)), ("after MAE", tuned)):
            job.supervise(Supervised(start), data, labels)
            scores += job.told("fine-tuning", method, start, labels, () if start is not tuned else ("from scratch",))
    return scores


def run_simmim(job: Job) -> list[Score]:
    data, net = job.data(), encoder(job.seed)
    simmim = SimMIM(net, masking_ratio=0.6, mask_patch_size=4, channels=1)
    job.masked(simmim, data)
    job.draw(simmim, data, "simmim")
    return job.features("SimMIM", net, BASELINES)


def run_mpp(job: Job) -> list[Score]:
    data, net = job.data(), encoder(job.seed)
    mpp = MPP(net, output_channel_bits=5, channels=1, mask_prob=0.65, mean=[data.mean], std=[data.std])
    job.masked(mpp, data)
    return job.features("MPP", net, BASELINES)


def run_dino(job: Job) -> list[Score]:
    """Two global views and no local ones, of four patches each.

    At twice the learning rate, with a centre that follows at 0.8, a seed collapsed within 300 steps: the teacher said the same of all
    images, and then nothing of any.
    """
    data, net = job.data(), encoder(job.seed)
    epochs = job.settings.dino_epochs
    learner = Dino(
        net,
        SIDE,
        channels=1,
        projection_hidden_size=256,
        projection_bottleneck_size=64,
        num_classes_K=64,
        local_crops=0,
        moving_average_decay=0.97,
        center_moving_average_decay=0.5,
        warmup_teacher_temp=0.02,
        teacher_temp=0.04,
        epochs=epochs,
        steps_per_epoch=DINO_EPOCH,
        warmup_epochs=round(0.3 * epochs),
        freeze_epochs=round(0.1 * epochs),
    )
    fit(
        learner,
        view_batches(data, job.seed),
        steps=epochs * DINO_EPOCH,
        learning_rate=1e-3,
        tick=job.tick,
        after_step=learner.update_moving_average,
    )
    teacher = learner.teacher.encoder
    assert isinstance(teacher, Model)
    return job.features("DINO", teacher, BASELINES)


def view_batches(data: Digits, seed: int) -> Iterator[tuple[list[Tensor]]]:
    """Two views of each of 64 digits, drawn anew without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randint(len(data.train.labels), (BATCH,), generator=generator)
        views = (ink(crop(data.train.images[chosen], SIDE, VIEWS_SHARE, generator), generator) for _ in range(2))
        yield ([data.normalise(view) for view in views],)


def run_distillation(job: Job) -> list[Score]:
    data, teacher = job.data(), convnet(job.seed)
    batches = labelled_batches(data, data.train, BATCH, job.seed)
    fit(Supervised(teacher), batches, steps=job.settings.teacher_steps, learning_rate=3e-3, tick=job.tick)
    alone, hard, soft = (student(job.seed) for _ in range(3))
    objectives = {
        "labels alone": (alone, Supervised(alone)),
        "distilled, hard": (hard, DistillWrapper(hard, teacher, hard=True)),
        "distilled, soft": (soft, DistillWrapper(soft, teacher, temperature=3.0, alpha=0.5)),
    }
    scores = job.told("distillation", "the teacher, all labels", teacher, DISTILLED_LABELS, ())
    for method, (model, objective) in objectives.items():
        job.supervise(objective, data, DISTILLED_LABELS)
        baselines = ("labels alone",) if model is not alone else ()
        scores += job.told("distillation", method, model, DISTILLED_LABELS, baselines)
    return scores


def normalised(data: Digits, part: Labelled) -> Labelled:
    """A part of the scans as the models see it."""
    return Labelled(data.normalise(part.images), part.labels)


RUNS: dict[str, Callable[[Job], list[Score]]] = {
    "raw": run_raw,
    "untrained": run_untrained,
    "mae": run_mae,
    "simmim": run_simmim,
    "mpp": run_mpp,
    "dino": run_dino,
    "distillation": run_distillation,
}


def steps_of(name: str, settings: Settings) -> int:
    """Training steps of one seed."""
    return {
        "raw": 0,
        "untrained": 0,
        "mae": settings.masked_steps + 2 * len(FEW_LABELS) * settings.labelled_steps,
        "dino": settings.dino_epochs * DINO_EPOCH,
        "distillation": settings.teacher_steps + 3 * settings.labelled_steps,
    }.get(name, settings.masked_steps)
