"""Weights that were made for other classes, channels or patches, fitted to a model where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypedDict

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor, nn

from ..norm import at_least_float32
from .entries import entries_of
from .report import Report
from .rules import Pairing
from .values import cast


class Adapt(TypedDict, total=False):
    """What of a checkpoint that was made otherwise is fitted, and how.

    - ``classes``: ``"fresh"`` leaves the head as it is in the model.
    - ``channels`` of the image, in the first convolution: ``"sum"`` makes one channel of several, which sees a grey image as they saw it;
      ``"repeat"`` repeats them, scaled so that sums stay as large (timm's ``adapt_input_conv``).
    - ``patch_size``: ``"pseudo-inverse"`` resizes the patch convolution so that patches that are resized alike give the same tokens
      (FlexiViT, arXiv:2212.08013, Section 3.4).
    """

    classes: Literal["fresh"]
    channels: Literal["sum", "repeat"]
    patch_size: Literal["pseudo-inverse"]


WAYS: Mapping[str, tuple[str, ...]] = {
    "classes": ("fresh",),
    "channels": ("sum", "repeat"),
    "patch_size": ("pseudo-inverse",),
}


def check_adapt(adapt: Adapt) -> None:
    """Raise ValueError for what cannot be asked for."""
    for what, how in adapt.items():
        if what not in WAYS:
            raise ValueError(f"adapt must have keys of {', '.join(WAYS)}, got {what!r}")
        if how not in WAYS[what]:
            raise ValueError(f"adapt[{what!r}] must be one of {', '.join(map(repr, WAYS[what]))}, got {how!r}")


@torch.no_grad()
def adapted(
    model: nn.Module,
    values: dict[str, Tensor],
    report: Report,
    pairing: Pairing,
    state_dict: Mapping[str, Any],
    adapt: Adapt,
    check_values: bool = True,
) -> tuple[dict[str, Tensor], Report]:
    """Values and report with what was fitted among them: entries of another shape that ``adapt`` says what to do with.

    Raises:
        ValueError: what would be fitted holds numbers that are none, and ``check_values``.
    """
    targets, left, lines = model.state_dict(), [], []
    transforms = {pair.theirs: pair.transform for pair in pairing.pairs}
    tensors = entries_of(state_dict, {key for keys in transforms for key in keys}).tensors
    stem = _first_convolution(model)
    for entry in report.misshaped:
        key = entry.ours[0]
        if "classes" in adapt and key.startswith("head."):
            lines.append(f"{key}: left as it is in the model, the checkpoint has other classes")
            values = values | {key: targets[key]}
            continue
        fitted = None
        if len(entry.ours) == len(entry.theirs) == 1 and key == stem:
            fitted = _fitted(
                transforms[entry.theirs].forward((tensors[entry.theirs[0]].detach(),))[0], targets[key], adapt
            )
        if fitted is None:
            left.append(entry)
            continue
        value, line = fitted
        lines.append(f"{key}: {line}")
        try:
            values = values | {key: cast(value, targets[key], check=check_values)}
        except ValueError as error:
            raise ValueError(f"{report.what}: {', '.join(entry.theirs)}: {error}") from error
    return values, replace(report, loaded=tuple(values), misshaped=tuple(left), adapted=tuple(lines))


def _first_convolution(model: nn.Module) -> str | None:
    embed: Any = getattr(model, "embed", model)
    for name, module in embed.named_modules(prefix="embed" if embed is not model else ""):
        if isinstance(module, nn.Conv2d):
            return f"{name}.weight"
    return None


def _fitted(weight: Tensor, target: Tensor, adapt: Adapt) -> tuple[Tensor, str] | None:
    """A convolution's weight ``(out, in, h, w)`` for the channels and the kernel of another; None where that was not asked for."""
    if weight.dim() != 4 or weight.shape[0] != target.shape[0]:
        return None
    lines = []
    if weight.shape[1] != target.shape[1]:
        if "channels" not in adapt:
            return None
        lines.append(f"{weight.shape[1]} channels to {target.shape[1]} by {adapt['channels']}")
        weight = CHANNELS[adapt["channels"]](weight, target.shape[1])
    if weight.shape[2:] != target.shape[2:]:
        if "patch_size" not in adapt:
            return None
        lines.append(f"patches of {_size(weight)} to {_size(target)} by the pseudo-inverse")
        weight = resample_patches(weight, (target.shape[2], target.shape[3]))
    return weight, ", ".join(lines)


def _size(weight: Tensor) -> str:
    return f"{weight.shape[2]}x{weight.shape[3]}"


def _summed(weight: Tensor, channels: int) -> Tensor:
    """Raises ValueError for more than one channel."""
    if channels != 1:
        raise ValueError(f"channels can be summed to 1, the model has {channels}: adapt={{'channels': 'repeat'}}")
    return reduce(weight, "o i h w -> o 1 h w", "sum")


def _repeated(weight: Tensor, channels: int) -> Tensor:
    times = -(-channels // weight.shape[1])
    return repeat(weight, "o i h w -> o (times i) h w", times=times)[:, :channels] * (weight.shape[1] / channels)


CHANNELS: Mapping[str, Callable[[Tensor, int], Tensor]] = {"sum": _summed, "repeat": _repeated}


def resample_patches(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """A patch convolution's weight ``(out, in, h, w)`` for patches of another size (arXiv:2212.08013, Section 3.4, eq. 4).

    It is ``pinv(B)^T w`` where ``B`` resizes patches bicubically from the old size to the new, with antialiasing as timm has it: for larger
    patches ``(B x) . w_new = x . w``.
    """
    old = (weight.shape[2], weight.shape[3])
    values = at_least_float32(weight)
    basis = torch.eye(old[0] * old[1], dtype=values.dtype, device=weight.device)
    patches = rearrange(basis, "n (h w) -> n 1 h w", h=old[0])
    resized = F.interpolate(patches, size=size, mode="bicubic", antialias=True, align_corners=False)
    inverse = torch.linalg.pinv(rearrange(resized, "n 1 h w -> (h w) n"))
    flat = rearrange(values, "o i h w -> o i (h w)")
    made = torch.einsum("pn,oip->oin", inverse, flat)
    return rearrange(made, "o i (h w) -> o i h w", h=size[0]).to(weight.dtype)
