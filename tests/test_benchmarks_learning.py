"""The digits and the loop of the benchmarks that train on tensors."""

from __future__ import annotations

import torch

from benchmarks.digits import digits, jitter
from benchmarks.learning import shuffled, steps_per_epoch, warmup_cosine


def test_digits_are_split_by_class_without_overlap() -> None:
    train, held_out = digits(3)
    images = torch.cat([train.images, held_out.images])
    assert images.shape == (1797, 1, 16, 16)
    assert (images.min().item(), images.max().item()) == (0.0, 1.0)
    together = torch.bincount(train.labels) + torch.bincount(held_out.labels)
    assert ((torch.bincount(held_out.labels) / together - 0.2).abs() < 0.01).all()
    other, _ = digits(4)
    assert not torch.equal(train.images, other.images)
    # A scan may occur twice in the data set; held-out ones must not be among those trained on more often than that.
    seen = {image.numpy().tobytes() for image in train.images}
    assert sum(image.numpy().tobytes() in seen for image in held_out.images) <= 2


def test_jitter_moves_images_a_little() -> None:
    images = torch.zeros(64, 1, 16, 16)
    images[:, :, 6:10, 6:10] = 1.0
    generator = torch.Generator().manual_seed(0)
    moved = jitter(images, generator)
    assert (moved - images).abs().amax(dim=(1, 2, 3)).min() > 0
    centre = (moved[:, 0].sum(dim=1) * torch.arange(16)).sum(dim=1) / moved[:, 0].sum(dim=(1, 2))
    assert (centre - 7.5).abs().max() < 2.0
    still = jitter(images, generator, degrees=0.0, zoom=0.0, shift=0.0)
    torch.testing.assert_close(still, images, rtol=0, atol=1e-5)


def test_an_epoch_takes_images_at_most_once() -> None:
    data, _ = digits(0)
    numbered = type(data)(torch.arange(len(data.labels)), data.labels)
    batches = list(shuffled(numbered, torch.Generator().manual_seed(0)))
    taken = torch.cat([batch.images for batch in batches])
    assert len(batches) == steps_per_epoch(data)
    assert len(taken.unique()) == len(taken)


def test_learning_rate_rises_then_falls() -> None:
    factors = [warmup_cosine(step, 100) for step in range(100)]
    peak = factors.index(max(factors))
    assert 0 < peak < 15
    assert factors[:peak] == sorted(factors[:peak])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert factors[-1] < 0.01
