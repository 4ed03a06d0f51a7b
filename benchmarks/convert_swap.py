"""``python -m benchmarks.convert_swap``: the kinds that ``benchmarks.swap`` finds better trained from scratch, by ``convert`` instead.

The setting is that of ``benchmarks.swap``: the same digits, model, training, and steps after the swap. For each kind the plain swap is
fine-tuned; ``convert`` refits and trains with labels beside the original's answers; and a model that has the kind from the start is trained
for the steps of original and fine-tuning together. All but the plain swap are done once more, with an original that was trained twice as
long. ``--after`` says after how many epochs, each with a model of its own.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import nn

from vitblocks import swap_attention
from vitblocks.convert import Kind, Settings, convert

from .digits import digits, jitter
from .learning import BATCH, accuracy, steps_per_epoch
from .swap import KINDS, RATE, RATE_AFTER_SWAP, Bench, shown, vit
from .tables import markdown

LOST = ["reduced by 2", "convolutional projection", "kernel features"]


def converted(bench: Bench, original: nn.Module, name: str, epochs: int, rate: float) -> float:
    """The held-out accuracy after as many epochs' steps of training with labels; those held out are not looked at before."""
    make, options = KINDS[name]
    torch.manual_seed(bench.seed)
    done = convert(
        original,
        Kind(name, make, options()),
        bench.data.images,
        held_out=bench.data.images[:256],
        labels=bench.data.labels,
        augment=partial(jitter, generator=torch.default_generator),
        settings=Settings(distil=0, labels=epochs * steps_per_epoch(bench.data), lr=rate, batch=BATCH, seed=bench.seed),
    )
    return accuracy(done.model, bench.held_out)


def fine_tuned(bench: Bench, original: nn.Module, name: str, epochs: int) -> float:
    """The held-out accuracy of the plain swap, fine-tuned."""
    make, options = KINDS[name]
    model = deepcopy(original)
    swap_attention(model, make, sample=bench.data.images[:256], **options())
    return bench.train(model, epochs, RATE_AFTER_SWAP)


def measure(seed: int, epochs: int, after: Sequence[int], found: dict[tuple[str, int, str], list[float]]) -> None:
    """Every kind for one seed, into ``found`` by kind, epochs after the swap and what was done."""
    bench = Bench(seed, *digits(seed))
    torch.manual_seed(seed)
    originals = {1: vit(), 2: vit()}
    for times, model in originals.items():
        found["the original", 0, f"converted, {times}x"].append(bench.train(model, times * epochs, RATE))
    for name in LOST:
        for further in after:
            found[name, further, "fine-tuned"].append(fine_tuned(bench, originals[1], name, further))
            for times, model in originals.items():
                done = converted(bench, model, name, further, RATE_AFTER_SWAP)
                found[name, further, f"converted, {times}x"].append(done)
                torch.manual_seed(seed)
                anew = bench.train(vit(*KINDS[name]), times * epochs + further, RATE)
                found[name, further, f"from scratch, {times}x"].append(anew)
            print(seed, {key: values[-1] for key, values in found.items() if key[:2] == (name, further)}, flush=True)


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convert_swap", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10, help="of training before the swap")
    parser.add_argument("--after", nargs="+", type=int, default=[2], help="epochs after the swap")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    found: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for seed in range(options.seeds):
        measure(seed, options.epochs, options.after, found)
    columns = ["fine-tuned", "converted, 1x", "from scratch, 1x", "converted, 2x", "from scratch, 2x"]
    lines = [["attention", "epochs after", *columns]]
    for name, further in dict.fromkeys(key[:2] for key in found):
        cells = [shown(values) if (values := found.get((name, further, what))) else "" for what in columns]
        lines.append([name, str(further), *cells])
    print(markdown(lines))
    print(f"Held-out accuracy in percent, {options.seeds} seed(s), mean (least to most).")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
