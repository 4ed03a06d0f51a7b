"""The demo from beginning to end."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from .. import LocalWindowAttention, Model, load_model, swap_attention
from ..checkpoint import save_pretrained
from ..checkpoint.files import write_whole
from ..train import evaluate, load_data
from .cli import Options
from .hybrid import hybrid
from .layers import HEADINGS, Row, layer_rows, markdown
from .learning import PIXELS, SIDE, learn, pixels, predict
from .pictures import attention_picture, table_picture, training_picture

EPOCHS_AFTER_SWAP = 2


@dataclass(frozen=True)
class Results:
    """What the demo came to. Accuracies are of the images held out, those of models kept after the best epoch of a training on them."""

    seed: int
    epochs: int
    accuracy: float
    accuracy_of_the_last_epoch: float
    same_logits_after_reload: bool
    accuracy_right_after_swap: float
    steps_after_swap: int
    accuracy_after_those_steps: float

    def __str__(self) -> str:
        return (
            f"held-out accuracy: {self.accuracy:.2%} in the best epoch, {self.accuracy_of_the_last_epoch:.2%} in the last\n"
            f"with the last two blocks swapped to windows: {self.accuracy_right_after_swap:.2%}, "
            f"after {self.steps_after_swap} more steps {self.accuracy_after_those_steps:.2%}"
        )


def run(options: Options) -> int:
    """Everything the demo does; 1 if the weights that were read back gave other logits, else 0."""
    began = time.perf_counter()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    console = Console(quiet=options.quiet, highlight=False, markup=False, soft_wrap=True)
    folder = options.output
    data = load_data("digits", seed=options.seed)
    assert data.held_out is not None
    held_out = pixels(data.held_out)

    model = hybrid()
    rows = layer_rows(model, SIDE)
    console.print(layer_table(rows))
    table_picture(rows, folder / "model.png")
    write_whole(folder / "model.md", [f"{markdown(rows)}\n".encode()])

    console.print(f"{len(data.train)} scanned digits to train on, {len(data.held_out)} held out\n")
    train = partial(learn, model, data, seed=options.seed, quiet=options.quiet)
    result, history = train(epochs=options.epochs, lr=3e-3)
    assert result.accuracy is not None
    attention_picture(model, held_out, folder / "attention.png")

    same = survives_saving(model, folder / "hybrid", held_out.images)
    words = "the same logits, bit for bit" if same else "OTHER LOGITS"
    console.print(f"\nsaved to {folder / 'hybrid'}; read from there it gives {words}\n")

    report = swap_attention(model, LocalWindowAttention, where=slice(2, 4), sample=held_out.images, window=4)
    console.print(str(report))
    right_after = evaluate(model, data.held_out, PIXELS).accuracy
    after, later = train(epochs=EPOCHS_AFTER_SWAP, lr=5e-4)
    assert after.accuracy is not None
    training_picture(history, right_after, later, folder / "training.png")

    last = history[-1].accuracy
    results = Results(
        options.seed, options.epochs, result.accuracy, last, same, right_after, after.steps, after.accuracy
    )
    write_whole(folder / "results.json", [f"{json.dumps(asdict(results), indent=2)}\n".encode()])
    seconds = time.perf_counter() - began
    console.print(f"\n{results}\npictures in {folder}: attention.png, training.png, model.png ({seconds:.0f} s in all)")
    return 0 if same else 1


def layer_table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold cyan")
    for i, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if i > 2 else "left")
    for row in rows[:-1]:
        table.add_row(*row)
    table.add_row(*rows[-1], style="bold")
    return table


def survives_saving(model: Model, folder: Path, images: Tensor) -> bool:
    """Whether the model, saved and read from its folder, gives the same logits to the last bit."""
    save_pretrained(model, folder)
    return torch.equal(predict(model, images), predict(load_model(folder), images))
