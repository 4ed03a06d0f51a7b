"""A model that returns its embeddings beside its output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..model import Model
from .extract import token_pairs
from .frames import named_parts, uncompiled

FINAL = "transformer"
"""The layer name that stands for the final tokens of any model."""


class Extractor(nn.Module):
    """Wrap a model so that its forward returns ``(output, embeddings)``: ``logits, embeddings = Extractor(model)(image)``.

    ``embeddings`` are the tokens ``(B, N, C)`` that go into the pool, prefix tokens first, unless a layer is named: then what it gives.
    Of an ``(x, grid)`` they are the ``x`` (:func:`~vitblocks.inspect.extract` tells grid and prefix). They are a tuple where there are
    several: CrossViT's two towers, or a layer called several times. The last ones are kept in ``embeddings``, None after :meth:`clear`.

    Gradients flow unless ``detach``. There are hooks only while the forward runs. A compiled model runs uncompiled in here.

    Args:
        model: any model.
        device: where the embeddings are kept; where they were made if None.
        layer: a module of the model, in place of a name.
        layer_name: of a module of the model; ``"transformer"``, where no module has that name, is all that comes before the pool.
        layer_save_input: what the layer was given first, in place of what it gave.
        return_embeddings_only: leave the output out.
        detach: whether the embeddings carry no gradients.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: it has no such layer.
        RuntimeError: in ``forward``, where the layer was not called, or after :meth:`eject`.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device | str | None = None,
        layer: nn.Module | None = None,
        layer_name: str = FINAL,
        layer_save_input: bool = False,
        return_embeddings_only: bool = False,
        *,
        detach: bool = False,
    ) -> None:
        super().__init__()
        find_layers(model, layer, layer_name)
        self.model: nn.Module | None = model
        self.device = device
        # In a tuple, so that it is no submodule a second time.
        self.choice = (layer, layer_name)
        self.layer_save_input = layer_save_input
        self.return_embeddings_only = return_embeddings_only
        self.detach = detach
        self.embeddings: Any = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.model is None:
            raise RuntimeError("this Extractor was ejected: call the model that eject() returned, or wrap it again")
        self.embeddings = None
        layers = find_layers(self.model, *self.choice)
        caught: list[Any] = []

        def keep(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            caught.append(self._kept([*given, *named.values()][0] if self.layer_save_input else output))

        handles = [layer.register_forward_hook(keep, with_kwargs=True) for layer in layers]
        try:
            with uncompiled():
                output = self.model(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
        if len(caught) < len(layers):
            raise RuntimeError(
                f"the layer {self.choice[1]!r} was not called in the forward of {type(self.model).__name__}"
            )
        self.embeddings = caught[0] if len(caught) == 1 else tuple(caught)
        return self.embeddings if self.return_embeddings_only else (output, self.embeddings)

    def clear(self) -> None:
        """Let go of the embeddings of the last forward."""
        self.embeddings = None

    def eject(self) -> nn.Module:
        """The model as it was; the wrapper is of no use afterwards."""
        if self.model is None:
            raise RuntimeError("this Extractor was ejected before")
        self.clear()
        model, self.model = self.model, None
        return model

    def _kept(self, value: Any) -> Any:
        """Tensors of what a layer gave, detached and moved as asked; of ``(x, grid)`` the ``x``."""
        pairs = list(token_pairs(value))
        if pairs:
            value = pairs[0][0] if len(pairs) == 1 else tuple(x for x, _ in pairs)
        if isinstance(value, (tuple, list)):
            return tuple(self._kept(part) for part in value)
        if not isinstance(value, Tensor):
            return value
        value = value.detach() if self.detach else value
        return value if self.device is None else value.to(self.device)


def find_layers(model: nn.Module, layer: nn.Module | None, layer_name: str) -> list[nn.Module]:
    """The modules that an :class:`Extractor` listens to: one, or a norm for each tower where the final tokens are asked for.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: there is no such layer in the model.
    """
    parts = named_parts(model)
    if layer is not None:
        if not any(module is layer for module in parts.values()):
            raise ValueError(f"layer must be a module of {type(model).__name__}, got another {type(layer).__name__}")
        return [layer]
    if layer_name in parts:
        return [parts[layer_name]]
    whole = parts[""]
    if layer_name == FINAL and isinstance(whole, Model):
        return [parts["norm"]]
    if layer_name == FINAL and isinstance(norms := getattr(whole, "norms", None), nn.ModuleList):
        return list(norms)
    raise ValueError(
        f"layer_name must name a module of {type(whole).__name__}, got {layer_name!r}; it begins with "
        f"{[name for name, _ in whole.named_children()]}"
    )
