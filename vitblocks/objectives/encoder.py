"""What an objective takes of a model: the embedder, the stages and the norm, without the pool and the head it does not train."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from math import prod
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from ..embed.adaptors import OnSequence
from ..grid import Grid, split_prefix
from ..inspect.twin import meta_twin
from ..model import Stage, is_block

Change: TypeAlias = Callable[[Tensor, Grid], tuple[Tensor, Grid]]
"""What an objective does to the tokens on their way: ``(x, grid) -> (x, grid)``."""

_PROBED = (2, 4, 7, 8, 14)


class Encodes(Protocol):
    """What a model must offer: see :class:`vitblocks.model.Model`, which does."""

    embed: nn.Module
    stages: nn.ModuleList
    norm: nn.Module
    image_size: tuple[int, int] | None

    @property
    def strides(self) -> list[tuple[int, int]]: ...


class PairError(ValueError):
    """An objective and a model that cannot work together; the message says why, and what would."""


class Step(NamedTuple):
    """A transition or layer of an encoder, and the tokens that it gets."""

    name: str
    module: nn.Module
    is_transition: bool
    shape: tuple[int, ...]
    grid: Grid


class Encoder(nn.Module):
    """The parts of a model that make tokens, as an objective runs and trains them: the model's own modules, not copies.

    Pool and head stay with the model, and so do layers at the end that leave all patches as they are (CaiT's class blocks): whatever
    predicts patches would give them no gradient. What the model needs is found by running it on the meta device. Whether layers are
    recomputed in the backward pass is taken over from the model as it is now.

    Args:
        model: anything with ``embed``, ``stages``, ``norm``, ``strides`` and ``image_size``, such as a
            :class:`~vitblocks.model.Model`.
        channels: of the image.

    Attributes:
        dim: channels of the tokens at the end.
        embed_dim: channels of the tokens that the embedder gives.
        mask_unit: rows and columns of the tokens of a mask unit, as the embedder gives them, where the model has them and else sees no
            place (Hiera, arXiv:2306.00989, Section 3); None otherwise.
        strides: pixels between two places of each stage's grid.

    Raises:
        PairError: a ValueError: the model is no list of stages, or does not keep a token for each place.
        ValueError: the model takes no image of so many channels.
    """

    def __init__(self, model: Encodes, *, channels: int = 3) -> None:
        super().__init__()
        # Not isinstance: from Python 3.12 on a Protocol does not see the submodules that nn.Module looks up itself.
        if not all(hasattr(model, name) for name in ("embed", "stages", "norm", "image_size", "strides")):
            raise PairError(
                f"{type(model).__name__} is no list of stages with one grid (embed, stages, norm, strides), so there are no patches to "
                "mask in it: distillation and DINO read its pooled features and would work (unwrap a compiled or parallel model)"
            )
        self.model_name = type(model).__name__
        self.image_size = model.image_size
        self.strides = list(model.strides)
        self.channels = channels
        self.mask_unit: tuple[int, int] | None = getattr(model, "mask_unit", None)
        self.embed = model.embed
        self.stages = nn.ModuleList(_same_layers(stage) for stage in model.stages)
        self.norm = model.norm
        self.probed_size, steps, tokens = self._probe()
        self.embed_dim, self.dim = steps[0].shape[2] if steps else tokens.shape[2], tokens.shape[2]
        self._leave_out_idle(steps)

    def forward(self, image: Tensor, change: Change, at: int = 0) -> tuple[Tensor, Grid]:
        """All tokens after the norm, with ``change`` called on those that come before stage ``at``."""
        x, grid = self.embed(image)
        for i, stage in enumerate(self.stages):
            if i == at:
                x, grid = change(x, grid)
            x, grid = stage(x, grid)
        return self.norm(x), grid

    def split_before_mixing(self) -> int:
        """Make the layers from the first on in which tokens see one another a stage of their own, and return its number.

        That is the first with an Attend, or a foreign module on the whole sequence.

        Raises:
            PairError: there is none, or a transition comes with it or after it, which moves tokens on a grid.
        """
        s, i = self._first_mixing()
        for later in range(s + 1, len(self.stages)):
            if self.stages[later].transition is not None:
                raise self._needs_grid(f"stages.{later}.transition", "it moves tokens on the grid")
        self._split(s, i)
        return s + 1

    def split_before_units(self) -> int:
        """As :meth:`split_before_mixing`, where tokens are dropped in whole mask units: transitions within them may come later.

        Raises:
            PairError: the model has no mask units, they do not end as one token, or no layer attends.
        """
        if self.mask_unit is None:
            raise PairError(f"{self.model_name} has no mask units: MAE, SimMIM or MPP hide patches and would work")
        s, i = self._first_mixing()
        unit = self.unit_at(s)
        if unit != self.strides[-1]:
            raise PairError(
                f"mask units of {self.model_name} must be one token in the end, a unit has {unit} pixels and a token {self.strides[-1]}: "
                "SimMIM and MPP would work"
            )
        self._split(s, i)
        return s + 1

    def unit_at(self, stage: int) -> tuple[int, int]:
        """The pixels of a mask unit that is counted in the tokens of this stage."""
        assert self.mask_unit is not None
        (rows, columns), (down, right) = self.mask_unit, self.strides[stage]
        return rows * down, columns * right

    def _first_mixing(self) -> tuple[int, int]:
        """The stage and the number in it of the first layer in which tokens see one another."""
        for s, stage in enumerate(self.stages):
            assert isinstance(stage, Stage)
            if stage.transition is not None and _mixes(stage.transition):
                raise self._needs_grid(f"stages.{s}.transition", "it moves tokens on the grid")
            for i, layer in enumerate(stage.layers):
                if _mixes(layer):
                    return s, i
        raise self._needs_grid("no layer", "none holds an Attend, so there is no place to drop tokens before")

    def check_takes_dropped(self, at: int) -> None:
        """Run the stages from ``at`` on with a quarter of the tokens, on the meta device.

        Raises:
            PairError: a layer needs the whole grid; it is named.
        """
        steps, _, _ = self._trace(self.probed_size)
        first = next(step for step in steps if step.name.startswith(f"stages.{at}."))
        prefix = first.shape[1] - prod(first.grid)
        kept = max(prod(first.grid) // 4, 1)
        x = self._meta(first.shape[0], prefix + kept, first.shape[2])
        for step in steps[steps.index(first) :]:
            try:
                x = _on_meta(step.module, x, (kept,))
            except (ValueError, RuntimeError) as error:
                raise self._needs_grid(step.name, str(error)) from error

    def _needs_grid(self, where: str, why: str) -> PairError:
        units = "" if self.mask_unit is None else "MaskUnitMAE drops whole mask units, "
        return PairError(
            f"MAE drops tokens, and {self.model_name} needs all of them ({where}: {why}): {units}SimMIM and MPP keep them and would work"
        )

    def _split(self, s: int, i: int) -> None:
        """Cut stage ``s`` in two before its layer ``i``."""
        stage = self.stages[s]
        assert isinstance(stage, Stage)
        after = Stage(list(stage.layers[i:]))
        after.checkpointing = stage.checkpointing
        stage.layers = stage.layers[:i]
        self.stages.insert(s + 1, after)
        self.strides.insert(s + 1, self.strides[s])

    def _leave_out_idle(self, steps: Sequence[Step]) -> None:
        """Take layers off the end as long as they have parameters and change no patch."""
        homes: dict[int, Any] = {id(layer): stage.layers for stage in self.stages for layer in stage.layers}  # type: ignore[union-attr]
        for step in reversed(steps):
            if step.is_transition or not any(True for _ in step.module.parameters()) or _changes_patches(step):
                return
            del homes[id(step.module)][-1]

    def _meta(self, *shape: int) -> Tensor:
        dtype = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.get_default_dtype())
        return torch.empty(shape, device="meta", dtype=dtype)

    def _probe(self) -> tuple[tuple[int, int], list[Step], Tensor]:
        """The smallest image tried that the model takes, and what becomes of it.

        Raises:
            ValueError: it takes none.
        """
        down, right = self.strides[-1]
        sizes = [(down * k, right * k) for k in _PROBED]
        sizes += [] if self.image_size is None else [self.image_size]
        refused: Exception | None = None
        for size in sizes:
            try:
                steps, tokens, _ = self._trace(size)
            except PairError:
                raise
            except (ValueError, RuntimeError) as error:
                refused = error
            else:
                return size, steps, tokens
        raise ValueError(
            f"{self.model_name} takes no image of {self.channels} channels (give channels=) in any of the sizes {sizes}: {refused}"
        ) from refused

    def _trace(self, size: tuple[int, int]) -> tuple[list[Step], Tensor, Grid]:
        """Every step of an image of this (height, width) on the meta device, and the tokens and the grid at the end."""
        steps: list[Step] = []
        x, grid = _on_meta(self.embed, self._meta(2, self.channels, *size))
        for s, stage in enumerate(self.stages):
            for name, module, is_transition in _parts(stage):
                steps.append(Step(f"stages.{s}.{name}", module, is_transition, tuple(x.shape), grid))
                result = _on_meta(module, x, grid)
                x, grid = result if is_transition else (result, grid)
                if len(grid) != 2:
                    raise PairError(
                        f"{self.model_name} drops tokens itself (stages.{s}.{name}), so not every patch can be predicted: distillation "
                        "and DINO read its pooled features and would work"
                    )
        return steps, _on_meta(self.norm, x), grid


def _same_layers(stage: Any) -> Stage:
    """A stage of the same modules whose list of layers is its own."""
    same = Stage(list(stage.layers), stage.transition)
    same.checkpointing = stage.checkpointing
    return same


def _parts(stage: Any) -> Iterator[tuple[str, nn.Module, bool]]:
    """The transition and the layers of a stage: name, module, whether it is a transition."""
    if stage.transition is not None:
        yield "transition", stage.transition, True
    for i, layer in enumerate(stage.layers):
        yield f"layers.{i}", layer, False


def _mixes(layer: nn.Module) -> bool:
    return is_block(layer) or isinstance(layer, OnSequence)


@torch.no_grad()
def _on_meta(module: nn.Module, *args: Any) -> Any:
    """What the module gives on the meta device: shapes at no cost, and what the contract raises. The module stays as it is."""
    return meta_twin(module)(*args)


@torch.no_grad()
def _changes_patches(step: Step) -> bool:
    """Whether a layer gives other patches than it gets. It runs on a copy, with other weights, so that none starts at zero.

    A block that declares ``serves_prefix`` may change them, but only for what the prefix tokens then read.
    """
    if getattr(step.module, "serves_prefix", False):
        return False
    layer = deepcopy(step.module).to_empty(device="cpu").float().eval()
    generator = torch.Generator("cpu").manual_seed(0)
    for tensor in (*layer.parameters(), *layer.buffers()):
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator, device="cpu"))
        else:
            tensor.zero_()
    x = torch.randn(step.shape, generator=generator, device="cpu")
    y = layer(x, step.grid)
    return not torch.equal(split_prefix(y, step.grid)[1], split_prefix(x, step.grid)[1])
