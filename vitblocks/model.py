"""The one model: an embedder, stages of layers, a norm, a pool and a head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention.attend import Attend
from .contract import (
    called,
    gives_pair,
    listed,
    require_embedder,
    require_layer,
    require_module,
    require_plain,
    require_pool,
    require_transition,
    token_pair,
    tokens,
)
from .grid import Grid, Size, one_line, split_prefix, to_map, to_pair
from .head import reset
from .prefix import ClassToken
from .recipe import Pretrained, expression
from .registry import part

if TYPE_CHECKING:  # which looks at models itself
    from .checkpoint.rules import KeyMap


class FeatureMap(NamedTuple):
    """A stage's patches as a map ``(B, C, H, W)``, and how many pixels of the image lie between two of its places."""

    map: Tensor
    stride: tuple[int, int]

    def __repr__(self) -> str:
        return one_line(self)


class FeatureInfo(NamedTuple):
    """A stage by its name, the channels of its map, and pixels of the image between two of its places."""

    name: str
    channels: int
    stride: tuple[int, int]


@part
class Stage(nn.Module):
    """A transition, then layers: ``(x, grid) -> (x, grid)``.

    Args:
        layers: any ``layer(x, grid) -> x``, run in order.
        transition: a downsampler or sampler ``(x, grid) -> (x, grid)`` that comes first, or None.

    Raises:
        TypeError: one of ``layers`` is no layer, or ``transition`` no transition; the message names it.
    """

    passing: ClassVar[tuple[str, ...]] = ("checkpointing",)  # a way to run, no part of the composition

    def __init__(self, layers: Sequence[nn.Module] = (), transition: nn.Module | None = None) -> None:
        super().__init__()
        layers = listed(layers, "layers")
        for i, layer in enumerate(layers):
            require_layer(layer, f"layers[{i}]")
        if transition is not None:
            require_transition(transition, "transition")
        self.transition = transition
        self.layers = nn.ModuleList(layers)
        self.checkpointing = False

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        if self.transition is not None:
            x, grid = token_pair(called(self.transition, "transition", x, grid), self.transition, "transition")
        for i, layer in enumerate(self.layers):
            place = f"layers[{i}]"
            recompute = self.checkpointing and torch.is_grad_enabled()
            y = checkpoint(layer, x, grid, use_reentrant=False) if recompute else called(layer, place, x, grid)
            x = tokens(y, layer, place)
        return x, grid

    def blocks(self) -> Iterator[tuple[str, nn.Module]]:
        """The blocks in order with their names: the transition and the layers, those of them that hold an Attend."""
        if self.transition is not None and is_block(self.transition):
            yield "transition", self.transition
        for i, layer in enumerate(self.layers):
            if is_block(layer):
                yield f"layers.{i}", layer


def require_stage(part: Any, place: str) -> None:
    """Raise TypeError unless ``part`` is a :class:`Stage`, perhaps in a wrapper that passes its attributes on."""
    require_module(part, place)
    if isinstance(part, Stage) or (hasattr(part, "layers") and hasattr(part, "transition")):
        return
    inside = "transition=..." if gives_pair(part) else "[...]"
    raise TypeError(f"{place} is a {type(part).__name__}; wrap it in Stage({inside})")


def require_one_class_token(stages: Sequence[Stage]) -> None:
    """Raise ValueError where two layers put class tokens first: the second's would stand where the first's is read."""
    places = [
        f"stages[{s}].layers[{i}]"
        for s, stage in enumerate(stages)
        for i, layer in enumerate(stage.layers)
        if isinstance(layer, ClassToken)
    ]
    if len(places) > 1:
        raise ValueError(
            f"{' and '.join(places)} are ClassTokens, and each puts its tokens before all others: registers are RegisterToken(dim, count), "
            "tokens of several heads one ClassToken(dim, count)"
        )


def is_block(layer: nn.Module) -> bool:
    """Whether a layer or a transition counts towards the depth: whether there is an Attend in it."""
    return any(isinstance(module, Attend) for module in layer.modules())


@part
class Model(Pretrained, nn.Module):
    """An image model, isotropic (one stage) or a pyramid: ``image (B, C, H, W) -> logits``.

    Args:
        embed: ``image -> (x, grid)``.
        stages: :class:`Stage` s, called in order.
        norm: a finished module on the tokens of the last stage, or None.
        pool: ``(x, grid) -> features``.
        head: ``features -> logits``; the features themselves if None.
        image_size: what the model was made for, if it was made for one; it takes every other size that its parts take.

    Attributes:
        layouts: of a class, the key maps of its published weights by whose they are (see :mod:`vitblocks.checkpoint`).

    Raises:
        TypeError: a part cannot stand where it was given; the message names it.
        ValueError: there are two :class:`~vitblocks.ClassToken` layers.
    """

    layouts: ClassVar[Mapping[str, KeyMap]] = {}

    def __init__(
        self,
        embed: nn.Module,
        stages: Sequence[Stage],
        *,
        pool: nn.Module,
        norm: nn.Module | None = None,
        head: nn.Module | None = None,
        image_size: Size | None = None,
    ) -> None:
        super().__init__()
        stages = listed(stages, "stages")
        for i, stage in enumerate(stages):
            require_stage(stage, f"stages[{i}]")
        require_one_class_token(stages)
        require_embedder(embed, "embed")
        require_pool(pool, "pool")
        self.image_size = None if image_size is None else to_pair(image_size, "image_size")
        self.embed = embed
        self.stages = nn.ModuleList(stages)
        self.norm = nn.Identity() if norm is None else norm
        self.pool = pool
        self.head = nn.Identity() if head is None else head
        require_plain(self.norm, "norm")
        require_plain(self.head, "head")

    def forward_stages(self, image: Tensor) -> list[tuple[Tensor, Grid]]:
        """What each stage gives, before the last norm: ``(x (B, N, C), grid)``, prefix tokens first."""
        x, grid = token_pair(self.embed(image), self.embed, "embed")
        outputs = []
        for i, stage in enumerate(self.stages):
            x, grid = called(stage, f"stages[{i}]", x, grid)
            outputs.append((x, grid))
        return outputs

    def encode(self, image: Tensor) -> tuple[Tensor, Grid]:
        """All tokens after the last norm, and their grid: ``(B, P + prod(grid), C)``, P prefix tokens first."""
        x, grid = token_pair(self.embed(image), self.embed, "embed")
        for i, stage in enumerate(self.stages):
            x, grid = called(stage, f"stages[{i}]", x, grid)
        return self.norm(x), grid

    def forward_features(self, image: Tensor) -> Tensor:
        """Pooled features, what the head reads: ``(B, C)``; ``(B, tokens, C)`` where the pool keeps several."""
        return self.pool(*self.encode(image))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.forward_features(image))

    def feature_maps(self, image: Tensor) -> list[FeatureMap]:
        """Every stage's patches as a map with its stride, finest first; prefix tokens are left out.

        Raises:
            ValueError: a stage dropped tokens, so that what it gives is no map.
        """
        outputs = self.forward_stages(image)
        return [
            FeatureMap(to_map(split_prefix(x, grid)[1], grid), stride)
            for (x, grid), stride in zip(outputs, self.strides, strict=True)
        ]

    @property
    def strides(self) -> list[tuple[int, int]]:
        """Pixels of the image between two places of each stage's grid, (down, right)."""
        rows, columns = to_pair(getattr(self.embed, "stride", 1), "stride")
        strides = []
        for stage in self.stages:
            down, right = to_pair(getattr(stage.transition, "stride", 1), "stride")
            rows, columns = rows * down, columns * right
            strides.append((rows, columns))
        return strides

    @property
    def num_features(self) -> int:
        """How many features the head reads."""
        return self._shapes()[-1]

    @property
    def feature_info(self) -> list[FeatureInfo]:
        """What :meth:`feature_maps` gives: the name of each stage, its channels and its stride."""
        names = [f"stages.{i}" for i in range(len(self.stages))]
        return [FeatureInfo(*row) for row in zip(names, self._shapes()[:-1], self.strides, strict=True)]

    def _shapes(self) -> list[int]:
        """The channels of each stage and of the pooled features, found on the meta device."""
        from .inspect.summary import run_twin  # which looks at models
        from .inspect.twin import meta_twin

        twin = meta_twin(self)
        twin.head = nn.Identity()
        channels: list[int] = []
        for module in (*twin.stages, twin.pool):
            module.register_forward_hook(
                lambda _, __, y: channels.append((y[0] if isinstance(y, tuple) else y).shape[-1])
            )
        run_twin(twin)
        return channels

    def reset_head(self, num_classes: int) -> Model:
        """Give the model a fresh head of the same kind for other classes; 0 for features. Returns the model.

        Raises:
            ValueError: ``num_classes`` is negative, or the head has no Linear to change.
        """
        first, mode = next(self.parameters()), self.head.training
        self.head = reset(self.head, num_classes, self.num_features).to(first.device, first.dtype).train(mode)
        if self.labels is not None and len(self.labels) != num_classes:
            self.labels = None
        return self

    def blocks(self) -> Iterator[tuple[str, nn.Module]]:
        """The blocks of all stages in order with their names: transitions and layers that hold an Attend. Depth counts these."""
        for s, stage in enumerate(self.stages):
            assert isinstance(stage, Stage)
            for name, block in stage.blocks():
                yield f"stages.{s}.{name}", block

    def __repr__(self) -> str:
        """The composition as one would write it; the tree of modules where that cannot be told."""
        try:
            return expression(self)
        except ValueError:
            return super().__repr__()

    def gradient_checkpointing(self, enabled: bool = True) -> Model:
        """Recompute each layer in the backward pass rather than keep its activations (arXiv:1604.06174). Returns the model."""
        for stage in self.stages:
            assert isinstance(stage, Stage)
            stage.checkpointing = enabled
        return self
