"""DeiT's distillation: Training data-efficient image transformers & distillation through attention (arXiv:2012.12877)."""

from __future__ import annotations

from inspect import signature

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import check_batch, check_module
from ..head import AveragedHeads
from ..model import Model
from ..norm import at_least_float32
from ..recipe import Pretrained
from ..registry import part
from .encoder import PairError


def soft_distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The teacher's distribution against the student's, both at a temperature (eq. 2 of arXiv:2012.12877, its second term).

    ``(B, K)`` logits each. Divided by the number of logits, B times K, as the authors' code does, not by B.
    """
    log_student = (student / temperature).log_softmax(dim=1)
    log_teacher = (teacher / temperature).log_softmax(dim=1)
    return F.kl_div(log_student, log_teacher, reduction="sum", log_target=True) * temperature**2 / student.numel()


def hard_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross entropy with the teacher's decision as the label (eq. 3 of arXiv:2012.12877, its second term)."""
    return F.cross_entropy(student, teacher.argmax(dim=1))


@part
class DistillWrapper(Pretrained, nn.Module):
    """Train a student with two heads, one by the labels and one by a teacher (DeiT, arXiv:2012.12877, Section 4).

    ``wrapper(images, labels)`` is the loss ``(1 - alpha) * cross entropy of the class head + alpha * distillation of the other``;
    ``wrapper(images)`` in evaluation is the student's logits, the mean of both heads. Labels are ``(B,)``, or ``(B, num_classes)``
    probabilities as mixup makes them.

    Args:
        student: a :class:`~vitblocks.Model` whose head is two :class:`~vitblocks.AveragedHeads`.
        teacher: any module ``images -> (B, num_classes)`` logits, or an output that has them as ``logits``. It is put in evaluation mode,
            where it stays after ``train()``, and its parameters stop requiring gradients.
        temperature: of the soft distillation.
        alpha: the share of the distillation.
        hard: distil the teacher's decision rather than its distribution; ``temperature`` then has no effect.

    Raises:
        ValueError: the student has no second head (the message says which class has), the teacher shares parameters with it,
            ``temperature`` is not positive, or ``alpha`` lies outside [0, 1]; in ``forward``, where the teacher's logits are not those of
            the student's classes, or labels are missing in training.
    """

    def __init__(
        self,
        student: Model,
        teacher: nn.Module,
        temperature: float = 3.0,
        alpha: float = 0.5,
        hard: bool = False,
    ) -> None:
        super().__init__()
        check_student(student)
        check_module("teacher", teacher)
        if {*map(id, student.parameters())} & {*map(id, teacher.parameters())}:
            raise ValueError("teacher must share no parameters with the student: it is frozen; pass a copy")
        self.student = student
        self.teacher = teacher.requires_grad_(False).eval()
        self.temperature = temperature
        self.alpha = alpha
        self.hard = hard

    def train(self, mode: bool = True) -> DistillWrapper:
        """As every module, but for the teacher, which stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is None:
            if self.training:
                raise ValueError("labels must be given in training; without them the wrapper predicts, in eval()")
            return self.student(images)
        check_batch(images, "a loss")
        head = self.student.head
        assert isinstance(head, AveragedHeads)
        logits, distilled = map(at_least_float32, head.each(self.student.forward_features(images)))
        check_labels(labels, logits)
        with torch.no_grad():
            taught = self.teacher(images)
        taught = getattr(taught, "logits", taught)  # transformers' models give them among other things
        if not isinstance(taught, Tensor) or taught.shape != distilled.shape:
            found = tuple(taught.shape) if isinstance(taught, Tensor) else type(taught).__name__
            raise ValueError(f"teacher must give logits {tuple(distilled.shape)}, as many as the student, got {found}")
        taught = taught.to(distilled.dtype)
        return (1 - self.alpha) * class_loss(logits, labels) + self.alpha * self.distillation(distilled, taught)

    def distillation(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of the second head, from logits ``(B, K)``."""
        return (
            hard_distillation(student, teacher) if self.hard else soft_distillation(student, teacher, self.temperature)
        )

    def extra_repr(self) -> str:
        return f"temperature={self.temperature:g}, alpha={self.alpha:g}, hard={self.hard}"


def check_labels(labels: object, logits: Tensor) -> None:
    """Raise unless ``labels`` are classes ``(B,)`` or probabilities ``(B, num_classes)``: TypeError for another type."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a tensor, got a {type(labels).__name__}")
    wanted = tuple(logits.shape) if labels.is_floating_point() else tuple(logits.shape[:1])
    if tuple(labels.shape) != wanted or labels.dtype in (torch.bool, torch.int32, torch.int16):
        raise ValueError(
            f"labels must be classes {tuple(logits.shape[:1])} of int64, or probabilities {tuple(logits.shape)}, "
            f"got {labels.dtype} {tuple(labels.shape)}"
        )


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy. Raises ValueError for a class that there is none of, where PyTorch looks: on a CPU."""
    try:
        return F.cross_entropy(logits, labels)
    except IndexError as error:
        raise ValueError(f"labels must lie in 0 ... {logits.shape[1] - 1}: {error}") from error


def check_student(student: nn.Module) -> None:
    """Raise PairError, a ValueError, unless the student is a Model with two heads; the message says what to take."""
    if isinstance(student, Model) and isinstance(student.head, AveragedHeads) and len(student.head.heads) == 2:
        return
    name = type(student).__name__
    raise PairError(f"student must have a second head for what the teacher says, {name} has not: {_remedy(student)}")


def _remedy(student: nn.Module) -> str:
    """What to take in place of a student with one head."""
    for kind in type(student).__subclasses__():
        if vars(kind).get("two_heads"):
            return f"take vitblocks.{kind.__name__} with the same arguments"
    if "distilled" in signature(type(student)).parameters:
        return "build it with distilled=True"
    return (
        "take a student that has (DistillableViT, DistillableT2TViT, DistillableEfficientViT, DistillablePiT, "
        "LeViT(distilled=True)), or train this one with Dino, which needs no labels and no second head"
    )
