"""A model up to one of its hidden layers, as an encoder of images."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from ..inspect.frames import evaluating
from ..model import Model, Stage
from .encoder import PairError

TO_LATENT = "to_latent"
"""The hidden layer that is the pooled features."""


def cut_at(net: nn.Module, hidden_layer: str | int) -> nn.Module:
    """The modules of ``net`` up to a hidden layer and its pool, as a module ``images -> features``: see :class:`Dino`.

    Raises:
        ValueError: ``net`` has no such layer, or offers no features.
    """
    if not isinstance(net, Model):
        return _without_head(net, hidden_layer)
    stages: list[Any] = list(net.stages)
    if hidden_layer == TO_LATENT:
        return Model(net.embed, stages, norm=net.norm, pool=net.pool, image_size=net.image_size)
    blocks = [name for name, _ in net.blocks()]
    places = {f"stages.{s}": (s, len(stage.layers)) for s, stage in enumerate(stages)}
    places |= {f"stages.{s}.transition": (s, 0) for s, stage in enumerate(stages) if stage.transition is not None}
    places |= {f"stages.{s}.layers.{i}": (s, i + 1) for s, stage in enumerate(stages) for i in range(len(stage.layers))}
    if isinstance(hidden_layer, int) and -len(blocks) <= hidden_layer < len(blocks):
        hidden_layer = blocks[hidden_layer]
    if hidden_layer not in places:
        raise ValueError(
            f"hidden_layer must be {TO_LATENT!r}, a number of one of the {len(blocks)} blocks, or the name of a stage, of its transition "
            f"or of a layer (such as {', '.join([*places][-2:])}), got {hidden_layer!r}"
        )
    s, count = places[str(hidden_layer)]
    last = Stage(list(stages[s].layers[:count]), stages[s].transition)
    last.checkpointing = stages[s].checkpointing
    return Model(net.embed, [*stages[:s], last], pool=net.pool, image_size=net.image_size)


def _without_head(net: nn.Module, hidden_layer: str | int) -> nn.Module:
    """The same module with the same parts but for its head."""
    if not callable(getattr(net, "forward_features", None)) or not isinstance(getattr(net, "head", None), nn.Module):
        raise PairError(
            f"{type(net).__name__} must be a vitblocks.Model, or have forward_features and a head to leave out (unwrap a compiled or "
            "parallel model); as the teacher of DistillWrapper any module works"
        )
    if hidden_layer != TO_LATENT:
        raise ValueError(f"hidden_layer of a {type(net).__name__} can only be {TO_LATENT!r}, got {hidden_layer!r}")
    # A module of its own with the same modules and tensors in it: what is in the memo is taken for copied already.
    held = (*net.modules(), *net.parameters(), *net.buffers())
    twin: nn.Module = deepcopy(net, {id(part): part for part in held if part is not net})
    twin.head = nn.Identity()
    return twin


def feature_dim(encoder: nn.Module, channels: int, size: tuple[int, int]) -> int:
    """The length of the features, found by encoding one black image, in evaluation mode and without gradients.

    Raises:
        ValueError: the encoder does not take the size, or gives no single vector for an image.
    """
    like = next((p for p in encoder.parameters() if p.is_floating_point()), torch.empty(0))
    try:
        with evaluating(encoder), torch.no_grad():
            features = encoder(torch.zeros(1, channels, *size, device=like.device, dtype=like.dtype))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"net does not take crops of {size} and {channels} channels: {error}") from error
    if features.dim() != 2:
        raise PairError(
            f"Dino needs one vector for an image, the pool gives {tuple(features.shape)}: a student with a second token is for "
            "DistillWrapper; take the class without it (ViT for DistillableViT) here"
        )
    return int(features.shape[1])
