"""``python -m benchmarks.savings``: what dropping tokens really saves, against the same model that keeps them all.

Adaptive token sampling (``ATSViT`` with ``drop_tokens=True``, sampling from the fourth block on) is timed in inference against a ViT of
the same size, MAE in a training step (forward and backward) against the same encoder on all tokens. Both of a pair run in turn; the
ratio is the median over pairs, above 1 where dropping is faster. Beside it stands the ratio of operations, which is what a perfect
implementation would save, and the peak memory of each.

How many tokens sampling keeps depends on where the class token looks. In a model with fresh weights it looks everywhere, so nearly all
patches are kept; *focused* is the same model with its logits multiplied, as a stand-in for one that has learned to look somewhere.

A table is printed, and written to the folder of ``--output`` as ``savings.md``, with ``savings.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitblocks import MAE, ATSViT, SimMIM, ViT
from vitblocks.attention import Attend
from vitblocks.objectives.encoder import Encoder

from .command import options_of, parser, ran_on
from .memory import peak_bytes, pin_allocator
from .pairing import Work, compare, operations, step
from .swap import machine
from .tables import markdown


@dataclass(frozen=True)
class Settings:
    """The model, and how long each pair is timed."""

    image_size: int = 224
    dim: int = 384
    depth: int = 12
    heads: int = 6
    decoder_dim: int = 192
    decoder_depth: int = 4
    batches: tuple[int, ...] = (1, 8)
    training_batch: int = 4
    seconds: float = 8.0
    device: str = "cpu"

    @property
    def model(self) -> dict[str, Any]:
        """The arguments that a ViT and an ATSViT share."""
        return {
            "image_size": self.image_size,
            "patch_size": 16,
            "num_classes": 1000,
            "dim": self.dim,
            "depth": self.depth,
            "heads": self.heads,
            "mlp_dim": 4 * self.dim,
        }

    @property
    def patches(self) -> int:
        return (self.image_size // 16) ** 2


@dataclass(frozen=True)
class Row:
    """A model that drops tokens against one that does not.

    Attributes:
        kept: of all patches, the part that is left at the end.
        fewer_operations: theirs divided by ours, as are the times in ``ratio``.
        low, high: the quartiles of the ratio over pairs.
    """

    what: str
    against: str
    batch: int
    kept: float
    fewer_operations: float
    ratio: float
    low: float
    high: float
    ours: float
    theirs: float
    our_bytes: int
    their_bytes: int


@dataclass(frozen=True)
class Pair:
    """Two works to compare, and how many of the patches the first keeps."""

    what: str
    against: str
    batch: int
    kept: Callable[[], float]
    ours: Work
    theirs: Work
    training: bool = False


def pixels(batch: int, settings: Settings) -> Tensor:
    return torch.randn(batch, 3, settings.image_size, settings.image_size, device=settings.device)


def focus(model: nn.Module, factor: float) -> nn.Module:
    """The model with its logits multiplied, so that its attention is on few keys."""
    for module in model.modules():
        if isinstance(module, Attend):
            module.scale = factor * (64**-0.5 if module.scale is None else module.scale)
    return model


def sampled(settings: Settings, points: Sequence[int]) -> ATSViT:
    """An ATSViT that samples at these points, one for each block from the fourth on."""
    model = ATSViT(
        **settings.model, max_tokens_per_depth=[None] * (settings.depth - len(points)) + [*points], drop_tokens=True
    )
    return model.to(settings.device).eval()


def sampling(settings: Settings) -> Iterator[Pair]:
    """Sampling against the dense ViT: at as many points as there are patches, at half as many, and at fewer in three steps."""
    blocks, patches = settings.depth - settings.depth // 4, settings.patches
    third = -(-blocks // 3)
    steps = [patches * 3 // 4] * third + [patches // 2] * third + [patches // 4] * (blocks - 2 * third)
    torch.manual_seed(0)
    dense = ViT(**settings.model).to(settings.device).eval()
    models = {
        "ATS, a point for each patch": sampled(settings, [patches] * blocks),
        "ATS, a point for each patch, focused": focus(sampled(settings, [patches] * blocks), 16.0),
        "ATS, points for half": sampled(settings, [patches // 2] * blocks),
        "ATS, points for 3/4, 1/2, 1/4": sampled(settings, steps),
    }
    for batch in settings.batches:
        images = pixels(batch, settings)
        for what, model in models.items():
            yield Pair(
                what,
                "dense ViT",
                batch,
                lambda model=model, images=images: left(model, images) / patches,  # type: ignore[misc]
                lambda model=model, images=images: model(images),  # type: ignore[misc]
                lambda images=images: dense(images),  # type: ignore[misc]
            )


def left(model: nn.Module, images: Tensor) -> int:
    """How many patches the last block of an ATSViT was given."""
    return int(model.encode(images)[1][0])  # type: ignore[operator]


def dense_encoder(settings: Settings) -> Encoder:
    """The encoder of a ViT, as an objective runs it."""
    return Encoder(ViT(**settings.model)).to(settings.device)


def mae(settings: Settings, **decoder: Any) -> MAE:
    return MAE(ViT(**settings.model), **decoder).to(settings.device)


def masking(settings: Settings) -> Iterator[Pair]:
    """MAE's encoder alone, and its whole step, against all tokens in the same encoder."""
    torch.manual_seed(0)
    images = pixels(settings.training_batch, settings)
    small = {"decoder_dim": settings.decoder_dim, "decoder_depth": settings.decoder_depth, "decoder_heads": 6}
    all_tokens, simmim = dense_encoder(settings), SimMIM(ViT(**settings.model)).to(settings.device)
    masked, whole = mae(settings, **small), mae(settings)

    def encoded() -> Tensor:
        return masked.encode(images, masked.shuffle(images)).square().mean()

    def densely() -> Tensor:
        return all_tokens(images, lambda x, grid: (x, grid))[0].square().mean()

    def kept() -> float:
        return masked.shuffle(images).kept.shape[1] / settings.patches

    widths = f"decoder {settings.decoder_dim} x {settings.decoder_depth}"
    encoder_step, simmim_step = step(densely, all_tokens), step(lambda: simmim(images), simmim)
    steps = {
        ("MAE's encoder alone", "encoder, all tokens"): (step(encoded, masked), encoder_step),
        (f"MAE, {widths}", "SimMIM"): (step(lambda: masked(images), masked), simmim_step),
        ("MAE, decoder 512 x 8", "SimMIM"): (step(lambda: whole(images), whole), simmim_step),
    }
    for (what, against), works in steps.items():
        yield Pair(what, against, settings.training_batch, kept, *works, training=True)


def measure(pair: Pair, settings: Settings) -> Row:
    device = torch.device(settings.device)
    with torch.inference_mode(not pair.training):
        found = compare(pair.ours, pair.theirs, device, seconds=settings.seconds)
        count, their_count = operations(pair.ours), operations(pair.theirs)
        most, their_most = peak_bytes(pair.ours, device), peak_bytes(pair.theirs, device)
        kept = pair.kept()
    return Row(
        pair.what,
        pair.against,
        pair.batch,
        kept,
        their_count / count,
        found.ratio,
        found.low,
        found.high,
        found.ours,
        found.theirs,
        most,
        their_most,
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as a markdown table."""
    lines = [
        ["drops tokens", "against", "batch", "patches left", "fewer operations", "faster", "ms", "MB at the peak"],
    ]
    for row in rows:
        lines.append(
            [
                row.what,
                row.against,
                str(row.batch),
                f"{100 * row.kept:.0f} %",
                f"{row.fewer_operations:.2f}",
                f"{row.ratio:.2f} ({row.low:.2f} to {row.high:.2f})",
                f"{1e3 * row.ours:,.0f} against {1e3 * row.theirs:,.0f}",
                f"{row.our_bytes / 1e6:,.1f} against {row.their_bytes / 1e6:,.1f}",
            ]
        )
    return markdown(lines, left=2)


def asked(arguments: Sequence[str] | None) -> tuple[Settings, Path]:
    options = options_of(parser("savings", "What dropping tokens saves.", "a tiny model, few pairs"), arguments)
    if options.quick:
        return Settings(64, 48, 4, 2, 24, 1, (2,), 2, seconds=0.0, device=options.device), options.output
    return Settings(device=options.device), options.output


def main(arguments: Sequence[str] | None = None) -> None:
    settings, folder = asked(arguments)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for pairs in (sampling, masking):
        for pair in pairs(settings):
            rows.append(measure(pair, settings))
            print(f"{pair.what}, batch {pair.batch}: {rows[-1].ratio:.2f}", flush=True)
    where = machine()
    words = f"{ran_on(where, settings.device)}; images of {settings.image_size}, {settings.dim} channels, {settings.depth} blocks, float32."
    results = {"machine": where, "settings": asdict(settings), "rows": [asdict(row) for row in rows]}
    (folder / "savings.json").write_text(json.dumps(results, indent=1) + "\n")
    report = f"{table(rows)}\n\n{words}\n"
    (folder / "savings.md").write_text(report)
    print(f"{report}written to {folder}: savings.md, savings.json")


if __name__ == "__main__":
    pin_allocator("benchmarks.savings")
    main()
