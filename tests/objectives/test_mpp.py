"""Masked patch prediction."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.zoo.tiny import TINY, VIT
from vitblocks import MPP, ViT
from vitblocks.objectives import Corruption


def mpp(**options: Any) -> MPP:
    return MPP(ViT(**VIT), **options)


def test_published_shares() -> None:
    task, images = mpp(), torch.rand(400, 3, 16, 16)
    fate = task.corruption(images, torch.Generator().manual_seed(0))
    assert torch.equal(fate.chosen.sum(dim=1), torch.full((400,), 8))
    own = torch.arange(16)
    exchanged = fate.source != own
    assert not (fate.masked & ~fate.chosen).any()
    assert not (exchanged & ~fate.chosen).any()
    assert not (exchanged & fate.masked).any()
    shares = [part.sum() / fate.chosen.sum() for part in (fate.masked, exchanged)]
    torch.testing.assert_close(torch.stack(shares), torch.tensor([0.8, 0.1]), atol=0.035, rtol=0)  # five deviations
    # Every other patch is as likely.
    steps = ((fate.source - own) % 16)[exchanged]
    assert set(steps.tolist()) == set(range(1, 16))
    again = task.corruption(images, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(fate, again, strict=True))


def test_shares_of_the_document() -> None:
    task = MPP(transformer=ViT(**VIT), patch_size=4, dim=8, mask_prob=0.15, random_patch_prob=0.30, replace_prob=0.50)
    fate = task.corruption(torch.rand(400, 3, 16, 16), torch.Generator().manual_seed(0))
    assert torch.equal(fate.chosen.sum(dim=1), torch.full((400,), 3))  # 2.4 rounded up
    exchanged = fate.source != torch.arange(16)
    shares = torch.stack([part.sum() / fate.chosen.sum() for part in (fate.masked, exchanged)])
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3]), atol=0.07, rtol=0)


def test_target_is_the_mean_colour() -> None:
    task = mpp()
    images = torch.zeros(1, 3, 16, 16)
    images[0, :, :4, 4:8] = torch.tensor([0.3, 0.99, 1.0])[:, None, None]  # levels 2, 7 and 7 of 8
    images[0, 0, 4:8, :4] = torch.tensor([0.0, 0.5] * 8).reshape(4, 4)  # a mean of 0.25: level 2
    target = task.target(images)[0]
    assert target[1] == 2 + 8 * 7 + 64 * 7
    assert target[4] == 2
    assert target.sum() == target[1] + target[4]


def test_normalised_images_have_the_same_target() -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    images = torch.rand(2, 3, 16, 16)
    normalised = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert torch.equal(mpp(mean=mean, std=std).target(normalised), mpp().target(images))
    assert torch.equal(mpp(max_pixel_val=255.0).target(images * 255), mpp().target(images))


def test_loss_is_the_cross_entropy_of_chosen_patches() -> None:
    task, images = mpp(), torch.rand(2, 3, 16, 16)
    fate = task.corruption(images)
    found = task(images, corruption=fate, details=True)
    logits, target = task.predict(images, fate), task.target(images)
    torch.testing.assert_close(found.loss, F.cross_entropy(logits[fate.chosen], target[fate.chosen]))
    assert torch.equal(found.mask.flatten(1), fate.chosen)


def test_what_the_encoder_sees() -> None:
    task, images = mpp(), torch.rand(1, 3, 16, 16)
    seen: list[torch.Tensor] = []
    task.encoder.stages[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    chosen, masked, source = torch.zeros(1, 16).bool(), torch.zeros(1, 16).bool(), torch.arange(16)[None].clone()
    chosen[0, :3] = True
    masked[0, 0] = True
    source[0, 1] = 7
    task(images, corruption=Corruption(chosen, masked, source))
    embedded = task.encoder.embed(images)[0]
    torch.testing.assert_close(seen[0][0, 0], task.mask_token[0, 0])
    torch.testing.assert_close(seen[0][0, 1], embedded[0, 7])
    torch.testing.assert_close(seen[0][0, 2:], embedded[0, 2:])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels(channels: int) -> None:
    task = MPP(ViT(**VIT, channels=channels), channels=channels)
    assert task.to_classes.out_features == 8**channels
    images = torch.rand(2, channels, 16, 16)
    loss = task(images)
    loss.backward()
    assert loss.isfinite()
    assert 0 <= task.target(images).min() <= task.target(images).max() < 8**channels
    assert task.reconstruct(images).shape == images.shape


def test_pictures_show_the_likeliest_colour() -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    task = mpp(mean=mean, std=std)
    with torch.no_grad():
        task.to_classes.weight.zero_()
        task.to_classes.bias.zero_()[1 + 8 * 4 + 64 * 6] = 1
    colour = (torch.tensor([1.5, 4.5, 6.5]) / 8 - torch.tensor(mean)) / torch.tensor(std)
    images = torch.rand(2, 3, 16, 16)
    fate = task.corruption(images)
    _, reconstruction, pasted = task.pictures(images, corruption=fate)
    torch.testing.assert_close(reconstruction, colour[:, None, None].expand(2, 3, 16, 16))
    pixels = fate.chosen.unflatten(1, (4, 4)).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    assert torch.equal(pasted, torch.where(pixels, reconstruction, images))


def test_pyramid_predicts_patches_of_its_last_stride() -> None:
    task = MPP(TINY["Swin"].build(), patch_size=8)
    found = task(torch.rand(2, 3, 16, 32), details=True)
    assert found.mask.shape == (2, 2, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 8}, r"patch_size must be \(4, 4\)"),
        ({"dim": 16}, "dim must be 8"),
        ({"replace_prob": 0.8, "random_patch_prob": 0.3}, "sum to at most 1"),
        ({"output_channel_bits": 9}, "at most 2\\*\\*24 classes"),
        ({"mask_prob": 1.0}, "mask_prob must lie"),
        ({"mean": (0.5,)}, "mean must be 3 numbers"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mpp(**options)


def test_wrong_images() -> None:
    with pytest.raises(ValueError, match="does not divide into patches"):
        mpp()(torch.rand(2, 3, 18, 16))
    with pytest.raises(ValueError, match="a single patch"):
        mpp()(torch.rand(2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"corruption must be of \(2, 16\)"):
        mpp()(torch.rand(2, 3, 16, 16), corruption=mpp().corruption(torch.rand(2, 3, 8, 16)))


def test_compiles() -> None:
    task, images = mpp().eval(), torch.rand(2, 3, 16, 16)
    fate = task.corruption(images)
    torch._dynamo.reset()
    compiled = torch.compile(task, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images, corruption=fate), task(images, corruption=fate))


def test_bfloat16() -> None:
    task, images = mpp(), torch.rand(2, 3, 16, 16)
    fate = task.corruption(images)
    exact = task(images, corruption=fate)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = task(images, corruption=fate)
    mixed.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())
    torch.testing.assert_close(mixed, exact, rtol=0.05, atol=0.05)


def test_learns() -> None:
    torch.manual_seed(0)
    task = mpp()
    images = (torch.randint(0, 2, (16, 3, 1, 1)) * 0.9).expand(-1, -1, 16, 16)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = task(images)
        loss.backward()
        optimizer.step()
    assert loss.item() < 1.0, "one of eight colours by chance would be 2.1"
