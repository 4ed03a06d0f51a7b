"""The border of a part: what it is called with is checked there, and what PyTorch says deep inside is said of the argument.

A part's ``forward`` is plain code. ``@part`` puts a check before it where its first arguments are words of this package: ``x, grid`` of a
layer, a transition or a pool, ``x`` of a norm, ``image`` of a model or an embedder, ``images`` of an objective, ``features`` of a head,
``q, k, v`` of an Attend, ``grid`` of a position bias. Only the outermost part that is called has its arguments checked before it runs:
those inside are called by it. Where one inside raises, its arguments are checked then, and channels, dtypes and devices compared. A
compiled or exported part has none of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from inspect import signature
from math import prod
from re import findall
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .checks import check_count, check_float, check_grid, check_image, check_tokens, tracing

Forward = Callable[..., Any]


def _check_images(images: object = None) -> None:
    check_image(images, "images")


def _check_some_images(images: object = None) -> None:
    """Images of one size, or a list of crops of several."""
    crops = images if isinstance(images, (list, tuple)) else [images]
    for i, crop in enumerate(crops):
        check_image(crop, f"images[{i}]" if crops is images else "images")


def _check_heads(q: object = None, k: object = None, v: object = None, bias: object = None) -> None:
    """Queries, keys and values in heads, as many values as keys, and a bias that broadcasts to their logits."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_float(x, name, "(batch, ..., heads, tokens, channels)", 4, more=True)
    if tracing():
        return
    assert isinstance(q, Tensor)
    assert isinstance(k, Tensor)
    assert isinstance(v, Tensor)
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)} and v {tuple(v.shape)}"
    if k.shape[:-1] != v.shape[:-1]:
        raise ValueError(f"v must hold a value for each key, got {shapes}")
    if q.shape[-1] != k.shape[-1] or q.shape[:-2] != k.shape[:-2]:
        raise ValueError(f"q and k must agree but for the number of tokens, got {shapes}")
    if bias is not None:
        _check_bias(bias, (*q.shape[:-1], k.shape[-2]))


def _check_bias(bias: object, logits: tuple[int, ...]) -> None:
    if not isinstance(bias, Tensor) or (bias.dtype != torch.bool and not bias.is_floating_point()):
        found = str(bias.dtype) if isinstance(bias, Tensor) else type(bias).__name__
        raise TypeError(
            f"bias must be a tensor of floats, or of bools that are True where a key takes part, got {found}"
        )
    sizes = zip(reversed(bias.shape), reversed(logits), strict=False)
    if bias.dim() > len(logits) or any(size not in (1, wanted) for size, wanted in sizes):
        raise ValueError(
            f"bias {tuple(bias.shape)} does not broadcast to the logits {logits} (batch, ..., heads, queries, keys): with fewer keys than "
            "queries a position bias must give (heads, queries, keys); RelativeBias, DynamicBias and DistanceBias suit kinds whose keys "
            "are the queries' own tokens, such as GlobalAttention and WindowAttention"
        )


def _check_bias_grid(grid: object = None, prefix: object = 0) -> None:
    check_grid(grid)
    if not tracing():
        check_count("prefix", prefix)


def _check_floats(x: object = None) -> None:
    check_float(x, "x", "(..., channels)", 1, more=True)


def _check_features(features: object = None) -> None:
    check_float(features, "features", "(batch, ..., channels)", 2, more=True)


def _check_sum(x: object = None, update: object = None) -> None:
    _check_floats(x)
    check_float(update, "update", "of the shape of x", 1, more=True)


def _check_turned(q: object = None, k: object = None, grid: object = None) -> None:
    """Queries and keys in heads, of at least as many tokens as the grid has patches."""
    check_grid(grid)
    for name, x in (("q", q), ("k", k)):
        check_float(x, name, "(batch, ..., heads, tokens, channels)", 4, more=True)
        if not tracing() and isinstance(x, Tensor) and isinstance(grid, tuple) and x.shape[-2] < prod(grid):
            raise ValueError(f"{name} has {x.shape[-2]} tokens, fewer than the {prod(grid)} patches of grid {grid}")


class _Border(NamedTuple):
    """The arguments that a check takes, and the axis of the first one's channels."""

    names: tuple[str, ...]
    check: Callable[..., None]
    channels: int | None = None


_BORDERS = (
    _Border(("x", "grid"), check_tokens, -1),
    _Border(("image",), check_image, 1),
    _Border(("images",), _check_images, 1),
    _Border(("q", "k", "v", "bias"), _check_heads),
    _Border(("q", "k", "grid"), _check_turned, -1),
    _Border(("grid", "prefix"), _check_bias_grid),
    _Border(("x", "update"), _check_sum),
    _Border(("x",), _check_floats, -1),
    _Border(("features",), _check_features, -1),
)


def guard(kind: type[nn.Module]) -> None:
    """Check what the ``forward`` that a class has is called with, once: a base of this package that defines it is checked for all."""
    home = next(base for base in kind.__mro__ if "forward" in vars(base))
    own: Forward = vars(home)["forward"]
    if hasattr(own, "__wrapped__") or home.__module__.partition(".")[0] != __package__:
        return
    parameters = list(signature(own).parameters.values())[1:]
    for border in _BORDERS:
        if tuple(p.name for p in parameters[: len(border.names)]) == border.names:
            if border.names == ("images",) and "Sequence" in str(parameters[0].annotation):
                border = border._replace(check=_check_some_images)
            home.forward = _guarded(own, border)  # type: ignore[attr-defined]
            return


class _Calls(threading.local):
    """Whether a checked part is running in this thread: what it calls is called by us, and looked at only where something raises."""

    running = False


_calls = _Calls()


def _guarded(own: Forward, border: _Border) -> Forward:
    names, check, channels = border

    def explain(error: Exception, part: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Raise what is wrong with the arguments, if anything is."""
        given = _first(names, args, options)
        check(*given)
        said = None if channels is None else _mistake(error, part, given[0], names[0], channels)
        if said is not None:
            raise said from error

    @wraps(own)
    def forward(self: nn.Module, *args: Any, **options: Any) -> Any:
        if torch.compiler.is_compiling():
            return own(self, *args, **options)
        outermost = not _calls.running
        if outermost:
            check(*_first(names, args, options))
            _calls.running = True
        try:
            return own(self, *args, **options)
        except (ValueError, TypeError):
            raise
        except Exception as error:
            explain(error, self, args, options)
            raise
        finally:
            if outermost:
                _calls.running = False

    return forward


def _first(names: tuple[str, ...], args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments of these names, as far as they are given."""
    given = args[: len(names)]
    return given if len(given) == len(names) else (*given, *(options[n] for n in names[len(given) :] if n in options))


def _mistake(error: Exception, part: nn.Module, x: Tensor, name: str, axis: int) -> Exception | None:
    """What is wrong with the argument, if that is why PyTorch raised."""
    foreign = isinstance(error, (torch.OutOfMemoryError, NotImplementedError, RecursionError))
    if foreign or not isinstance(error, (RuntimeError, IndexError)) or not isinstance(x, Tensor):
        return None
    kind = type(part).__name__
    first = next((p for p in part.parameters() if p.is_floating_point()), None)
    words = str(error)
    if first is not None and first.device != x.device and "device" in words:
        return ValueError(f"{name} lies on {x.device}, the weights of {kind} on {first.device}: move one of them")
    if (
        first is not None
        and first.dtype != x.dtype
        and any(word in words for word in ("type", "Float", "Double", "Half"))
    ):
        return TypeError(f"{name} is of {x.dtype}, the weights of {kind} of {first.dtype}: convert one of them")
    wanted = _channels(part, name)
    # PyTorch's own words have both numbers where that is it, and not something deeper inside.
    if (
        wanted is not None
        and x.shape[axis] != wanted
        and {str(wanted), str(x.shape[axis])} <= set(findall(r"\d+", words))
    ):
        return ValueError(f"{name} must have {wanted} channels for this {kind}, got shape {tuple(x.shape)}")
    if type(error).__name__ == "EinopsError" or any(said in words for said in _ABOUT_SHAPES):
        first_line = words.strip().splitlines()[0]
        return ValueError(
            f"this {kind} does not take {name} of shape {tuple(x.shape)}, or its parts not one another: {first_line}"
        )
    return None


_ABOUT_SHAPES = (
    "shapes cannot be multiplied",
    "must have same reduction dim",
    "Given normalized_shape",
    "Given groups",
    "an't be greater than actual input size",
    "must match",
    "is invalid for input of size",
    "Expected size for first two dimensions",
    "running_mean should contain",
    "sizes should be greater than 0",
    "The expanded size of the tensor",
    "split_with_sizes",
    "split_sizes",
    "adding size should be less than",
    "utput size is too small",
    "non-empty",
    "non-zero",
)
"""What PyTorch says where the sizes of two tensors do not fit."""


def _channels(part: nn.Module, name: str) -> int | None:
    """The channels that a part was made for, as far as it says or its first weight does."""
    from .recipe.values import note_of  # whose package puts these borders around parts

    noted = (note_of(part) or {}).get("args", {}).get("dim")
    if name == "x" and isinstance(noted, int):
        return noted
    for module in part.modules():
        if isinstance(module, nn.Linear):
            return module.in_features
        if isinstance(module, (nn.Conv1d, nn.Conv2d)):
            return module.in_channels
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            return module.num_features
        if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
            return module.normalized_shape[-1]
    return None
