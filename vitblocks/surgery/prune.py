"""The first part of a model, for its features."""

from __future__ import annotations

from collections.abc import Iterator

from ..inspect.summary import run_twin
from ..inspect.twin import meta_twin
from ..model import Model, Stage
from ..pool import MeanPool


def prune(model: Model, keep: int | str) -> Model:
    """A model of the first blocks of another, which runs and holds no more than they need: ``prune(model, keep=6)``.

    It is a plain :class:`~vitblocks.Model` over the same modules (those of a copy, if the original is to go on by itself), whose names
    and weights stay as they were. It gives features: the head is gone, the norm and the pool are kept where they fit what is left, else
    there is no norm and a mean over the patches. ``feature_maps``, ``encode`` and everything else that takes a model works on it.

    Args:
        model: any model.
        keep: how many blocks, as ``model.blocks()`` counts them; or the name of the last stage, layer or transition that is kept, such as
            ``"stages.1"`` or ``"stages.0.layers.5"``.

    Raises:
        TypeError: ``model`` is no Model (CrossViT, whose two branches go side by side, is none: build it with a smaller ``depth``).
        ValueError: it has no such block.
    """
    if not isinstance(model, Model):
        raise TypeError(
            f"model must be a Model, made of stages one after another, got {type(model).__name__}; of branches that go side by side make "
            "one of a smaller depth"
        )
    last = _last_name(model, keep)
    stages: list[Stage] = []
    for s, stage in enumerate(model.stages):
        assert isinstance(stage, Stage)
        if last == f"stages.{s}" or not last.startswith(f"stages.{s}."):
            stages.append(stage)
        else:
            inner = last.split(".")[2:]
            count = 0 if inner == ["transition"] else int(inner[1]) + 1
            stages.append(_first(stage, count))
        if last.split(".")[1] == str(s):
            break
    return _fitting(model, stages)


def _last_name(model: Model, keep: int | str) -> str:
    """The name of the last stage, layer or transition that stays."""
    blocks = [name for name, _ in model.blocks()]
    if isinstance(keep, int) and not isinstance(keep, bool):
        if not 1 <= keep <= len(blocks):
            raise ValueError(f"keep must be 1 to {len(blocks)}, the blocks of this {type(model).__name__}, got {keep}")
        return blocks[keep - 1]
    names = list(_places(model))
    if keep not in names:
        raise ValueError(f"keep must be a number of blocks, or one of {', '.join(names)}; got {keep!r}")
    return str(keep)


def _places(model: Model) -> Iterator[str]:
    for s, stage in enumerate(model.stages):
        assert isinstance(stage, Stage)
        yield f"stages.{s}"
        if stage.transition is not None:
            yield f"stages.{s}.transition"
        yield from (f"stages.{s}.layers.{i}" for i in range(len(stage.layers)))


def _first(stage: Stage, layers: int) -> Stage:
    first = Stage(list(stage.layers)[:layers], stage.transition).train(stage.training)
    first.checkpointing = stage.checkpointing
    return first


def _fitting(model: Model, stages: list[Stage]) -> Model:
    """The stages with the model's norm and pool, as far as these take what the stages give."""
    tried: Exception | None = None
    for norm, pool in ((model.norm, model.pool), (model.norm, MeanPool()), (None, model.pool), (None, MeanPool())):
        pruned = Model(model.embed, stages, norm=norm, pool=pool, image_size=model.image_size)
        try:
            run_twin(meta_twin(pruned))
        except (ValueError, TypeError, RuntimeError) as error:
            tried = error
            continue
        pruned.preprocessing, pruned.training = model.preprocessing, model.training
        return pruned
    raise ValueError(f"what is left of this {type(model).__name__} does not run") from tried
