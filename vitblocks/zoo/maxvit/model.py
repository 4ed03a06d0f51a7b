"""MaxViT: Multi-Axis Vision Transformer (arXiv:2204.01697)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from torch import nn

from ...attention import GridWindows, Partition, SoftmaxAttend, WindowAttention, Windows
from ...block import Block
from ...checks import check_choice
from ...embed import Downsample, MapEmbed, OnMap
from ...embed.inverted_residual import make_divisible
from ...feedforward import Activation, Mlp, TanhGELU
from ...grid import Size, to_pair
from ...head import linear_head
from ...init import fan_out_conv, xavier_linear
from ...model import Model, Stage
from ...norm import NormFactory, layer_norm, map_layer_norm
from ...pool import MeanPool
from ...position import LogSpacedBias, RelativeBias
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from .layouts import LAYOUTS
from .origins import ORIGINS
from .parts import ConvNeXtBlock, ConvPadding, MBConv, convolution

BiasFactory: TypeAlias = Callable[[int], nn.Module]

_BATCH_NORM = partial(nn.BatchNorm2d, eps=1e-3)


@part
class MaxViT(Model):
    """Every block is a mobile convolution, attention in windows, and attention in a grid of tokens that lie far apart (Figure 2).

    A stage begins with a convolution of stride 2. Initialised as timm does: convolutions normal with variance 2 / fan out, Linears of
    blocks uniform by Xavier, biases zero. Every image size works: maps are padded to whole windows, and nobody attends to the padding.

    Args:
        num_classes: 0 for features.
        dims, depths: channels and blocks of each stage.
        stem_dims: channels of both convolutions of the stem.
        head_dim: channels of an attention head.
        window: of windows and grids, an int or a (height, width); as published, the image's sides over 32.
        mlp_ratio: hidden width of the feed-forwards over the channels.
        expansion: hidden channels of the mobile convolutions over their channels.
        expand_output: whether that counts the channels out, as the paper has it, or those in.
        squeeze: hidden channels of squeeze and excitation, over the channels out if ``expand_output``, else over the hidden channels.
        kernel_size: of the depthwise convolutions.
        conv_bias: whether projections of the mobile convolutions have a bias.
        stem_bias: whether the stem's convolutions have a bias.
        qkv_bias: whether the attentions' projections have a bias.
        channels: of the image.
        head_hidden_dim: the mean is normed and goes through a Linear of this width and a tanh; None: the map is normed before the mean.
        dropout: after the attention's projection, and both Linears of the feed-forward.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0.
        layer_scale: starting value of the layer scale of attentions and feed-forwards; None for none.
        image_size: what the model is made for, if that is known.
        padding: of convolutions, see :data:`~vitblocks.zoo.maxvit.parts.ConvPadding`.
        conv_norm: factory ``channels -> map module`` of the stem's and the mobile convolutions' norms.
        conv_activation, squeeze_activation, activation: factories, of stem and mobile convolutions, within squeeze and excitation, and of
            feed-forwards.
        norm: factory of all other norms.
        bias_factory: factory ``heads -> part`` of each position bias; a :class:`~vitblocks.RelativeBias` of the window if None.
        conv_block: factory of other convolutional blocks in place of mobile convolutions, called with channels in and out, ``stride=`` and
            ``drop_path=``: :class:`~vitblocks.zoo.maxvit.ConvNeXtBlock` is timm's MaxxViT.
        partitions: of the attentions that follow a convolutional block, each called with ``window``.

    Raises:
        ValueError: not as many ``dims`` as ``depths``, a width that does not divide into heads, or an unknown ``padding``.
    """

    layouts = LAYOUTS
    origins = ORIGINS

    def __init__(
        self,
        *,
        num_classes: int,
        dims: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (2, 2, 5, 2),
        stem_dims: tuple[int, int] = (64, 64),
        head_dim: int = 32,
        window: Size = 7,
        mlp_ratio: float = 4.0,
        expansion: float = 4.0,
        expand_output: bool = True,
        squeeze: float = 0.25,
        kernel_size: int = 3,
        conv_bias: bool = True,
        stem_bias: bool = True,
        qkv_bias: bool = True,
        channels: int = 3,
        head_hidden_dim: int | None = None,
        dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        image_size: Size | None = None,
        padding: ConvPadding = "same",
        conv_norm: NormFactory = _BATCH_NORM,
        conv_activation: Activation = TanhGELU,
        squeeze_activation: Activation = nn.SiLU,
        activation: Activation = TanhGELU,
        norm: NormFactory = layer_norm(1e-5),
        bias_factory: BiasFactory | None = None,
        conv_block: Callable[..., nn.Module] | None = None,
        partitions: Sequence[Callable[[tuple[int, int]], Partition]] = (Windows, GridWindows),
    ) -> None:
        check_choice("padding", padding, ("symmetric", "same"))
        size = to_pair(window, "window")
        rates = iter(drop_path_schedule(drop_path, sum(depths)))

        def mbconv(before: int, width: int, *, stride: int, drop_path: float) -> MBConv:
            hidden = make_divisible((width if expand_output else before) * expansion)
            return MBConv(
                before,
                width,
                hidden,
                int(squeeze * (width if expand_output else hidden)),
                stride=stride,
                kernel_size=kernel_size,
                bias=conv_bias,
                padding=padding,
                norm=conv_norm,
                activation=conv_activation,
                squeeze_activation=squeeze_activation,
                drop_path=drop_path,
            )

        def block(width: int, windows: Partition, rate: float) -> Block:
            heads = width // head_dim
            return Block(
                width,
                WindowAttention(
                    width,
                    heads,
                    windows=windows,
                    qkv_bias=qkv_bias,
                    proj=nn.Linear(width, width, bias=qkv_bias),
                    attend=SoftmaxAttend(dropout=attn_dropout),
                    position_bias=RelativeBias(heads, size) if bias_factory is None else bias_factory(heads),
                    dropout=dropout,
                ),
                Mlp(width, int(width * mlp_ratio), activation=activation, dropout=dropout),
                norm=norm,
                layer_scale=layer_scale,
                drop_path=rate,
            )

        def stage(before: int, width: int, depth: int) -> Stage:
            layers: list[nn.Module] = []
            for i in range(depth):
                rate = next(rates)
                make = mbconv if conv_block is None else conv_block
                conv = make(before if i == 0 else width, width, stride=2 if i == 0 else 1, drop_path=rate)
                layers += [Downsample(conv) if i == 0 else OnMap(conv)]
                layers += [block(width, partition(size), rate) for partition in partitions]
            return Stage(layers[1:], transition=layers[0])

        if any(depth < 1 for depth in depths):
            raise ValueError(f"every stage must have a block, got depths {tuple(depths)}")
        if any(width % head_dim for width in dims):
            raise ValueError(f"dims {tuple(dims)} do not divide into heads of {head_dim} channels")
        last, wide = dims[-1], head_hidden_dim
        pool = MeanPool() if wide is None else MeanPool(nn.Sequential(norm(last), nn.Linear(last, wide), nn.Tanh()))
        super().__init__(
            embed=MapEmbed(
                nn.Sequential(
                    nn.Sequential(
                        OrderedDict(
                            conv=convolution(channels, stem_dims[0], 3, stride=2, bias=stem_bias, padding=padding),
                            norm=conv_norm(stem_dims[0]),
                            act=conv_activation(),
                        )
                    ),
                    convolution(stem_dims[0], stem_dims[1], 3, bias=stem_bias, padding=padding),
                )
            ),
            stages=[stage(*sizes) for sizes in zip((stem_dims[1], *dims[:-1]), dims, depths, strict=True)],
            norm=norm(last) if wide is None else nn.Identity(),
            pool=pool,
            head=linear_head(last if wide is None else wide, num_classes),
            image_size=image_size,
        )
        self.apply(fan_out_conv)
        self.stages.apply(xavier_linear)


_SIZES = {
    "pico": {"dims": (32, 64, 128, 256), "depths": (2, 2, 5, 2)},
    "nano": {"dims": (64, 128, 256, 512), "depths": (1, 2, 3, 1)},
    "tiny": {"dims": (64, 128, 256, 512), "depths": (2, 2, 5, 2)},
    "small": {"dims": (96, 192, 384, 768), "depths": (2, 2, 5, 2)},
    "base": {"dims": (96, 192, 384, 768), "depths": (2, 6, 14, 2)},
    "large": {"dims": (128, 256, 512, 1024), "depths": (2, 6, 14, 2)},
    "xlarge": {"dims": (192, 384, 768, 1536), "depths": (2, 6, 14, 2)},
}


def _tf(size: str, stem: int, image_size: int) -> Variant:
    """With the authors' weights from TensorFlow."""
    sizes = _SIZES[size]
    options: dict[str, Any] = {"image_size": image_size, "window": image_size // 32, "stem_dims": (stem, stem)}
    return Variant(MaxViT, {**sizes, **options, "head_hidden_dim": sizes["dims"][-1]})


def _rw(size: str, stem: int, image_size: int, *, log_spaced: bool = True, **options: Any) -> Variant:
    """With weights that timm trained."""
    own: dict[str, Any] = {
        "image_size": image_size,
        "window": image_size // 32,
        "stem_dims": (stem, _SIZES["pico"]["dims"][0] if size == "pico" else 64),
        "expand_output": False,
        "squeeze": 1 / 16,
        "conv_bias": False,
        "stem_bias": False,
        "padding": "symmetric",
        "conv_norm": nn.BatchNorm2d,
        "conv_activation": nn.SiLU,
        "activation": nn.GELU,
        "norm": layer_norm(1e-6),
    }
    bias = {"bias_factory": partial(LogSpacedBias, span=None, limit=None)} if log_spaced else {}
    return Variant(MaxViT, {**_SIZES[size], **own, **bias, **options})


def _maxx(
    dims: tuple[int, ...], depths: tuple[int, ...], image_size: int, *, log_spaced: bool = True, grid_only: bool
) -> Variant:
    """timm's MaxxViT, of ConvNeXt's blocks; its second version attends in grids alone."""
    bias = {"bias_factory": partial(LogSpacedBias, span=None, limit=None)} if log_spaced else {}
    own: dict[str, Any] = {
        "image_size": image_size,
        "window": image_size // 32,
        "dims": dims,
        "depths": depths,
        "stem_dims": (dims[0] // 2, dims[0]),
        "stem_bias": False,
        "padding": "symmetric",
        "conv_norm": map_layer_norm,
        "conv_activation": nn.GELU,
        "conv_block": ConvNeXtBlock,
        "activation": nn.GELU,
        "norm": layer_norm(1e-6),
        "layer_scale": 1e-6,
    }
    return Variant(MaxViT, {**own, **bias, **({"partitions": (GridWindows,)} if grid_only else {})})


VARIANTS: Variants = {
    **{
        f"maxvit_{size}_tf_{image_size}": _tf(size, stem, image_size)
        for size, stem in {"tiny": 64, "small": 64, "base": 64, "large": 128, "xlarge": 192}.items()
        for image_size in (224, 384, 512)
    },
    "maxvit_nano_rw_256": _rw("nano", 32, 256, log_spaced=False),
    "maxvit_tiny_rw_224": _rw("tiny", 32, 224, log_spaced=False),
    "maxvit_rmlp_pico_rw_256": _rw("pico", 24, 256),
    "maxvit_rmlp_nano_rw_256": _rw("nano", 32, 256),
    "maxvit_rmlp_tiny_rw_256": _rw("tiny", 32, 256),
    "maxvit_rmlp_small_rw_224": _rw("small", 32, 224, layer_scale=1e-6),
    "maxvit_rmlp_base_rw_224": _rw("base", 32, 224, head_hidden_dim=768),
    "maxvit_rmlp_base_rw_384": _rw("base", 32, 384, head_hidden_dim=768),
    "maxxvit_rmlp_nano_rw_256": _maxx((64, 128, 256, 512), (1, 2, 3, 1), 256, grid_only=False),
    "maxxvit_rmlp_small_rw_256": _maxx((96, 192, 384, 768), (2, 2, 5, 2), 256, grid_only=False),
    "maxxvitv2_nano_rw_256": _maxx((96, 192, 384, 768), (1, 2, 3, 1), 256, log_spaced=False, grid_only=True),
    "maxxvitv2_rmlp_base_rw_224": _maxx((128, 256, 512, 1024), (2, 6, 12, 2), 224, grid_only=True),
    "maxxvitv2_rmlp_base_rw_384": _maxx((128, 256, 512, 1024), (2, 6, 12, 2), 384, grid_only=True),
}
