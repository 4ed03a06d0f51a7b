"""Numbers of a checkpoint as those of a model: checked, cast, and put into it all at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .tensor_file import not_plain


def refused(value: Tensor, target: Tensor, *, check: bool) -> str | None:
    """Why ``value``, as it is in the checkpoint, cannot be the numbers of ``target``; None if it can.

    Without ``check`` what can be cast is taken.
    """
    if why := not_plain(value):
        return why
    if value.is_complex() and not target.is_complex():
        return f"complex ({value.dtype})"
    if check and target.is_floating_point() and not value.is_floating_point():
        return f"{value.dtype}, not floating-point"
    return None


def cast(value: Tensor, target: Tensor, *, check: bool) -> Tensor:
    """``value`` in the dtype and on the device of ``target``.

    Raises:
        ValueError: with ``check``: it holds NaN or infinity, or numbers that the dtype has not.
    """
    ours = value.to(target.dtype)
    if check and not target.is_floating_point() and not torch.equal(ours.to(value.dtype), value):
        raise ValueError(f"not all of it are numbers that {target.dtype} has")
    if check and target.is_floating_point() and not _finite(ours):
        if _finite(value):
            largest = value.abs().max().item()
            raise ValueError(f"up to {largest:.3g}, out of the range of {target.dtype}")
        wrong = int((~torch.isfinite(value.float())).sum())
        raise ValueError(f"NaN or infinite in {wrong} of {value.numel()} numbers")
    return ours.to(target.device)


def _finite(value: Tensor) -> bool:
    wide = value.float() if value.element_size() == 1 else value  # 8-bit floats have no such test
    return not wide.numel() or all(
        bool(torch.isfinite(end)) for end in wide.aminmax()
    )  # which are NaN where one number is


@torch.no_grad()
def put(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Put entries of the state_dict into a model: all of them, or none if one fails.

    Raises:
        ValueError: the model has no numbers, or two entries that are one weight of the model get different ones.
    """
    state = model.state_dict()
    if empty := [key for key in values if state[key].is_meta]:
        raise ValueError(
            f"model must have weights to load into, but {empty[0]} is on the meta device: use to_empty first"
        )
    _check_shared(state, values)
    # What is given may be the model's own weights under other names: then a first copy would change what a later one reads.
    own = {value.untyped_storage().data_ptr() for value in state.values()}
    values = {
        key: value.clone() if value.untyped_storage().data_ptr() in own else value for key, value in values.items()
    }
    before = {key: state[key].clone() for key in values}
    try:
        model.load_state_dict(values, strict=False)
    except BaseException:
        for key, value in before.items():
            state[key].copy_(value)
        raise


def _check_shared(state: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    first: dict[object, str] = {}
    for key, value in values.items():
        place = state[key]
        if not place.numel():
            continue
        other = first.setdefault((place.data_ptr(), place.shape, place.stride(), place.dtype), key)
        if other != key and not torch.equal(values[other], value):
            raise ValueError(
                f"{other} and {key} are one weight of the model, but the checkpoint has two different ones"
            )
