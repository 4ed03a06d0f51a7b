"""Adopt a live model of another library, proven on images; give trained weights back to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..checkpoint.convert import export, load, pairing_of
from ..checkpoint.report import Report
from ..folding.report import relative_error
from ..grid import Size, to_pair
from ..inspect.frames import evaluating
from ..inspect.summary import image_channels
from .about import about
from .origin import Origin, origin_of
from .tracing import first_difference

Pair = tuple[int, int]
BOUND = 1e-5
"""By how much outputs may differ in float32, of the largest of them."""


@dataclass(frozen=True)
class Adoption:
    """What :func:`adopt` found. ``print`` it.

    Attributes:
        source: the class of the module.
        model: the class it became.
        layout: whose keys its weights have.
        errors: for each image size that both ran, the largest difference of the outputs, of the largest output.
        notes: what could not be compared, and why.
        loaded: what loading the weights found.
    """

    source: str
    model: str
    layout: str
    errors: dict[Pair, float]
    loaded: Report
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        errors = [
            f"  images of {h}x{w}: outputs differ by {error:.1e} of the largest"
            for (h, w), error in self.errors.items()
        ]
        first = f"{self.source} as {self.model}, {len(self.loaded.loaded)} entries by the layout {self.layout}"
        return "\n".join([first, *errors, *(f"  {note}" for note in self.notes)])


class Adopted(NamedTuple):
    """A model of ours, and the proof that it is the other one."""

    model: Any
    report: Adoption


def adopt(module: nn.Module, *, sizes: Sequence[Size] | None = None, bound: float = BOUND) -> Adopted:
    """A model of parts with the settings and weights of a live model of timm or transformers; the module stays as it is.

    The settings are read off the module itself, so that a fine-tuned, resized or pruned one comes in as it is. Both then run on the
    same random images, in evaluation and at least in float32. The model has the module's dtype, device and mode.

    Args:
        module: of a class that :func:`~vitblocks.border.origins` lists, or derived from one.
        sizes: of the images, ints or (height, width); if None the size that the module was made for, and a larger rectangle if it
            takes one.
        bound: the largest difference of outputs that is accepted, of the largest output.

    Returns:
        ``(model, report)``.

    Raises:
        TypeError: not a module.
        ValueError: no class here knows the module's, it has a setting for which there is no part, a size that ``sizes`` names fails, or
            outputs differ by more than ``bound``: the message names the first block that does.
    """
    build, origin = origin_of(module)
    try:
        model = origin.read(build, module)
    except AttributeError as error:  # blocks of another class, wrapped layers: whatever its class has no such thing in
        raise ValueError(f"{type(module).__name__} is made of other modules than are known here: {error}") from error
    loaded = load(model, module.state_dict(), layout=origin.layout)
    first = next(module.parameters())
    model.to(device=first.device, dtype=first.dtype).train(module.training)
    errors, notes = _compare(origin, module, model, sizes, bound)
    _tell(module, model)
    layout = origin.layout if isinstance(origin.layout, str) else "of its modules"
    return Adopted(model, Adoption(type(module).__name__, type(model).__name__, layout, errors, loaded, tuple(notes)))


def release(model: nn.Module, like: nn.Module) -> None:
    """Put a model's weights into a module of the other library: the one it was adopted from, or one with the same settings.

    They are the same numbers under the module's own names, in its dtypes and on its devices. What no output of the module depends on,
    such as the last norm of a tower whose classifier reads what comes before it, is no part of the model, and stays as it was.

    Raises:
        TypeError, ValueError: ``like`` is of no class that is known, or its weights are others than the model's; then it stays as it was.
    """
    layout = origin_of(like)[1].layout
    wanted, state = like.state_dict(), export(model, layout)
    idle = pairing_of(model, layout).ignored
    state |= {key: value for key, value in wanted.items() if any(pattern.fullmatch(key) for pattern in idle)}
    wrong = [f"{key} is not in {type(like).__name__}" for key in state if key not in wanted]
    wrong += [f"{key} is not in the model" for key in wanted if key not in state]
    wrong += [
        f"{key} is {tuple(value.shape)} here and {tuple(wanted[key].shape)} there"
        for key, value in state.items()
        if key in wanted and value.shape != wanted[key].shape
    ]
    if wrong:
        raise ValueError(f"like must have the weights of this {type(model).__name__}: {'; '.join(wrong[:5])}")
    like.load_state_dict(state)
    with evaluating(like):  # what a module keeps to evaluate faster, as timm's LeViT does, it forgets when it trains
        like.train()


def _tell(module: nn.Module, model: Any) -> None:
    """Let the model know of preprocessing and classes what the module knows."""
    preprocessing, labels = about(module, to_pair(getattr(model, "image_size", None) or 224, "image_size"))
    if preprocessing is not None:
        model.preprocessing = preprocessing.data()
    if labels is not None:
        model.labels = labels


@torch.no_grad()
def _compare(
    origin: Origin, module: nn.Module, model: nn.Module, sizes: Sequence[Size] | None, bound: float
) -> tuple[dict[Pair, float], list[str]]:
    """The error at each size, and why there is none at others.

    Raises:
        ValueError: an error is above the bound, or one of ``sizes`` cannot be run.
    """
    theirs, ours = _exact_enough(module), _exact_enough(model)
    native = to_pair(getattr(model, "image_size", None) or 224, "image_size")
    asked = [to_pair(size, "sizes") for size in sizes or ()]
    errors: dict[Pair, float] = {}
    notes: list[str] = []
    with evaluating(theirs), evaluating(ours):
        for size in asked or [native, _another(native)]:
            images = _images(ours, size)
            expected, failed = _outcome(origin.call, theirs, images)
            found, ours_failed = (None, "") if expected is None else _outcome(origin.own, ours, images)
            if expected is None or found is None:
                who = type(module).__name__ if expected is None else f"{type(model).__name__} here"
                notes.append(f"images of {size[0]}x{size[1]}: {who} does not take them ({failed or ours_failed})")
                if asked or size == native:
                    raise ValueError(f"{type(module).__name__} could not be compared: {notes[-1]}")
                continue
            errors[size] = relative_error(found, expected)
            if not errors[size] <= bound:  # NaN, too
                place = first_difference(origin, theirs, ours, images, bound)
                raise ValueError(
                    f"{type(module).__name__} is not what {type(model).__name__} computes here: for images of {size[0]}x{size[1]} outputs "
                    f"differ by {errors[size]:.1e} of the largest, {place}"
                )
    return errors, notes


def _outcome(call: Callable[[Any, Tensor], Tensor], module: nn.Module, images: Tensor) -> tuple[Tensor | None, str]:
    """What a module gives, or the first line of what it raises."""
    try:
        return call(module, images), ""
    except Exception as error:  # whatever another library raises for a size that it does not take
        return None, next(iter(str(error).splitlines()), type(error).__name__)


def _exact_enough(module: nn.Module) -> nn.Module:
    """The module itself, or a copy in float32 where it has less."""
    dtypes = {p.dtype for p in module.parameters() if p.is_floating_point()}
    return module if dtypes <= {torch.float32, torch.float64} else deepcopy(module).float()


def _another(size: Pair) -> Pair:
    """A rectangle of another size that every stride of the model divides."""
    return 2 * size[0], size[1]


def _images(model: nn.Module, size: Pair) -> Tensor:
    first = next(model.parameters())
    generator = torch.Generator("cpu").manual_seed(0)
    images = torch.rand(2, image_channels(model), *size, generator=generator, device="cpu")
    return images.to(device=first.device, dtype=first.dtype)
