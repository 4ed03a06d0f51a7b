"""What is called: constructors of every part, layers, models, Attends, position biases, objectives, and ``create_model``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from inspect import signature
from math import inf, nan
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

import vitblocks
from tests.recipe.examples import dino, instances, vit
from tests.zoo.tiny import TINY
from vitblocks import MAE, MPP, DistillableViT, DistillWrapper, SimMIM, describe
from vitblocks.attention import Attend
from vitblocks.grid import num_prefix, to_pair
from vitblocks.objectives.views import ColorAugmentation, RandomCrop
from vitblocks.recipe.building import build_value
from vitblocks.recipe.limits import Limits
from vitblocks.recipe.part import signature_of
from vitblocks.recipe.values import PARTS, note_of
from vitblocks.zoo.levit import Shrink
from vitblocks.zoo.regionvit import CarriedPadding

from . import values
from .case import Case
from .values import GRIDS, Value, bad, odd, shown


@cache
def descriptions() -> dict[str, list[Mapping[str, Any]]]:
    """Valid calls of every part that has instances, by its name."""
    return {name: [describe(module) for module in modules] for name, modules in sorted(instances().items())}


@cache
def called(*names: str) -> list[nn.Module]:
    """Instances of the parts whose ``forward`` begins with these arguments, ready to be called."""
    found = [module for _, modules in sorted(instances().items()) for module in modules]
    return [module.eval() for module in found if forward_names(module)[: len(names)] == names]


def forward_names(module: nn.Module) -> tuple[str, ...]:
    return tuple(signature(module.forward).parameters)


def constructor(rng: Random) -> Case:
    """A constructor with one argument changed; where it takes that, what it made is called."""
    name = rng.choice(list(descriptions()))
    data = rng.choice(descriptions()[name])
    kind, given = PARTS[name], data["args"]
    parameters = signature_of(kind).parameters
    names = sorted(
        {*given, *(p for p, q in parameters.items() if q.kind.name not in ("VAR_KEYWORD", "VAR_POSITIONAL"))}
    )
    if not names:
        return Case(f"{name}()", "nothing", False, kind)
    word = rng.choice(names)
    now, parameter = given.get(word), parameters.get(word)
    items = now.get("tuple") if isinstance(now, Mapping) else now if isinstance(now, list) else None
    if items and isinstance(items[0], (int, float)) and rng.random() < 0.5:
        place = rng.randrange(len(items))
        change = rng.choice(values.values_for(word, items[place], None))
        new: Any = tuple(change.value if i == place else item for i, item in enumerate(items))
        said = f"{word}[{place}]"
    else:
        change = rng.choice(values.values_for(word, now, parameter))
        new, said = change.value, word

    def run() -> Any:
        made = {key: build_value(item, Limits()) for key, item in given.items() if key != word}
        module = kind(**made, **{word: deepcopy(new)}) if not word.startswith("*") else kind(*new, **made)
        return use(module)

    return Case(f"{name}({said}=)", str(change), change.nonsense, run)


FUNCTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "drop_path_schedule": (vitblocks.drop_path_schedule, {"rate": 0.1, "depth": 3}),
    "linear_head": (vitblocks.linear_head, {"dim": 8, "num_classes": 3}),
    "layer_norm": (vitblocks.layer_norm, {"eps": 1e-6}),
    "rms_norm": (vitblocks.rms_norm, {"eps": 1e-6}),
    "Windows": (vitblocks.Windows, {"size": (2, 3)}),
    "ShiftedWindows": (vitblocks.ShiftedWindows, {"size": (2, 3), "shift": (1, 1)}),
    "DilatedWindows": (vitblocks.DilatedWindows, {"size": (2, 3), "dilation": (2, 2)}),
    "CarriedPadding": (CarriedPadding, {"size": (2, 3)}),
    "Shrink": (Shrink, {"key_dim": 4, "heads": 2, "attn_ratio": 4.0, "mlp_mult": 2.0, "stride": 2}),
    "RandomCrop": (RandomCrop, {"size": (8, 8), "scale": (0.5, 1.0)}),
    "ColorAugmentation": (ColorAugmentation, {"size": (8, 8), "blur": 0.5, "solarize": 0.1}),
    "num_prefix": (num_prefix, {"x": torch.zeros(2, 17, 8), "grid": (4, 4)}),
    "to_pair": (to_pair, {"size": (2, 3)}),
}
"""Functions and values that are no modules, each with valid arguments."""

SIZES = ("size", "shift", "dilation")


def function(rng: Random) -> Case:
    """A function or a value with one argument changed."""
    name = rng.choice(sorted(FUNCTIONS))
    call, given = FUNCTIONS[name]
    word = rng.choice(sorted(given))
    if word == "grid":
        change = rng.choice(GRIDS)
    elif word == "x":
        change = Value(rng.choice([torch.zeros(2, 17, 8), torch.zeros(2, 20, 8)]), False)
    else:
        change = rng.choice(values.SIZES if word in SIZES else values.values_for(word, given[word], None))
    if isinstance(given[word], tuple) and word == "scale":
        change = Value((change.value, 1.0), change.nonsense)
    result = None if name in ("layer_norm", "rms_norm") else 0

    def run() -> Any:
        made = call(**{**given, word: change.value})
        return made(8)(torch.randn(2, 8)) if result is None else made

    return Case(f"{name}({word}=)", str(change), change.nonsense, run)


def use(module: Any) -> Any:
    """What a part gives, called as it is meant to be."""
    if not isinstance(module, nn.Module):
        return None
    names = forward_names(module.eval())
    args = (note_of(module) or {}).get("args", {})
    dim = args.get("dim", 16)
    dim = dim if isinstance(dim, int) else 16
    with torch.no_grad():
        if names[:2] == ("x", "grid"):
            return module(torch.randn(2, 16, dim), (4, 4))
        if names[:1] == ("image",):
            size = getattr(module, "image_size", None) or (32, 32)
            channels = args.get("image_channels", args.get("channels", 3))
            return module(torch.randn(2, channels if isinstance(channels, int) else 3, *size))
        if names[:2] == ("grid", "prefix"):
            return module((4, 4), 1)
        if names[:4] == ("q", "k", "v", "bias"):
            heads, head_dim = args.get("heads", 2), args.get("head_dim", 8)
            return module(*(torch.randn(2, heads, 5, head_dim) for _ in range(3)))
    return None


def layer(rng: Random) -> Case:
    """A layer, transition or pool with its tokens or its grid changed."""
    module = rng.choice(called("x", "grid"))
    args = (note_of(module) or {}).get("args", {})
    has_dim = isinstance(args.get("dim"), int)
    dim = args["dim"] if has_dim else 16
    prefix = rng.choice((0, 1, 4))
    if rng.random() < 0.5:
        changed, x, grid = "x", values.tokens(rng, prefix + 16, dim, has_dim=has_dim), Value((4, 4), False)
    else:
        changed, x, grid = "grid", Value(torch.randn(2, prefix + 16, dim), False), rng.choice(GRIDS)
    change = x if changed == "x" else grid
    return Case(
        f"{type(module).__name__}.forward({changed}=)",
        str(change),
        change.nonsense,
        lambda: module(x.value, grid.value),
    )


@cache
def plain() -> list[nn.Module]:
    """Parts that are called with tokens or features alone, but for those whose ``forward`` is PyTorch's own."""
    found = [*called("x"), *called("features")]
    return [
        module for module in found if len(forward_names(module)) == 1 and hasattr(type(module).forward, "__wrapped__")
    ]


def plain_part(rng: Random) -> Case:
    """A norm, a scale, an activation or a head with its tokens or features changed."""
    module = rng.choice(plain())
    args = (note_of(module) or {}).get("args", {})
    width = args.get("dim", args.get("in_dim", args.get("heads", 8)))
    has_dim = isinstance(args.get("dim", args.get("in_dim")), int)
    x = values.tokens(rng, 16, width if isinstance(width, int) else 8, has_dim=has_dim)
    flat = isinstance(x.value, Tensor) and x.value.is_floating_point() and x.value.dim() in (0, 2, 4)
    return Case(f"{type(module).__name__}.forward()", str(x), x.nonsense and not flat, lambda: module(x.value))


def model(rng: Random) -> Case:
    """A model of the zoo with its image changed."""
    name = rng.choice(sorted(TINY))
    module, size = tiny(name), TINY[name].image_size
    image = values.images(rng, 3, (size, size))
    method = rng.choice(["forward", "forward_features", "encode", "feature_maps"])
    call = getattr(module, method, module)
    return Case(f"{name}.{method}(image=)", str(image), image.nonsense, lambda: call(image.value))


@cache
def tiny(name: str) -> nn.Module:
    return TINY[name].build().eval()


@cache
def attends() -> list[Attend]:
    return [module for _, all_of in sorted(instances().items()) for module in all_of if isinstance(module, Attend)]


def attend(rng: Random) -> Case:
    """An Attend with queries, keys, values or the bias changed."""
    module = rng.choice(attends())
    args = (note_of(module) or {}).get("args", {})
    heads, dim = args.get("heads", 2), args.get("head_dim", 8)
    given: list[Any] = [
        torch.randn(2, heads, 5, dim),
        torch.randn(2, heads, 7, dim),
        torch.randn(2, heads, 7, dim),
        None,
    ]
    place = rng.randrange(4)
    old, allowed = given[place], torch.rand(5, 7) < 0.5
    allowed[:, 0] = True
    nothing = allowed & (torch.arange(5) > 0)[:, None]
    if place < 3:
        change = rng.choice(
            bad(
                None,
                3,
                old[0, 0],
                old.long(),
                old > 0,
                old.to(torch.complex64),
                old.numpy(),
                [old],
                old[:, :, :, :0].mean(),
            )
            + (bad(old[:, :, :-2], old[:, :, :1], old[:, :1]) if place > 0 else bad(old[:, :1], old[..., :3]))
            + odd(old, old * 0, old[:0], old * 100)
        )
    else:
        change = rng.choice(
            bad(3, "mask", allowed.long(), allowed.numpy(), torch.randn(5, 5), torch.randn(7, 7), torch.randn(3, 5, 7))
            + odd(
                allowed,
                allowed[None, None],
                nothing,
                torch.zeros(5, 7).masked_fill(~nothing, -inf),
                torch.randn(5, 7),
                torch.randn(heads, 5, 7),
                torch.randn(1, 7),
                torch.randn(7),
            )
        )
    given[place] = change.value
    name = ("q", "k", "v", "bias")[place]
    call = rng.choice([module.forward, module.weights]) if place == 3 and not change.nonsense else module.forward
    arguments = [given[0], given[1], given[3]] if call == module.weights else given
    return Case(f"{type(module).__name__}({name}=)", str(change), change.nonsense, lambda: call(*arguments))


def position_bias(rng: Random) -> Case:
    """A position bias asked for another grid, or for another number of prefix tokens."""
    module = rng.choice(called("grid", "prefix"))
    if rng.random() < 0.5:
        grid = rng.choice([value for value in GRIDS if value.value not in ((40, 40), (1000,))])
        return Case(f"{type(module).__name__}(grid=)", str(grid), grid.nonsense, lambda: module(grid.value, 1))
    prefix = rng.choice(bad(-1, "1", 1.5, None, nan) + odd(0, 1, 4))
    return Case(f"{type(module).__name__}(prefix=)", str(prefix), prefix.nonsense, lambda: module((4, 4), prefix.value))


@cache
def objectives() -> dict[str, nn.Module]:
    return {
        "MAE": MAE(vit(), decoder_dim=16, decoder_depth=1, decoder_heads=2),
        "SimMIM": SimMIM(vit(), mask_patch_size=16),
        "MPP": MPP(vit()),
        "Dino": dino(augment_fn=nn.Identity()),
        "DistillWrapper": DistillWrapper(vit(DistillableViT), vit(depth=1)),
    }


def objective(rng: Random) -> Case:
    """An objective with its images or its mask, labels or corruption changed."""
    name = rng.choice(sorted(objectives()))
    module = objectives()[name].train()
    options: dict[str, Any] = {"labels": torch.tensor([0, 1])} if name == "DistillWrapper" else {}
    if rng.random() < 0.6:
        image = values.images(rng, 3, (32, 32))
        if isinstance(image.value, Tensor) and image.value.dim() == 4 and image.value.shape[0] == 0:
            image = Value(image.value, True)
        if options and isinstance(image.value, Tensor) and image.value.dim() > 0:
            options = {"labels": torch.zeros(image.value.shape[0], dtype=torch.long)}
        return Case(f"{name}(images=)", str(image), image.nonsense, lambda: module(image.value, **options))
    word = {"MAE": "mask", "SimMIM": "mask", "MPP": "corruption", "DistillWrapper": "labels"}.get(name, "images")
    hidden = torch.zeros(2, 16).bool()
    hidden[:, :12] = True
    change = rng.choice(
        bad(
            3,
            "mask",
            hidden[:, :7],
            hidden.float() * 3,
            torch.full((2, 16), nan),
            [hidden],
            hidden[:1],
            hidden.tolist(),
        )
        + (odd(None, hidden, hidden.long(), hidden.view(2, 4, 4)) if word == "mask" and name == "MAE" else [])
        + (
            bad(*(torch.tensor(of) for of in ([0, 5], [-1, 2], [0.5, 1.0], [True, False], [0, 1, 2])))
            if word == "labels"
            else []
        )
        + (
            bad([], [torch.randn(2, 3, 32, 32)], [torch.randn(2, 3, 32, 32), torch.randn(3, 3, 32, 32)], [1, 2])
            if word == "images"
            else []
        )
        + (odd([torch.randn(2, 3, 32, 32)] * 2) if word == "images" else [])
    )
    if name == "MAE" and rng.random() < 0.3:
        word = "noise"
        change = rng.choice(
            bad(3, "noise", torch.rand(2, 7), torch.rand(16), [0.5]) + odd(torch.rand(2, 16), torch.zeros(2, 16))
        )
    return Case(
        f"{name}({word}=)",
        str(change),
        change.nonsense,
        lambda: module(torch.randn(2, 3, 32, 32), **{word: change.value}) if word != "images" else module(change.value),
    )


KEYWORDS: dict[str, list[Value]] = {
    "num_classes": bad(-1, "10", 2.5, nan, (5,), {}) + odd(0, 1, 10),
    "image_size": bad(-1, 0, "224", (224,), (1, 2, 3), 2.5, (0, 224)) + odd(64, 224, (224, 192), 225, 7),
    "drop_path": bad(-0.1, 1.5, nan, "0.1") + odd(0.0, 0.1),
    "dropout": bad(-0.1, 1.5, nan, "0.1") + odd(0.0, 0.1),
    "channels": bad(-1, 0, "3", 2.5, nan) + odd(1, 4),
    **{
        word: bad(1, None, True, "x")
        for word in (
            *(
                "in_chans",
                "img_size_",
                "drop_path_rate",
                "global_pool",
                "drop_rate",
                "embed_dim",
                "colour",
                "patch",
                "",
            ),
            *(
                "num_class",
                "emb_dropout_",
                "features_only",
                "checkpoint_path",
                "class_token_",
                "reg_tokens",
                "dim_head",
                "frames",
            ),
        )
    },
}


def create(rng: Random) -> Case:
    """``create_model`` with a name or a keyword changed, on the meta device."""
    names = vitblocks.list_models()
    if rng.random() < 0.2:
        name = rng.choice(names)
        wrong: Any = rng.choice(
            [
                name[:-1],
                name.upper(),
                name + "x",
                "",
                None,
                3,
                "resnet50",
                [name],
                "../" + name,
                b"vit",
                name + "\0",
                1.5,
            ]
        )
        return Case("create_model(name=)", shown(wrong), True, lambda: vitblocks.create_model(wrong))
    name, word = rng.choice(names), rng.choice(sorted(KEYWORDS))
    change = rng.choice(KEYWORDS[word])

    def run() -> Any:
        options: dict[str, Any] = {word: change.value}
        with torch.device("meta"):
            return vitblocks.create_model(name, **options) and None

    return Case(f"create_model({word}=)", f"{name}, {change}", change.nonsense, run)


KINDS: dict[str, Callable[[Random], Case]] = {
    "functions and values": function,
    "norms, scales and heads": plain_part,
    "constructors of parts and models": constructor,
    "layers, transitions and pools": layer,
    "models": model,
    "Attends": attend,
    "position biases": position_bias,
    "objectives": objective,
    "create_model": create,
}
"""The rows of the table."""

SHARES = {"constructors of parts and models": 9, "layers, transitions and pools": 5, "models": 2, "create_model": 1}
"""How often each is tried, against once."""


def cases(first: int, last: int, seed: int) -> Iterator[tuple[int, str, Case]]:
    """Cases by number: each depends on the seed and its number alone."""
    weights = [SHARES.get(kind, 1) for kind in KINDS]
    for number in range(first, last):
        rng = Random(f"{seed} {number}")
        torch.manual_seed(rng.randrange(2**31))
        (kind,) = rng.choices(list(KINDS), weights)
        yield number, kind, KINDS[kind](rng)
