"""What a ``config.json`` of timm says of its model, as keywords of our variant of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from ..pool import AttentionPool, ClassPool, MeanPool
from ..position import LearnedPosition, resize_table_as_timm
from ..registry import OURS, create_model, taken_by, variants

POOLS: Mapping[str, type[nn.Module]] = {"token": ClassPool, "avg": MeanPool, "map": AttentionPool}
WITHOUT_EFFECT = ("num_classes", "global_pool", "dynamic_img_size", "strict_img_size")
"""Arguments that are read elsewhere, or that change nothing here: every model takes the sizes that its parts take."""
RATES = ("drop_path_rate", "proj_drop_rate", "attn_drop_rate", "pos_drop_rate")


def build_as_timm(name: str, **options: Any) -> Any:
    """A variant that computes what timm's model of this name does, for every image, where ours follows the paper's code or its training.

    What differs stands beside the paper: the attribute ``as_timm`` of its class, ``(name, make) -> model``, where ``make`` takes further
    keywords. Learned positions are resized as timm does it in every model.
    """
    change = getattr(variants()[name].build, "as_timm", None)
    make = partial(create_model, name, **options)
    model: Any = make() if change is None else change(name, make)
    for part in model.modules():
        if isinstance(part, LearnedPosition):
            part.resize = resize_table_as_timm
    return model


def options_of(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of a variant, as :func:`~vitblocks.create_model` takes them, beside the number of classes.

    Raises:
        ValueError: the model was made with an argument that no keyword of a variant is.
    """
    options: dict[str, Any] = {}
    taken = taken_by(variants()[name].build)
    for word, value in (config.get("model_args") or {}).items():
        if word in WITHOUT_EFFECT or not value:  # not set, or set to none
            continue
        if word == "in_chans":
            options["image_channels" if "image_channels" in taken else "channels"] = value
        elif word == "img_size":
            options["image_size"] = tuple(value) if isinstance(value, list) else value
        elif word in RATES and isinstance(value, (int, float)) and OURS[word] in taken:
            options[OURS[word]] = float(value)
        else:
            raise ValueError(
                f"model_args have {word} = {value!r}, an argument of timm's class: make the model with timm, then vitblocks.adopt(module)"
            )
    return options


def check_pool(model: Any, config: Mapping[str, Any]) -> None:
    """Raise ValueError where timm's model pools otherwise than ours, which the weights need not show."""
    name = (config.get("model_args") or {}).get("global_pool") or config.get("global_pool")
    kind = POOLS.get(name) if isinstance(name, str) else None
    if name and (kind is None or not isinstance(model.pool, kind)):
        raise ValueError(
            f"global_pool is {name!r}, and {type(model).__name__} has {type(model.pool).__name__}: make the model with timm, then "
            "vitblocks.adopt(module)"
        )
