"""The demo from beginning to end."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor

from .. import LocalWindowAttention, Model, swap_attention
from ..checkpoint import load_file, save
from ..checkpoint.files import write_whole
from .cli import Options
from .digits import SIDE, Labelled, digits
from .hybrid import hybrid
from .layers import HEADINGS, Row, layer_rows, markdown
from .pictures import attention_picture, table_picture, training_picture
from .train import Epoch, accuracy, predict, steps_per_epoch, train

EPOCHS_AFTER_SWAP = 2


@dataclass(frozen=True)
class Task:
    """What is trained on, what is held out, and where the trainer's randomness and words go."""

    data: Labelled
    held_out: Labelled
    generator: torch.Generator
    console: Console

    def train(self, name: str, model: Model, *, epochs: int, learning_rate: float) -> list[Epoch]:
        """Train with a progress bar."""
        words = "{task.fields[loss]}  {task.fields[told]}"
        columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn(words))
        history = []
        with Progress(*columns, console=self.console, disable=self.console.quiet) as progress:
            bar = progress.add_task(name, total=epochs * steps_per_epoch(self.data), loss="", told="")
            for epoch in train(
                model,
                self.data,
                self.held_out,
                epochs=epochs,
                generator=self.generator,
                learning_rate=learning_rate,
                on_step=lambda: progress.advance(bar),
            ):
                history.append(epoch)
                progress.update(bar, loss=f"loss {epoch.loss:.3f}", told=f"held out {epoch.accuracy:.2%}")
        return history


@dataclass(frozen=True)
class Results:
    """What the demo came to."""

    seed: int
    epochs: int
    accuracy: float
    same_logits_after_reload: bool
    accuracy_right_after_swap: float
    steps_after_swap: int
    accuracy_after_those_steps: float

    def __str__(self) -> str:
        return (
            f"held-out accuracy: {self.accuracy:.2%}\n"
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
    task = Task(*digits(options.seed), torch.Generator().manual_seed(options.seed), console)

    model = hybrid()
    rows = layer_rows(model, SIDE)
    console.print(layer_table(rows))
    table_picture(rows, folder / "model.png")
    write_whole(folder / "model.md", [f"{markdown(rows)}\n".encode()])

    console.print(f"{len(task.data.labels)} scanned digits to train on, {len(task.held_out.labels)} held out\n")
    history = task.train("training  ", model, epochs=options.epochs, learning_rate=3e-3)
    attention_picture(model, task.held_out, folder / "attention.png")

    same = survives_saving(model, folder / "hybrid.safetensors", task.held_out.images)
    words = "the same logits, bit for bit" if same else "OTHER LOGITS"
    console.print(f"\nweights saved to {folder / 'hybrid.safetensors'}; read into a fresh model they give {words}\n")

    report = swap_attention(model, LocalWindowAttention, where=slice(2, 4), sample=task.held_out.images, window=4)
    console.print(str(report))
    right_after = accuracy(model, task.held_out)
    later = task.train("after swap", model, epochs=EPOCHS_AFTER_SWAP, learning_rate=5e-4)
    training_picture(history, right_after, later, folder / "training.png")

    steps = EPOCHS_AFTER_SWAP * steps_per_epoch(task.data)
    results = Results(options.seed, options.epochs, history[-1].accuracy, same, right_after, steps, later[-1].accuracy)
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


def survives_saving(model: Model, path: Path, images: Tensor) -> bool:
    """Whether the weights, saved and read into a model that was made anew, give the same logits to the last bit."""
    save(model, path)
    fresh = hybrid()
    load_file(fresh, path)
    return torch.equal(predict(model, images), predict(fresh, images))
