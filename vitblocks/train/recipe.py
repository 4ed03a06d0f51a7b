"""How a model is trained, as plain data."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from ..checks import check_int, check_number, check_part_of, check_positive, check_rate, check_share

Objective: TypeAlias = Literal["supervised", "mae", "simmim", "mpp", "dino", "distillation"]
Precision: TypeAlias = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. ``Recipe(epochs=30, lr=1e-3)``, or a published one: ``preset("deit", epochs=100)``.

    Every number belongs to a step of the optimizer, whoever computes it: ``batch`` images in micro-batches of ``micro_batch``, which go
    around the processes and are accumulated where there are more of them than processes. All that is random in a micro-batch (augmentation,
    masks, dropped paths) follows from the seed, the step and its number in the step, so a recipe gives the same curve on one process
    and on many.

    Attributes:
        objective: what is learned, see :mod:`vitblocks.objectives`; ``objective_options`` are arguments of it.
        epochs: passes over the images.
        batch: images of a step, over all processes.
        micro_batch: images that go through the model at once; None for ``batch`` by the number of processes.
        seed: of the order, the fresh parts and all that is drawn.
        lr: the highest learning rate; with ``lr_batch`` that for so many images, in proportion for others (arXiv:1706.02677, Section 2.1).
        min_lr: that of the last step, to which it falls along a cosine (arXiv:1608.03983, eq. 5) after ``warmup_epochs`` in a line from
            ``warmup_lr``; None for a tenth of the epochs, at most 5.
        weight_decay: at the first step; ``weight_decay_end`` at the last, along a cosine, the same if None.
        beta1, beta2, eps: of AdamW (arXiv:1711.05101).
        layer_decay: see :func:`~vitblocks.parameter_groups`.
        clip: the largest norm of all gradients together; None for any.
        ema: decay of a moving average of the weights, which is then what is evaluated and kept; in the first steps it is
            ``(1 + step) / (10 + step)`` where that is less, as TensorFlow has it.
        label_smoothing: share of a target that goes to all classes (arXiv:1512.00567, Section 7).
        mixup, cutmix: alpha of the Beta distribution of the shares (arXiv:1710.09412, arXiv:1905.04899); each is taken in half of the
            micro-batches where both are given. ``mix_epochs``: only so many epochs from the start; None for all.
        crop: the smallest share of an image's area in a random crop (arXiv:1409.4842, Section 6), 1 for none.
        shift_crop: pixels by which an image may be moved, zeros coming in (as usual for CIFAR).
        flip: probability to be mirrored.
        turn, zoom, shift: degrees, share of the scale and share of the side by which each image is turned, zoomed and moved at random.
        color: strength of the changes of brightness, contrast and saturation.
        randaugment: how many operations, and how strong from 0 to 30 (arXiv:1909.13719). timm's ``m9`` is 27 of 30.
        erase: probability of a random box of nothing (arXiv:1708.04896).
        drop_path: rate of the last block, rising in a line from 0 (arXiv:1603.09382, Section 3); None leaves the model as it is.
        precision: "bf16" multiplies in bfloat16 (autocast), with weights in float32.
        checkpointing: compute activations again in the backward pass (arXiv:1604.06174).
        freeze: shell patterns of the names of parameters that are not trained.
        lora: rank of low-rank adaptors (arXiv:2106.09685, by peft), with which only they and the head are trained; merged at the end.
            ``lora_alpha``: their scale, twice the rank if None. ``lora_targets``: the ends of the names of the Linears that get them.
        size: side of the images in pixels; the model's own if None.
        preprocessing: arguments of :class:`~vitblocks.Preprocessing` in place of the model's own.

    Raises:
        TypeError, ValueError: a value that cannot be; the message names it.
    """

    objective: Objective = "supervised"
    objective_options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 100
    batch: int = 128
    micro_batch: int | None = None
    seed: int = 0

    lr: float = 1e-3
    lr_batch: int | None = None
    min_lr: float = 1e-5
    warmup_epochs: float | None = None
    warmup_lr: float = 1e-6
    weight_decay: float = 0.05
    weight_decay_end: float | None = None
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    layer_decay: float | None = None
    clip: float | None = None
    ema: float | None = None

    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_epochs: int | None = None
    crop: float = 1.0
    shift_crop: int = 0
    flip: float = 0.0
    turn: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    color: float = 0.0
    randaugment: tuple[int, int] | None = None
    erase: float = 0.0
    drop_path: float | None = None

    precision: Precision = "fp32"
    checkpointing: bool = False
    freeze: tuple[str, ...] = ()
    lora: int | None = None
    lora_alpha: float | None = None
    lora_targets: tuple[str, ...] = ("qkv", "proj", "fc1", "fc2")
    size: int | None = None
    preprocessing: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("freeze", "lora_targets", "randaugment"):
            if isinstance(getattr(self, name), list):  # as JSON has them
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, choices in (("objective", get_args(Objective)), ("precision", get_args(Precision))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None or name not in _OPTIONAL:
                check(name, value)
        self._check_together()

    def _check_together(self) -> None:
        if self.micro_batch is not None and self.batch % self.micro_batch:
            raise ValueError(f"micro_batch must divide batch, {self.batch}, got {self.micro_batch}")
        if self.warmup_epochs is not None and self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs must be at most epochs, {self.epochs}, got {self.warmup_epochs}")
        if not isinstance(self.checkpointing, bool):
            raise TypeError(f"checkpointing must be a bool, got {self.checkpointing!r}")
        if self.randaugment is not None:
            if not (isinstance(self.randaugment, tuple) and len(self.randaugment) == 2):
                raise TypeError(f"randaugment must be two ints, got {self.randaugment!r}")
            check_int("randaugment[0]", self.randaugment[0])
            check_int("randaugment[1]", self.randaugment[1], 0)
            if self.randaugment[1] > 30:
                raise ValueError(f"randaugment[1] must be at most 30, got {self.randaugment[1]}")
        for name in ("freeze", "lora_targets"):
            value = getattr(self, name)
            if not (isinstance(value, tuple) and all(isinstance(pattern, str) for pattern in value)):
                raise TypeError(f"{name} must be a tuple of names, got {value!r}")
        for name in ("objective_options", "preprocessing"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), Mapping):
                raise TypeError(f"{name} must be a dictionary, got {getattr(self, name)!r}")
        if self.layer_decay is not None and self.objective not in ("supervised", "distillation"):
            raise ValueError(f"layer_decay must be None for {self.objective}, whose other parts have no depth")

    def data(self) -> dict[str, Any]:
        """As plain JSON data, which :meth:`of` reads."""
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any], where: str = "recipe") -> Recipe:
        """A recipe from plain data.

        Raises:
            TypeError, ValueError: a key that is none, with the closest that are, or a value that cannot be.
        """
        names = [one.name for one in fields(cls)]
        for key in data:
            if key not in names:
                close = get_close_matches(str(key), names, n=3)
                hint = f"did you mean {', '.join(close)}?" if close else f"it has {', '.join(names)}"
                raise ValueError(f"{where} has no {key!r}; {hint}")
        return cls(**data)


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A dictionary from a file of JSON or, from Python 3.11 on, TOML.

    Raises:
        OSError: it cannot be read.
        ValueError: it is neither.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        if path.suffix == ".toml":
            found: Any = import_module("tomllib").loads(text)
        else:
            found = json.loads(text)
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: TOML needs Python 3.11; write it as JSON") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a dictionary, got {type(found).__name__}")
    return found


def _not_negative(name: str, value: object) -> None:
    if check_number(name, value) < 0:
        raise ValueError(f"{name} must be at least 0, got {value}")


def _part_or_all(name: str, value: object) -> None:
    if not 0.0 < check_number(name, value) <= 1.0:
        raise ValueError(f"{name} must lie in (0, 1], got {value}")


_OPTIONAL = {
    "micro_batch",
    "warmup_epochs",
    "lr_batch",
    "weight_decay_end",
    "layer_decay",
    "clip",
    "ema",
    "mix_epochs",
    "drop_path",
} | {
    "lora",
    "lora_alpha",
    "size",
}
_CHECKS: dict[str, Any] = {
    **dict.fromkeys(("epochs", "batch", "micro_batch", "lr_batch", "lora", "size"), check_int),
    **dict.fromkeys(("seed", "shift_crop", "mix_epochs"), lambda name, value: check_int(name, value, 0)),
    **dict.fromkeys(("lr", "eps", "clip", "lora_alpha"), check_positive),
    **dict.fromkeys(("min_lr", "warmup_lr", "warmup_epochs", "weight_decay", "weight_decay_end"), _not_negative),
    **dict.fromkeys(("mixup", "cutmix", "turn", "color"), _not_negative),
    **dict.fromkeys(("beta1", "beta2", "label_smoothing", "drop_path", "zoom", "shift"), check_rate),
    **dict.fromkeys(("flip", "erase"), check_share),
    **dict.fromkeys(("layer_decay", "crop"), _part_or_all),
    "ema": check_part_of,
}
