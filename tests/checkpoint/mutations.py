"""Checkpoints and files that somebody changed at random: whatever is in them, they load whole, or raise and leave the model as it was.

``python -m tests.checkpoint.mutations --cases 10000 --seed 0`` prints what came of it.
"""

from __future__ import annotations

import argparse
import json
import random
import warnings
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from tests.checkpoint.common import bits
from tests.zoo.tiny import TINY
from vitblocks import GatedMlp, TalkingHeadsAttention, ViT, checkpoint as ck, swap, swap_attention
from vitblocks.checkpoint.tensor_file import read_tensors, write_tensors

BAD: list[Callable[[Tensor], Any]] = [
    Tensor.to_sparse,
    lambda x: x.to("meta"),
    lambda x: x.to(torch.complex64),
    Tensor.int,
    Tensor.bool,
    lambda x: x * torch.nan,
    lambda x: x.double() * 1e300 * 1e100,
    lambda x: x[..., None],
    Tensor.flatten,
    lambda x: x[:1] if x.dim() else x,
    lambda x: x.new_zeros(0),
    lambda x: x.mT if x.dim() > 1 else x,
    lambda x: torch.cat([x, x], -1) if x.dim() else x,
    Tensor.half,
    lambda x: None,
    Tensor.tolist,
    lambda x: x.to(torch.float8_e5m2),
    lambda x: x.expand(2, *x.shape),
    lambda x: x.new_zeros(()),
    lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.qint8),
    lambda x: torch.nested.nested_tensor([x, x]) if x.dim() else x,
]
AROUND: list[Callable[[dict[str, Any]], Any]] = [
    lambda s: {"model": s},
    lambda s: {"model": s, "model_ema": s},
    lambda s: {f"module.{key}": value for key, value in s.items()},
    lambda s: {f"{key}.x": value for key, value in s.items()},
    lambda s: {f"{side}.{key}": value for key, value in s.items() for side in "ab"},
    lambda s: list(s.items()),
]
GRIDS: list[Any] = [2, (2, 2), (4, 1), {}, {"x": 2}, -1, "a", (1, 2, 3), 0, {"head.weight": 2}]

NONSENSE: list[Any] = [
    *(None, True, -1, 0, 1, 3, 10**12, 1.5, float("nan"), "", "x", "ViT", [], [1], {}),
    *(
        {"class": "Mlp"},
        {"tuple": [1]},
        {"name": "nn.GELU"},
        {"child": "x"},
        {"class": "ViT", "args": {}},
        {"shared": {}},
    ),
    {"partial": {"name": "LayerNorm"}, "args": {"eps": "x"}},
]


def outcome(model: nn.Module, load: Callable[[], Any], finite: bool) -> str:
    """How loading ended: "loaded", the class of an error, or what went wrong with it."""
    before = bits(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load()
    except (ValueError, TypeError) as error:
        return type(error).__name__ if bits(model) == before else f"changed by {error}"
    except Exception as error:
        return f"foreign {type(error).__name__}: {error}"
    if finite and not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        return "loaded what is not finite"
    return "loaded"


def checkpoints(cases: int, seed: int) -> Counter[str]:
    """State_dicts of the whole zoo in every layout, with a few entries changed, taken away, renamed or exchanged."""
    choose, found = random.Random(seed), Counter[str]()
    models = [tiny.build() for tiny in TINY.values()]
    pool = [(model, layout) for model in models if getattr(model, "layouts", {}) for layout in ck.layouts(model)]
    whole = [(model, layout, ck.export(model, layout), deepcopy(model.state_dict())) for model, layout in pool]
    for _ in range(cases):
        model, layout, state, start = choose.choice(whole)
        given: Any = dict(state)
        for key in choose.sample(list(state), min(choose.choice([0, 1, 1, 2, 5]), len(state))):
            kind = choose.random()
            value = given.pop(key)
            if kind < 0.8:
                given[key] = choose.choice(BAD)(value) if kind < 0.7 else choose.choice(list(state.values()))
            elif kind < 0.9:
                given[f"x.{key}"] = value
        if choose.random() < 0.3:
            given = choose.choice(AROUND)(given)
        options: dict[str, Any] = {name: choose.random() < 0.5 for name in ("strict", "resize", "check_values")}
        if choose.random() < 0.2:
            options["grid"] = choose.choice(GRIDS)
        found[
            outcome(
                model,
                lambda m=model, g=given, n=layout, o=options: ck.load(m, g, layout=n, **o),
                options["check_values"],
            )
        ] += 1
        model.load_state_dict(start)
    return found


def files(cases: int, seed: int) -> Counter[str]:
    """Files of ours in which what is written about the weights was changed."""
    choose, found = random.Random(seed), Counter[str]()
    with TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        model = vit()
        swap_attention(model, TalkingHeadsAttention, where=0)
        swap(model, "feedforward", GatedMlp, "stages.0.layers.3.mlp")
        ck.save(model, path)
        tensors, about = read_tensors(path)
        for _ in range(cases):
            key = choose.choice(["recipe", "swaps", "grids"])
            text = json.dumps(mutated(json.loads(about[key]), choose))
            write_tensors(path, tensors, {**about, key: text if choose.random() < 0.95 else text[:-2]})
            strict, resize = choose.random() < 0.7, choose.random() < 0.3
            target = vit()
            names = [name for name, _ in target.named_modules()]
            ended = outcome(
                target, lambda m=target, s=strict, r=resize: ck.load_file(m, path, strict=s, resize=r), True
            )
            if ended == "ValueError" and names != [name for name, _ in target.named_modules()]:
                ended = "swapped and not undone"
            found[ended] += 1
    return found


def vit() -> ViT:
    return ViT(image_size=8, patch_size=4, num_classes=3, dim=8, depth=1, heads=2, mlp_dim=16)


def mutated(data: Any, choose: random.Random) -> Any:
    """Plain data with one change somewhere."""
    if choose.random() < 0.2 or not isinstance(data, (dict, list)) or not data:
        if isinstance(data, str) and choose.random() < 0.6:
            at = choose.randrange(len(data) + 1)
            return data[:at] + choose.choice(["", ".", "0", "x", "__", "\0", "stages"]) + data[at + 1 :]
        if isinstance(data, int) and choose.random() < 0.6:
            return choose.choice([-data, data + 1, data * 1000, float(data), str(data), [data]])
        return deepcopy(choose.choice(NONSENSE))
    key: Any = choose.choice(list(data)) if isinstance(data, dict) else choose.randrange(len(data))
    copy, kind = data.copy(), choose.random()
    if kind < 0.1:
        del copy[key]
    elif kind < 0.2 and isinstance(copy, dict):
        copy[f"{key}x"] = copy.pop(key)
    else:
        copy[key] = mutated(copy[key], choose)
    return copy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for kind in (checkpoints, files):
        print(kind.__name__, dict(kind(asked.cases, asked.seed).most_common()))
