"""``python -m benchmarks.pictures``: the pictures of docs/inspect.md, drawn by ``vitblocks.viz`` from small models.

Trains four of them on scanned digits first, dark on white: minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from vitblocks import (
    MAE,
    PEG,
    ATSViT,
    Block,
    CaiT,
    ClassPool,
    ClassToken,
    CompactStem,
    GlobalAttention,
    LayerNorm,
    Mlp,
    Model,
    Stage,
    ViT,
    attention_rollout,
    create_model,
    gradient_rollout,
    record_attention,
)
from vitblocks.viz import (
    class_attention_picture,
    head_grid,
    kept_tokens_picture,
    mask_picture,
    overlay,
    stage_diagram,
)
from vitblocks.viz.maps import answer_map

from .digits import Labelled, digits, jitter
from .learning import warmup_cosine

CLASSES = 10
SIZES: dict[str, Any] = {"image_size": 16, "patch_size": 2, "channels": 1, "dim": 64, "heads": 4, "mlp_dim": 128}

SIDES = ("left", "right")
DPI = 150

Draw = Callable[[int], tuple[Tensor, Tensor]]
"""So many images, and the digits they show from left to right, ``(B, digits)``."""


def scenes(data: Labelled, beside: int, generator: torch.Generator) -> Draw:
    """Images of so many digits side by side, dark on white, each turned, zoomed and shifted a little."""

    def draw(count: int) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(data.labels), (count, beside), generator=generator)
        images = torch.cat([jitter(data.images[one], generator) for one in chosen.T], dim=3)
        return 1 - images, data.labels[chosen]

    return draw


def fit(model: nn.Module, loss: Callable[[], Tensor], steps: int, learning_rate: float) -> None:
    """Train in place, and leave the model in eval mode."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, steps))
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


def classify(model: nn.Module, draw: Draw, steps: int, learning_rate: float = 3e-3, batch: int = 64) -> None:
    """Train to name the digits of an image, whatever their order."""

    def loss() -> Tensor:
        images, labels = draw(batch)
        return F.cross_entropy(model(images), shares(labels))

    fit(model, loss, steps, learning_rate)


def shares(labels: Tensor) -> Tensor:
    """The share of each class among the digits of an image: ``(B, 10)``."""
    return F.one_hot(labels, CLASSES).float().mean(dim=1)


@torch.no_grad()
def told(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """For which images the largest logits are those of all its digits: ``(B,)``."""
    best = model(images).topk(labels.shape[1], dim=1).indices
    return (best.sort(dim=1).values == labels.sort(dim=1).values).all(dim=1)


def stem() -> CompactStem:
    return CompactStem(64, channels=1, kernel_size=3, stride=1, padding=1)


def reader() -> Model:
    """A class token among patches whose positions a convolution tells, so that it reads images of any size."""

    def block() -> Block:
        return Block(64, GlobalAttention(64, heads=4), Mlp(64, 128), layer_scale=0.1)

    return Model(
        embed=stem(),
        stages=[Stage([PEG(64), block(), PEG(64), ClassToken(64), block(), block(), block()])],
        norm=LayerNorm(64),
        pool=ClassPool(),
        head=nn.Linear(64, CLASSES),
    )


def with_stem(model: Model) -> Model:
    """The model with overlapping convolutions in front: with these few images it learns much faster."""
    model.embed = stem()
    return model


def reader_pictures(train: Labelled, held_out: Labelled, generator: torch.Generator) -> dict[str, Figure]:
    """Rollouts for both digits of an image, and the heads of one patch."""
    model = reader()
    classify(model, scenes(train, 1, generator), steps=350)
    classify(model, scenes(train, 2, generator), steps=250, learning_rate=1e-3, batch=32)
    images, labels = scenes(held_out, 2, generator)(400)
    right = told(model, images, labels)
    print(f"both digits of a held-out pair told: {right.float().mean():.1%}", flush=True)
    chosen = right.nonzero()[:4, 0]
    images, labels = images[chosen], labels[chosen]
    maps = [answer_map(attention_rollout(model, images)).detach()]
    maps += [answer_map(gradient_rollout(model, images, digit)) for digit in labels.T]
    columns = ["attention\nrollout", *(f"gradient rollout\n{side} digit" for side in SIDES)]
    rows = [", ".join(map(str, digits)) for digits in labels.tolist()]
    with torch.no_grad(), record_attention(model) as records:
        model(images[:1])
    return {
        "rollout": overlay(images, torch.stack(maps, dim=1), columns=columns, rows=rows),
        "heads": head_grid(records[1:], images[0], 0, rows=[f"block {i}" for i in range(2, 5)]),
    }


def classifier_picture(
    model: Model,
    picture: Callable[[nn.Module, Tensor], Figure],
    data: tuple[Labelled, Labelled],
    generator: torch.Generator,
) -> Figure:
    """A picture of held-out digits by a model that has learned to tell them."""
    train, held_out = data
    classify(model, scenes(train, 1, generator), steps=350)
    images, labels = scenes(held_out, 1, generator)(400)
    print(f"{type(model).__name__}, held-out digits told: {told(model, images, labels).float().mean():.1%}", flush=True)
    return picture(model, images[:4])


def mae_picture(train: Labelled, held_out: Labelled, generator: torch.Generator) -> Figure:
    """Held-out digits from a quarter of their patches."""
    mae = MAE(ViT(**SIZES, num_classes=CLASSES, depth=4), decoder_dim=64, decoder_depth=2, decoder_heads=4, channels=1)
    draw = scenes(train, 1, generator)
    fit(mae, lambda: mae(draw(64)[0], generator=generator), steps=1200, learning_rate=2e-3)
    images, _ = scenes(held_out, 1, generator)(4)
    return mask_picture(mae.pictures(images, generator=generator), images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/images"), help="folder for the pictures")
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    data, generator = digits(0), torch.Generator().manual_seed(0)

    def save(name: str, figure: Figure) -> None:
        figure.savefig(folder / f"{name}.png", dpi=DPI, pil_kwargs={"optimize": True})
        print(folder / f"{name}.png", flush=True)

    save("stages", stage_diagram(create_model("twins_svt_small")))
    for name, figure in reader_pictures(*data, generator).items():
        save(name, figure)
    cait = with_stem(CaiT(**SIZES, num_classes=CLASSES, depth=3, cls_depth=2, layer_scale=0.1))
    save("class_attention", classifier_picture(cait, class_attention_picture, data, generator))
    ats = with_stem(ATSViT(**SIZES, num_classes=CLASSES, depth=4, max_tokens_per_depth=(None, 48, 32, 16)))
    save("kept_tokens", classifier_picture(ats, kept_tokens_picture, data, generator))
    save("mae", mae_picture(*data, generator))


if __name__ == "__main__":
    main()
