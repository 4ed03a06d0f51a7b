"""DINO: its head, its loss over several steps, and its ViT."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import Attend, DinoHead, LearnedPosition, ViT
from vitblocks.objectives.dino_loss import Centering, DinoSchedule, cross_view_entropy
from vitblocks.position.resize import resize_table_as_dino


def head(config: Config) -> DinoHead:
    """At least one layer, as there. An activation or a norm of another kind cannot be asked for."""
    return DinoHead(
        config["in_dim"],
        config["out_dim"],
        hidden_dim=config["hidden_dim"],
        bottleneck_dim=config["bottleneck_dim"],
        layers=max(config["nlayers"], 1),
        norm=nn.BatchNorm1d if config["use_bn"] else None,
        learn_scale=not config["norm_last_layer"],
    )


HEAD = Builder(head, {"out": lambda model, case: model(case.input)})


def centering(config: Mapping[str, Any]) -> Centering:
    return Centering(config["out_dim"], config["center_momentum"])


def steps(case: Case) -> list[dict[str, Tensor]]:
    """What each step of the case gives, run in order from a centre of zeros."""
    config = case.config
    batch, dim, crops = config["batch"], config["out_dim"], config["ncrops"]
    schedule = DinoSchedule(
        epochs=config["nepochs"],
        teacher_temp=config["teacher_temp"],
        warmup_teacher_temp=config["warmup_teacher_temp"],
        warmup_epochs=config["warmup_teacher_temp_epochs"],
    )
    centre = centering(config).double()
    student, teacher = case.random("student", (crops * batch, dim)), case.random("teacher", (2 * batch, dim))
    found = [{"center": centre.center.clone()}]
    for i, epoch in enumerate(config["epochs"]):
        logits, seen = student.clone().requires_grad_(), (teacher + 0.1 * i).unflatten(0, (2, batch))
        temperature = schedule.teacher_temp_at(epoch)
        with torch.enable_grad():
            views = logits.unflatten(0, (crops, batch)).unbind()
            loss = cross_view_entropy(views, centre(seen, temperature).unbind(), config["student_temp"])
            (gradient,) = torch.autograd.grad(loss, logits)
        centre.observe(seen)
        centre.update()
        found.append(
            {
                "loss": loss.detach().reshape(1),
                "grad_student": gradient,
                "center": centre.center.clone(),
                "teacher_temp": torch.tensor([temperature], dtype=torch.float64),
            }
        )
    return found


def after(model: Any, case: Case, step: int, name: str) -> Tensor:
    """What the step gives, counted from 0; -1 for the start."""
    return steps(case)[step + 1][name]


LOSS = Builder(
    centering,
    {
        "center0": lambda model, case: after(model, case, -1, "center"),
        "loss_{}": partial(after, name="loss"),
        "center_{}": partial(after, name="center"),
        "teacher_temp_{}": partial(after, name="teacher_temp"),
        "grad_student_{}": partial(after, name="grad_student"),
    },
    settings=(
        "batch",
        "ncrops",
        "epochs",
        "nepochs",
        "teacher_temp",
        "warmup_teacher_temp",
        "warmup_teacher_temp_epochs",
        "student_temp",
    ),
)


def vit(config: Config) -> ViT:
    """The size of the image is a list there, of which the first is taken."""
    config.only("num_classes", 0)
    config.only("qk_scale", None)
    size = config["img_size"]
    dim = config["embed_dim"]
    model = ViT(
        image_size=size[0] if isinstance(size, list) else size,
        channels=config.get("in_chans", 3),
        patch_size=config["patch_size"],
        num_classes=0,
        dim=dim,
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_dim=int(dim * config["mlp_ratio"]),
        qkv_bias=config["qkv_bias"],
    )
    position(model).resize = resize_table_as_dino
    return model


def position(model: nn.Module) -> LearnedPosition:
    return next(part for part in model.modules() if isinstance(part, LearnedPosition))


def interpolated(model: Any, case: Case) -> Tensor:
    rows, columns = (side // case.config["patch_size"] for side in case.input.shape[2:])
    return position(model).positions((rows, columns))[..., :6]


def tokens(model: Any, case: Case) -> Tensor:
    return model.encode(case.input)[0][:, :4, :8]


def attention(model: Any, case: Case) -> Tensor:
    """What the class token of the last block sees: ``(B, heads, 6)``."""
    (*_, last) = (part for part in model.modules() if isinstance(part, Attend))
    seen: list[Tensor] = []
    hook = last.register_forward_pre_hook(
        lambda attend, args: seen.append(attend.weights(args[0], args[1], *args[3:])[:, :, 0, :6])
    )
    model(case.input)
    hook.remove()
    return seen[0]


VIT = Builder(vit, {"pos_interpolated": interpolated, "tokens": tokens, "attention": attention})

BUILDERS = {("DINO head", "official"): HEAD, ("DINO loss", "official"): LOSS, ("ViT (DINO)", "official"): VIT}
