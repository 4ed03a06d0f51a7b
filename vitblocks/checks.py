"""What arguments may be: sizes, rates, finite numbers, choices, grids, and the tensors that a part is called with.

A word means the same in every signature of this package (docs/design.md), so what it may be is said once, in :data:`WORDS`: every part of
the package has the arguments of its constructor checked by their names, and what it is called with, as :func:`~vitblocks.registry.part`
registers it. What only one part can say, such as that ``heads`` divide ``dim``, stays with that part.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import isfinite, prod
from numbers import Integral, Real
from re import match
from typing import TypeAlias

import torch
from torch import Tensor, nn

Check: TypeAlias = Callable[[str, object], object]
"""A check of a value by the name of its argument: raises TypeError or ValueError."""


def check_int(name: str, value: object, minimum: int = 1) -> None:
    """Raise unless ``value`` is an int of at least ``minimum``: TypeError for another type, ValueError for a smaller one."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")


def check_number(name: str, value: object) -> float:
    """The value; raises TypeError unless it is a number, and ValueError for NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return float(value)


def check_rate(name: str, value: object) -> None:
    """Raise unless ``value`` is a share that something random may drop: ``0 <= value < 1``."""
    if not 0.0 <= check_number(name, value) < 1.0:
        raise ValueError(f"{name} must lie in [0, 1), got {value}")


def check_share(name: str, value: object) -> None:
    """Raise unless ``0 <= value <= 1``."""
    if not 0.0 <= check_number(name, value) <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")


def check_part_of(name: str, value: object) -> None:
    """Raise unless ``0 < value < 1``: some of it, and not all."""
    if not 0.0 < check_number(name, value) < 1.0:
        raise ValueError(f"{name} must lie between 0 and 1, got {value}")


def check_positive(name: str, value: object) -> None:
    """Raise unless ``value`` is a finite number above 0."""
    if check_number(name, value) <= 0.0:
        raise ValueError(f"{name} must be positive, got {value}")


def check_not_negative(name: str, value: object) -> None:
    """Raise unless ``value`` is a finite number of at least 0."""
    if check_number(name, value) < 0.0:
        raise ValueError(f"{name} must be at least 0, got {value}")


def check_count(name: str, value: object) -> None:
    """Raise unless ``value`` is an int of at least 0."""
    check_int(name, value, 0)


def check_padding(name: str, value: object) -> None:
    """Raise unless ``value`` is how much is padded, an int of at least 0, or a word for what becomes of it, which the part knows."""
    if not isinstance(value, str):
        check_count(name, value)


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_some(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError unless ``value`` is a collection in which there is nothing but some of ``choices``."""
    if isinstance(value, str) or not isinstance(value, Collection) or not all(item in choices for item in value):
        raise ValueError(f"{name} must be some of {list(choices)}, got {value!r}")


def check_module(name: str, value: object) -> None:
    """Raise TypeError unless ``value`` is a module, and not its class, a factory or None."""
    if isinstance(value, nn.Module):
        return
    if isinstance(value, type):
        raise TypeError(f"{name} is the class {value.__name__}, not an instance of it: write {value.__name__}(...)")
    if callable(value):
        raise TypeError(f"{name} is the function {getattr(value, '__name__', value)}, it must be an nn.Module")
    raise TypeError(f"{name} must be an nn.Module, got {value!r}")


def check_callable(name: str, value: object) -> None:
    """Raise TypeError unless ``value`` can be called, as a factory, a function and a module can."""
    if not callable(value):
        raise TypeError(f"{name} must be something to call, such as a class or a function, got {value!r}")


def to_pair(size: int | tuple[int, int], name: str = "size", minimum: int = 1) -> tuple[int, int]:
    """``(height, width)`` from an int or a pair.

    Raises:
        TypeError: not an int or a pair of ints.
        ValueError: smaller than ``minimum``.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, (tuple, list)) else None
    if pair is None or len(pair) != 2 or not all(isinstance(s, int) and not isinstance(s, bool) for s in pair):
        raise TypeError(f"{name} must be an int or a (height, width) of ints, got {size!r}")
    if min(pair) < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {size!r}")
    return pair[0], pair[1]


def half_kernel(kernel_size: int) -> int:
    """The padding with which a convolution of stride 1 keeps the size.

    Raises:
        ValueError: an even kernel, which no padding on both sides can do that for.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
    return kernel_size // 2


_KINDS: dict[Check, str] = {
    check_int: """
        dim dims out_dim in_dim inner_dim other_dim hidden_dim bottleneck_dim emb_dim token_dim stem_dim stem_dims embedding_dim
        decoder_dim
        mlp_dim mlp_dims cls_mlp_dim enc_mlp_dim decoder_mlp_dim head_dim key_dim value_dim heads num_heads
        enc_heads decoder_heads
        cross_attn_heads channels in_channels out_channels image_channels width widths features groups count samples convs n_conv_layers
        num_hierarchies max_tokens_per_depth image_size img_size local_size size grid patch_size patch_sizes local_patch_size
        mask_patch_size window window_size window_sizes local_window_size global_window_size dilation reduction reductions multiple
        pretrained squeezed hidden head_hidden_dim
        kernel_size kernel_sizes emb_kernel proj_kernel peg_kernel_size pool_size pooling_kernel_size cross_embed_kernel_sizes global_k
        stride emb_stride kv_stride kv_proj_stride pool_stride pooling_stride cross_embed_strides t2t_layers output_channel_bits
        patch_stride query_stride neck_dim position_grid mixed_heads
        projection_hidden_size projection_layers projection_bottleneck_size num_classes_K epochs steps_per_epoch
    """,
    check_count: """
        num_classes depth depths cls_depth enc_depth decoder_depth cross_attn_depth num_layers block_repeats repeats num_prefix
        prefix_tokens emb_padding kv_padding kv_proj_padding pool_padding pooling_padding shift local_crops warmup_epochs
        freeze_epochs registers pretrained_windows global_blocks patch_padding query_pools
    """,
    check_padding: "padding",
    check_rate: "dropout head_dropout attn_dropout emb_dropout layer_dropout drop_path rate",
    check_share: """
        alpha momentum decay moving_average_decay center_moving_average_decay mask_prob replace_prob random_patch_prob solarize blur
    """,
    check_part_of: "masking_ratio",
    check_positive: """
        mlp_ratio mlp_ratios squeeze mlp_radio mlp_mult expansion attn_ratio base temperature student_temp teacher_temp warmup_teacher_temp
        max_pixel_val span limit global_lower_crop_scale local_upper_crop_scale std
    """,
    check_not_negative: "eps init_std",
    check_module: """
        attn mlp conv proj qkv embed transition local teacher student net tokenizer transformer rotary position_bias
        small_fusion large_fusion small large
    """,
    check_callable: """
        norm activation linear gate token_layer stem regions resize augment_fn augment_fn2 augment_local projection_norm decoder_norm
        decoder_activation neck_norm bias_factory pooling_block positions_rotary conv_block partitions qk_norm
    """,
    check_number: "branch_weight scale attn_scale layer_scale init init_weight weight_scale rescale mean",
}

WORDS: dict[str, Check] = {word: check for check, words in _KINDS.items() for word in words.split()}
"""What the arguments of constructors are checked by; ``s1_``, ``sm_`` and the like before a word say which stage or branch it is of."""


def check_words(args: Mapping[str, object]) -> None:
    """Check arguments by their names, each number of a list or tuple by itself. None, finished modules and
    words that are not known pass.

    Raises:
        TypeError: not a number where one is wanted.
        ValueError: out of range, NaN or infinite; the message names the argument, its value and the range.
    """
    for name, value in args.items():
        stage = match(r"(s\d|sm|lg)_", name)
        check = WORDS.get(name[stage.end() :] if stage else name)
        if check is not None:
            _each(check, name, value)


def _each(check: Check, name: str, value: object) -> None:
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _each(check, f"{name}[{i}]", item)
    elif value is not None and not isinstance(value, nn.Module):
        check(name, value)


def tracing() -> bool:
    """Whether ``torch.jit.trace`` runs, or the ONNX exporter that is built on it: sizes are tensors there."""
    return torch.jit.is_tracing()  # type: ignore[attr-defined]  # public by its documentation


def check_grid(grid: object) -> None:
    """Raise unless ``grid`` is ``(H, W)``, ``(K,)`` or ``(0, 0)``: TypeError where it is no tuple of ints, ValueError for others."""
    if type(grid) is tuple and len(grid) == 2 and type(grid[0]) is type(grid[1]) is int and grid[0] > 0 and grid[1] > 0:
        return  # what nearly all are, at no cost
    if tracing():
        return
    if not isinstance(grid, tuple) or not all(isinstance(side, int) for side in grid):
        raise TypeError(f"grid must be a tuple of ints (H, W), got {grid!r}")
    if not (1 <= len(grid) <= 2) or min(grid) < 0 or (0 in grid and any(grid)):
        raise ValueError(
            f"grid must be (H, W), or (K,) once tokens were dropped, or (0, 0) without patches, got {grid}"
        )


def check_tokens(x: object = None, grid: object = None) -> None:
    """Raise unless ``x`` is a float tensor ``(B, N, C)`` and ``grid`` a grid of at most N patches: what every layer is called with."""
    check_float(x, "x", "(batch, tokens, channels)", 3)
    check_grid(grid)
    if tracing():
        return
    assert isinstance(x, Tensor)
    assert isinstance(grid, tuple)
    if x.shape[1] < prod(grid):
        raise ValueError(f"x has {x.shape[1]} tokens, fewer than the {prod(grid)} patches of grid {grid}")


def check_image(image: object = None, name: str = "image") -> None:
    """Raise unless ``image`` is a float tensor ``(B, C, H, W)`` with pixels: TypeError for another type, ValueError for another shape."""
    check_float(image, name, "(batch, channels, height, width)", 4)
    if tracing():
        return
    assert isinstance(image, Tensor)
    if 0 in image.shape[1:]:
        raise ValueError(f"{name} must have pixels and channels, got shape {tuple(image.shape)}")


def check_float(x: object, name: str, axes: str, count: int, *, more: bool = False) -> None:
    """Raise unless ``x`` is a tensor of floats with so many axes, named in ``axes``, or ``more``."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor {axes}, got a {type(x).__name__}")
    if x.dim() < count or (x.dim() > count and not more):
        raise ValueError(f"{name} must be {axes}, got shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise TypeError(
            f"{name} must be of floats, got {x.dtype}: convert it, images to 0 ... 1, such as with x.float() / 255"
        )


def check_batch(images: Tensor, what: str) -> None:
    """Raise ValueError for an empty batch, of which ``what`` would be a mean of nothing."""
    if images.shape[0] == 0:
        raise ValueError(f"images must hold at least one image for {what}, got shape {tuple(images.shape)}")
