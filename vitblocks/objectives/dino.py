"""DINO: Emerging Properties in Self-Supervised Vision Transformers (arXiv:2104.14294).

A student says of one view of an image what a teacher says of another; the teacher is the moving average of the student. There are no
labels and no negatives: what the teacher says is centred and sharpened, which keeps both from saying the same of everything. The class
token's attention then follows the outlines of objects, though nobody drew any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from warnings import warn

import torch
from einops import rearrange
from torch import Tensor, nn

from ..checkpoint.rules import KeyMap
from ..checks import check_batch, check_module
from ..grid import Size, to_pair
from ..model import Model
from ..norm import NormFactory
from ..recipe import Pretrained
from ..registry import part
from .dino_head import DinoHead
from .dino_layouts import LAYOUTS
from .dino_loss import Centering, DinoSchedule, cross_view_entropy, monitor
from .latent import TO_LATENT, cut_at, feature_dim
from .views import Augment, ColorAugmentation, MultiCrop


@part
class Projector(nn.Module):
    """An encoder and a head, for crops of any sizes: those of one size run as one batch, so that memory is that of few passes."""

    def __init__(self, encoder: nn.Module, head: DinoHead) -> None:
        super().__init__()
        check_module("encoder", encoder)
        check_module("head", head)
        self.encoder = encoder
        self.head = head

    def forward(self, crops: Sequence[Tensor], *, frozen: bool = False) -> tuple[Tensor, Tensor]:
        """``(B, C, h, w)`` each to features ``(crops, B, D)`` and logits ``(crops, B, K)``."""
        features: list[Tensor] = [crops[0]] * len(crops)
        for size in dict.fromkeys(crop.shape for crop in crops):
            of_size = [i for i, crop in enumerate(crops) if crop.shape == size]
            made = self.encoder(torch.cat([crops[i] for i in of_size]))
            for i, features_of_crop in zip(of_size, made.chunk(len(of_size)), strict=True):
                features[i] = features_of_crop
        logits = self.head(torch.cat(features), frozen=frozen)
        return torch.stack(features), rearrange(logits, "(crops b) k -> crops b k", crops=len(crops))


@part
class Dino(Pretrained, nn.Module):
    """Self-distillation without labels (arXiv:2104.14294): a student learns what its own moving average says of other crops.

    ``learner(images)`` crops and augments ``images (B, C, H, W)``, in [0, 1] for the default augmentation; ``learner([global, global,
    *local])`` takes crops that are made already, ``(B, C, h, w)`` each. Both give the loss. ``update_moving_average()`` after each
    optimizer step moves teacher and centre and counts the step, by which momentum, teacher temperature and the freezing of the last
    layer go. ``state_dict()`` holds all that is needed to go on.

    The student's encoder is made of the modules of ``net`` itself, without its head: saving ``net`` saves what was learned. The teacher
    is a copy, always in evaluation mode: no dropout, and BatchNorm by moving averages of the student's statistics (EMAN,
    arXiv:2101.08482), so that what it says of an image depends on no other image. (The authors' code gives it batch statistics.)

    Args:
        net: a :class:`~vitblocks.Model`, or another module with ``forward_features`` and ``head`` whose forward is one after the other.
        image_size: of the global crops.
        hidden_layer: what the head reads: ``"to_latent"``, the pooled features; or the name of a stage or a layer
            (``"stages.0.layers.5"``), or the number of a block as ``net.blocks()`` counts them, whose output the model's own pool then
            reads. What comes after it is not trained.
        projection_hidden_size, projection_layers, num_classes_K: of the head, see :class:`DinoHead`.
        student_temp: temperature of the student.
        teacher_temp: temperature of the teacher after its warm-up.
        local_upper_crop_scale: the largest share of the image that a local crop shows; the smallest is 0.05.
        global_lower_crop_scale: the smallest share that a global crop shows; the largest is all.
        moving_average_decay: momentum of the teacher at the start; it rises to 1.
        center_moving_average_decay: of the centre.
        augment_fn, augment_fn2: what is done to the first global crop and to the second, ``(B, C, h, w)`` kept; kornia's version of the
            paper's if neither is given, and ``augment_fn`` for both if it alone is.
        augment_local: the same for local crops; ``augment_fn`` if None.
        local_crops: how many.
        local_size: of the local crops. If None the multiple of the model's stride nearest to 3/7 of ``image_size``, the paper's 96 for
            224, or the next that the model takes.
        channels: of the images.
        projection_bottleneck_size, projection_norm, learn_last_scale: ``bottleneck_dim``, ``norm`` and ``learn_scale`` of
            :class:`DinoHead`.
        epochs, steps_per_epoch, warmup_teacher_temp, warmup_epochs, freeze_epochs: see :class:`DinoSchedule`. The defaults are for
            ImageNet.

    Attributes:
        monitors: of the last batch of this process, to log. Collapse shows as ``teacher_entropy`` near log K (the teacher says nothing of
            any image), as ``kl_to_uniform`` near log K (it says the same of all: the divergence of its mean from uniform) or as
            ``feature_std`` near 0 (the standard deviation of the teacher's features over images, each of length sqrt(D)).

    Raises:
        ValueError: ``net`` takes no images of ``channels`` and ``image_size`` or ``local_size``, gives no single vector for an image, or
            has no ``hidden_layer`` of that name; an argument out of its range; in ``forward``, fewer than 2 crops, or crops of different
            batches.
        ImportError: in ``forward``, where the default augmentation needs kornia and it is not installed.
    """

    layouts = LAYOUTS
    step: Tensor

    def __init__(
        self,
        net: nn.Module,
        image_size: Size,
        hidden_layer: str | int = TO_LATENT,
        projection_hidden_size: int = 2048,
        projection_layers: int = 3,
        num_classes_K: int = 65536,
        student_temp: float = 0.1,
        teacher_temp: float = 0.07,
        local_upper_crop_scale: float = 0.4,
        global_lower_crop_scale: float = 0.4,
        moving_average_decay: float = 0.996,
        center_moving_average_decay: float = 0.9,
        augment_fn: Augment | None = None,
        augment_fn2: Augment | None = None,
        *,
        augment_local: Augment | None = None,
        local_crops: int = 8,
        local_size: Size | None = None,
        channels: int = 3,
        projection_bottleneck_size: int = 256,
        projection_norm: NormFactory | None = None,
        learn_last_scale: bool = False,
        epochs: int = 100,
        steps_per_epoch: int = 1251,
        warmup_teacher_temp: float = 0.04,
        warmup_epochs: int = 30,
        freeze_epochs: int = 1,
    ) -> None:
        super().__init__()
        self.student_temp = student_temp
        self.schedule = DinoSchedule(
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            momentum=moving_average_decay,
            teacher_temp=teacher_temp,
            warmup_teacher_temp=warmup_teacher_temp,
            warmup_epochs=warmup_epochs,
            freeze_epochs=freeze_epochs,
        )
        size = to_pair(image_size, "image_size")
        encoder = cut_at(net, hidden_layer)
        self.backbone_layouts: Mapping[str, KeyMap] = getattr(type(net), "layouts", {})
        dim = feature_dim(encoder, channels, size)
        if local_crops == 0:
            small = size
        elif local_size is None:
            small = default_local_size(encoder, channels, size)
        else:
            small = to_pair(local_size, "local_size")
            feature_dim(encoder, channels, small)
        self.views = MultiCrop(
            size,
            small,
            scale=(global_lower_crop_scale, 1.0),
            local_scale=(0.05, local_upper_crop_scale),
            local_crops=local_crops,
            augment=augmentations(augment_fn, augment_fn2, augment_local, size, small),
        )
        head = DinoHead(
            dim,
            num_classes_K,
            hidden_dim=projection_hidden_size,
            bottleneck_dim=projection_bottleneck_size,
            layers=projection_layers,
            norm=projection_norm,
            learn_scale=learn_last_scale,
        )
        like = next((p for p in encoder.parameters() if p.is_floating_point()), torch.empty(0))
        self.student = Projector(encoder, head.to(like.device, like.dtype))
        self.teacher = deepcopy(self.student).requires_grad_(False).eval()
        self.centering = Centering(num_classes_K, center_moving_average_decay).to(like.device)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64, device=like.device))
        self.monitors: dict[str, Tensor] = {}

    @property
    def encoder(self) -> nn.Module:
        """What is trained of ``net``: its ``state_dict`` fits the same class built with ``num_classes=0``."""
        return self.student.encoder

    @property
    def epoch(self) -> int:
        return int(self.step) // self.schedule.steps_per_epoch

    @property
    def momentum(self) -> float:
        """Of the teacher, at this step."""
        return self.schedule.momentum_at(int(self.step))

    @property
    def teacher_temp(self) -> float:
        """Temperature of the teacher, in this epoch."""
        return self.schedule.teacher_temp_at(self.epoch)

    @property
    def frozen(self) -> bool:
        """Whether the last layer stays as it is in this epoch."""
        return self.epoch < self.schedule.freeze_epochs

    def start_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, counted from 0, for loops whose epochs are not all of the length that was named."""
        self.step.fill_(epoch * self.schedule.steps_per_epoch)

    def train(self, mode: bool = True) -> Dino:
        """As every module, but for the teacher, which stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        if isinstance(images, Tensor):
            check_batch(images, "a loss")
        crops = self.views(images) if isinstance(images, Tensor) else list(images)
        if len(crops) < 2 or len({crop.shape[0] for crop in crops}) != 1:
            found = [tuple(crop.shape) for crop in crops]
            raise ValueError(f"crops must be 2 global ones, then local ones, all of the same images, got {found}")
        check_batch(crops[0], "a loss")
        with torch.no_grad():
            features, seen = self.teacher(crops[:2])
            targets = self.centering(seen, self.teacher_temp)
            if self.training:
                self.centering.observe(seen)
            self.monitors = monitor(features, targets)
        _, logits = self.student(crops, frozen=self.frozen)
        return cross_view_entropy(logits.unbind(), targets.unbind(), self.student_temp)

    @torch.no_grad()
    def update_moving_average(self) -> None:
        """After each optimizer step: move the teacher towards the student, the centre towards what was seen, and count the step."""
        if self.frozen:
            # Weight decay would move it even with a gradient of zero.
            _copy(self.student.head.last, self.teacher.head.last)
        if int(self.step) == self.schedule.steps:
            warn(
                f"the schedule of {self.schedule.epochs} epochs of {self.schedule.steps_per_epoch} steps is over: the teacher stays as it "
                "is; give Dino the epochs and steps_per_epoch of your training",
                stacklevel=2,
            )
        follow(self.teacher, self.student, self.momentum)
        self.centering.update()
        self.step += 1


@torch.no_grad()
def _copy(to: nn.Module, source: nn.Module) -> None:
    for target, value in zip(to.parameters(), source.parameters(), strict=True):
        target.copy_(value)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Make every parameter and buffer of the teacher ``momentum`` times its own and the rest the student's; integers are copied."""
    pairs = [
        *zip(teacher.parameters(), student.parameters(), strict=True),
        *zip(teacher.buffers(), student.buffers(), strict=True),
    ]
    for own, other in pairs:
        if own.is_floating_point():
            # Where both are infinite, as in a table of masks, their difference is not a number.
            own.copy_(torch.where(own == other, own, own * momentum + other * (1 - momentum)))
        else:
            own.copy_(other)


@torch.no_grad()
def augmentations(
    first: Augment | None, second: Augment | None, local: Augment | None, size: Size, local_size: Size
) -> tuple[Augment, Augment, Augment]:
    """What is done to the first global crop, the second, and local ones; the authors' probabilities where nothing is given."""
    if first is None:
        first = ColorAugmentation(size, blur=1.0)
        second = ColorAugmentation(size, blur=0.1, solarize=0.2) if second is None else second
        local = ColorAugmentation(local_size, blur=0.5) if local is None else local
    return first, first if second is None else second, first if local is None else local


def default_local_size(encoder: nn.Module, channels: int, size: tuple[int, int]) -> tuple[int, int]:
    """The multiple of the encoder's stride nearest to 3/7 of ``size``, or the next that it takes."""
    strides = encoder.strides[-1] if isinstance(encoder, Model) else (1, 1)
    small = [max(round(side * 3 / 7 / stride), 1) * stride for side, stride in zip(size, strides, strict=True)]
    while any(side < most for side, most in zip(small, size, strict=True)):
        try:
            feature_dim(encoder, channels, (small[0], small[1]))
        except ValueError:
            small = [side + stride for side, stride in zip(small, strides, strict=True)]
        else:
            return small[0], small[1]
    return size
