"""``python -m benchmarks.dense --out docs/images/dense.png``: dense features at two resolutions, the picture of docs/dense.md.

Trains a small DINOv3 by SimMIM on crops of the two photographs that scikit-learn ships, then shows its patch tokens by their first three
principal components. Minutes on two CPU cores. Needs the extras ``train``, ``viz`` and ``images``.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor

from vitblocks import DINOv3, SimMIM
from vitblocks.viz import feature_picture

from .learning import warmup_cosine

PATCH, CROP, BATCH = 8, 96, 16


def photographs() -> Tensor:
    """Both, ``(2, 3, 427, 640)``, from 0 to 1."""
    from sklearn.datasets import load_sample_images

    images = torch.stack([torch.tensor(image) for image in load_sample_images().images])
    return rearrange(images, "b h w c -> b c h w").float() / 255


def crops(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """A batch of squares from random places, at random sizes, some mirrored."""
    found = []
    for _ in range(BATCH):
        which, side = (
            int(torch.randint(low, high, (), generator=generator)) for low, high in ((0, 2), (CROP, 3 * CROP))
        )
        top, left = (int(torch.randint(n - side, (), generator=generator)) for n in pictures.shape[2:])
        crop = pictures[which : which + 1, :, top : top + side, left : left + side]
        crop = F.interpolate(crop, size=(CROP, CROP), mode="bilinear", antialias=True)
        found.append(crop.flip(3) if torch.rand((), generator=generator) < 0.5 else crop)
    return torch.cat(found)


def trained(pictures: Tensor, steps: int, seed: int) -> DINOv3:
    """A small DINOv3 that predicts hidden squares of the photographs."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = DINOv3(
        image_size=CROP,
        patch_size=PATCH,
        num_classes=0,
        dim=128,
        depth=4,
        heads=4,
        mlp_dim=384,
        registers=2,
        layer_scale=0.1,
    )
    task = SimMIM(model, masking_ratio=0.5, mask_patch_size=2 * PATCH)
    optimizer = torch.optim.AdamW(task.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, steps))
    for step in range(steps):
        optimizer.zero_grad()
        loss = task(crops(pictures, generator) * 2 - 1, generator=generator)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/dense.png"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pictures = photographs()
    model = trained(pictures, options.steps, options.seed)
    maps = []
    for size in ((208, 320), (416, 640)):
        resized = F.interpolate(pictures, size=size, mode="bilinear", antialias=True)
        with torch.no_grad():
            maps.append(model.feature_maps(resized * 2 - 1)[-1].map)
    whole = io.BytesIO()
    feature_picture(pictures, maps).savefig(whole, dpi=150)
    Image.open(whole).convert("RGB").quantize(128).save(options.out, optimize=True)  # a page is to load fast


if __name__ == "__main__":
    main()
