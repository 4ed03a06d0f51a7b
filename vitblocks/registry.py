"""Parts and published variants by name: ``@part``, ``create_model("cait_s24_224")``, ``list_models("cait*")``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache, reduce
from importlib import import_module
from inspect import signature, unwrap
from re import match
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .recipe.part import list_parts, part

if TYPE_CHECKING:  # every part imports this module for @part
    from .model import Model
    from .zoo import CrossViT

__all__ = ["ZOO", "Variant", "Variants", "create_model", "list_models", "list_parts", "part", "variants"]

ZOO = (
    "beit",
    "cait",
    "cct",
    "clip",
    "cross_vit",
    "crossformer",
    "cvt",
    "deepvit",
    "deit3",
    "dinov2",
    "dinov3",
    "distill",
    "eva",
    "flexivit",
    "hiera",
    "levit",
    "local_vit",
    "maxvit",
    "mobile_vit",
    "nest",
    "pit",
    "regionvit",
    "rope_vit",
    "sam",
    "siglip",
    "swin",
    "swin_v2",
    "t2t",
    "twins_svt",
    "vit",
    "xcit",
)
"""The zoo modules that hold a table ``VARIANTS``."""


class Variant(NamedTuple):
    """What a published variant is built by, and with which sizes."""

    build: Callable[..., Any]  # a Model, but for CrossViT, whose two towers are a class of their own
    options: Mapping[str, Any]


Variants: TypeAlias = dict[str, Variant]


@cache
def variants() -> Variants:
    """Every published variant, from the table of each zoo module.

    Raises:
        ValueError: two zoo modules name the same variant.
    """
    table: Variants = {}
    for module in ZOO:
        own: Variants = import_module(f".zoo.{module}", __package__).VARIANTS
        if twice := table.keys() & own.keys():
            raise ValueError(f"zoo.{module} names variants that another module names too: {sorted(twice)}")
        table.update(own)
    return table


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """The names of the published variants that match a shell pattern, sorted; every one by default.

    With ``pretrained`` those of published weights, ``"vit_tiny_patch16_224.augreg_in21k"``: ``vitblocks.border.published()`` says where
    they lie, under which licence, for how many classes, and what they want done to images.
    """
    names = _published() if pretrained else variants()
    return sorted(name for name in names if fnmatchcase(name, pattern))


def _published() -> Mapping[str, Any]:
    from .border import published  # which builds models by their names

    return published()


OURS = {
    "in_chans": "channels",
    "in_channels": "channels",
    "img_size": "image_size",
    "embed_dim": "dim",
    "num_heads": "heads",
    "dim_head": "head_dim",
    "drop_path_rate": "drop_path",
    "drop_rate": "dropout",
    "proj_drop_rate": "dropout",
    "proj_drop": "dropout",
    "attn_drop_rate": "attn_dropout",
    "attn_drop": "attn_dropout",
    "pos_drop_rate": "emb_dropout",
    "global_pool": "pool",
    "init_values": "layer_scale",
    "act_layer": "activation",
    "norm_layer": "norm",
    "embed_layer": "embed",
    "patch_height": "patch_size",
    "patch_width": "patch_size",
    "image_height": "image_size",
    "image_width": "image_size",
    "class_token": "pool",
    "num_registers": "prefix_tokens",
    "num_register_tokens": "prefix_tokens",
    "reg_tokens": "prefix_tokens",
    "depths": "depth",
}
"""What timm and vit-pytorch call an argument, and what it is called here."""

_ELSEWHERE = {
    "checkpoint_path": "weights are fresh: put a file's in with vitblocks.checkpoint.load_file",
    "pretrained_cfg": "weights are fresh: put published ones in with vitblocks.checkpoint.load(model, state_dict, layout=...)",
    "features_only": "every model has feature_maps(image)",
    "out_indices": "every model has feature_maps(image)",
    "scriptable": "every model can be traced, exported and compiled as it is",
    "exportable": "every model can be traced, exported and compiled as it is",
    "dynamic_img_size": "every model takes the sizes that its parts take",
    "strict_img_size": "every model takes the sizes that its parts take",
    "weight_init": "a variant is initialised as published",
}
"""Arguments of timm for which there is something else than an argument."""


def create_model(
    name: str, num_classes: int | None = None, *, pretrained: bool = False, **overrides: Any
) -> Model | CrossViT:
    """A published variant with fresh weights: a :class:`~vitblocks.Model`, or a :class:`~vitblocks.CrossViT`.

    Args:
        name: as :func:`list_models` gives it, a variant or published weights of one.
        num_classes: as published if None, which is 1000 for most; 0 for features.
        pretrained: with its published weights, downloaded (extra ``hub``). Another ``num_classes`` than theirs has a fresh head, another
            ``image_size`` resized positions. :func:`vitblocks.load_model` takes other sources.
        overrides: arguments of the zoo class to change (``drop_path=0.1``, ``image_size=384``).

    Raises:
        ValueError: no variant of this name, or no published weights of it; the message names close ones.
        TypeError: an override that the zoo class does not take; of those of timm and vit-pytorch the message says what is ours.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be one of vitblocks.list_models(), got {name!r}")
    table = variants()
    weights = _published().get(name)
    if pretrained or weights is not None:
        from .border.published import weights_of

        weights = weights_of(name)
        overrides.setdefault("num_classes", weights.num_classes)
        name = weights.variant
    if name not in table:
        close = get_close_matches(name, table, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "see vitblocks.list_models()"
        raise ValueError(f"no published variant is called {name!r}; {hint}")
    variant = table[name]
    options = {"num_classes": 1000, **variant.options, **overrides}
    if num_classes is not None:
        options["num_classes"] = num_classes
    taken = taken_by(variant.build)
    if "image_size" in overrides and "image_size" not in taken:  # the compact transformers call it as their authors do
        options["img_size"] = options.pop("image_size")
    for word in options.keys() - taken:
        raise TypeError(f"{name} takes no {word!r}: {_instead(word, taken)}")
    model = variant.build(**options)
    if pretrained and weights is not None:
        from .border.loading import load_published

        load_published(weights, model)
    return model


def taken_by(build: Callable[..., Any]) -> set[str]:
    """The keywords that a class or a function takes, those of ``**options: Unpack[SomeOptions]`` too."""
    found: set[str] = set()
    for parameter in signature(build).parameters.values():
        options = match(r"Unpack\[([\w.]+)\]", str(parameter.annotation))
        if options is None:
            found.add(parameter.name)
        else:
            made_by: Any = unwrap(vars(build)["__init__"]) if isinstance(build, type) else build
            home, *path = options[1].split(".")
            named = reduce(getattr, path, made_by.__globals__[home])
            found |= named.__required_keys__ | named.__optional_keys__
    return found


def _instead(word: str, taken: set[str]) -> str:
    if word in _ELSEWHERE:
        return _ELSEWHERE[word]
    ours = OURS.get(word)
    if ours in taken or (ours == "image_size" and "img_size" in taken):
        return f"it is called {ours} here"
    close = get_close_matches(word, taken, n=3)
    return f"did you mean {', '.join(close)}?" if close else f"it takes {', '.join(sorted(taken))}"
