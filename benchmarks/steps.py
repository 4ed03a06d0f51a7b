"""``python -m benchmarks.steps``: docs/images/steps.png and steps_model.png, docs/learn.md's model from an image to its logits."""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange
from matplotlib.figure import Figure
from torch import Tensor, nn

from vitblocks import (
    Block,
    ClassPool,
    ClassToken,
    ConvEmbed,
    GlobalAttention,
    LayerNorm,
    LearnedPosition,
    Mlp,
    Model,
    Stage,
    extract,
)
from vitblocks.viz import stage_diagram

IMAGES = Path(__file__).parent.parent / "docs" / "images"
PATCH, SIZE = 8, (64, 48)


def page_model() -> Model:
    """The ViT of the page, with fresh weights."""
    torch.manual_seed(0)
    blocks = [Block(32, GlobalAttention(32, 4), Mlp(32)) for _ in range(4)]
    return Model(
        ConvEmbed(PATCH, 32),
        [Stage([LearnedPosition(32, (SIZE[0] // PATCH, SIZE[1] // PATCH)), ClassToken(32), *blocks])],
        norm=LayerNorm(32),
        pool=ClassPool(),
        head=nn.Linear(32, 10),
    )


def photograph() -> Tensor:
    """A flower that scikit-learn ships, ``(1, 3, 64, 48)`` from 0 to 1."""
    from sklearn.datasets import load_sample_image

    image = rearrange(torch.from_numpy(load_sample_image("flower.jpg").copy()), "h w c -> 1 c h w").float() / 255
    return nn.functional.interpolate(image[..., :, 120:440], SIZE, mode="area")


def steps(model: Model, image: Tensor) -> Figure:
    """The image in patches; the tokens of the embedder and of each block, a row for each token; the logits."""
    with torch.no_grad(), extract(model, ["embed", "stages.0.layers.*"]) as given:
        logits = model.eval()(image)[0]
    shown = {
        "embedded": "embed",
        "class token joins": "stages.0.layers.1",
        "block 1": "stages.0.layers.2",
        "block 4": "stages.0.layers.5",
    }
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.0, 1.15))
    left, right = above.subplots(1, 2)
    left.imshow(rearrange(image[0], "c h w -> h w c"), extent=(0, SIZE[1], SIZE[0], 0))
    left.set_xticks(range(0, SIZE[1] + 1, PATCH), labels=[])
    left.set_yticks(range(0, SIZE[0] + 1, PATCH), labels=[])
    left.grid(color="white", linewidth=0.8)
    left.set_title("8 x 6 patches", fontsize=9)
    right.bar(range(len(logits)), logits)
    right.set_xticks(range(len(logits)))
    right.tick_params(labelsize=8)
    right.set_title("10 logits", fontsize=9)
    for axes, (title, name) in zip(below.subplots(1, len(shown)), shown.items(), strict=True):
        tokens = given[name].x[0]
        axes.imshow(tokens, aspect="auto", cmap="RdBu", vmin=-2, vmax=2, interpolation="nearest")
        axes.set_title(title, fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(f"{tokens.shape[0]} x {tokens.shape[1]}", fontsize=8)
    return figure


def main() -> None:
    model = page_model()
    for name, figure in (
        ("steps", steps(model, photograph())),
        ("steps_model", stage_diagram(model, SIZE, width=3.4)),
    ):
        figure.savefig(IMAGES / f"{name}.png", dpi=130)
        print(IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
