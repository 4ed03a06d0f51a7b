"""MAE."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.zoo.tiny import TINY, VIT
from vitblocks import MAE, Block, ConvEmbed, ViT, layer_norm
from vitblocks.objectives.masking import patchify
from vitblocks.position.sine import sine_2d

DECODER: dict[str, Any] = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}


def mae(**options: Any) -> MAE:
    return MAE(ViT(**VIT), **{**DECODER, **options})


def test_published_sizes_by_default() -> None:
    with torch.device("meta"):
        task = MAE(ViT(**VIT))
    assert task.masking_ratio == 0.75
    assert len(task.decoder.layers) == 1 + 8
    block: Any = task.decoder.layers[-1]
    assert (block.attn.dim, block.attn.heads, block.mlp.fc1.out_features) == (512, 16, 2048)


def test_encoder_works_on_the_kept_tokens_alone() -> None:
    task, images = mae(), torch.rand(2, 3, 16, 16)
    lengths: dict[str, set[int]] = {"whole": set(), "kept": set()}

    def note(which: str) -> Any:
        def hook(_: Any, inputs: Any, output: Any) -> None:
            lengths[which] |= {x.shape[1] for x in (*inputs, output) if isinstance(x, Tensor) and x.dim() == 3}

        return hook

    whole, kept = task.encoder.stages
    for which, stage in (("whole", whole), ("kept", kept)):
        for module in stage.modules():
            module.register_forward_hook(note(which))
    task(images)
    assert [type(layer).__name__ for layer in whole.layers] == ["ClassToken", "LearnedPosition", "PerToken"]
    assert len(kept.layers) == 2
    assert lengths["whole"] == {16, 17}
    assert lengths["kept"] == {5}, "the class token and 4 of 16 patches, in every module of the blocks"


def test_loss_is_the_error_of_hidden_patches() -> None:
    task, images = mae(), torch.rand(2, 3, 16, 24)
    noise = torch.rand(2, 24)
    found = task(images, noise=noise, details=True)
    assert torch.equal(found.loss, task(images, noise=noise))
    hidden = noise.argsort(dim=1).argsort(dim=1) >= 6
    assert torch.equal(found.mask.flatten(1), hidden)
    error = patchify(found.reconstruction - images, (4, 4)).square()
    torch.testing.assert_close(found.loss, error[hidden].mean())


def test_normalised_targets() -> None:
    task, images = mae(norm_pix_loss=True), torch.rand(2, 3, 16, 16)
    target = task.target(images)
    torch.testing.assert_close(target.mean(dim=2), torch.zeros(2, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(target.std(dim=2), torch.ones(2, 16), atol=1e-4, rtol=0)
    assert task.target(torch.ones(1, 3, 16, 16)).isfinite().all()  # a patch of one colour
    # Pictures are in the units of the image again.
    noise = torch.rand(2, 16)
    raw = task(images, noise=noise, details=True).reconstruction
    pixels = patchify(images, (4, 4))
    back = patchify(task.reconstruct(images, noise=noise), (4, 4))
    expected = patchify(raw, (4, 4)) * pixels.std(dim=2, keepdim=True) + pixels.mean(dim=2, keepdim=True)
    torch.testing.assert_close(back, expected, rtol=1e-3, atol=1e-4)


def test_mask_and_noise_say_the_same() -> None:
    task, images = mae(masking_ratio=0.5).eval(), torch.rand(2, 3, 16, 16)
    noise = torch.rand(2, 16)
    mask = noise.argsort(dim=1).argsort(dim=1) >= 8
    expected = task(images, noise=noise)
    torch.testing.assert_close(task(images, mask=mask), expected)
    torch.testing.assert_close(task(images, mask=mask.unflatten(1, (4, 4)).int()), expected)
    with pytest.raises(ValueError, match="exclude each other"):
        task(images, mask=mask, noise=noise)
    with pytest.raises(ValueError, match="mask must hide 8 of 16 patches"):
        task(images, mask=torch.ones(2, 16))
    with pytest.raises(ValueError, match=r"noise must be \(2, 16\)"):
        task(images, noise=noise[:, :9])


def test_samples_are_shuffled_each_by_itself_and_reproducibly() -> None:
    task, images = mae(), torch.rand(8, 3, 16, 16)
    first, again = (task(images, generator=torch.Generator().manual_seed(3), details=True) for _ in range(2))
    assert torch.equal(first.mask, again.mask)
    assert torch.equal(first.loss, again.loss)
    assert len({tuple(row) for row in first.mask.flatten(1).int().tolist()}) > 4


def test_rectangles_and_other_sizes_have_their_own_positions() -> None:
    task = mae()
    position: Any = task.decoder.layers[0]
    torch.testing.assert_close(position.positions((4, 6))[0], sine_2d((4, 6), 8).float())
    loss = task(torch.rand(2, 3, 16, 24))
    loss.backward()
    assert loss.isfinite()
    rectangular = MAE(ViT(**{**VIT, "image_size": (8, 24), "patch_size": (4, 6)}), **DECODER)
    assert rectangular(torch.rand(2, 3, 8, 24), details=True).reconstruction.shape == (2, 3, 8, 24)
    with pytest.raises(ValueError, match="does not divide into patches"):
        task(torch.rand(2, 3, 18, 16))


def test_pictures() -> None:
    task, images = mae(), torch.rand(2, 3, 16, 16)
    noise = torch.rand(2, 16)
    masked, reconstruction, pasted = task.pictures(images, noise=noise)
    hidden = (noise.argsort(dim=1).argsort(dim=1) >= 4).unflatten(1, (4, 4))
    pixels = hidden.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand_as(images)
    assert torch.equal(masked, images.masked_fill(pixels, 0))
    assert torch.equal(pasted, torch.where(pixels, reconstruction, images))
    assert torch.equal(reconstruction, task.reconstruct(images, noise=noise))
    assert not reconstruction.requires_grad


def test_other_channels() -> None:
    task = MAE(ViT(**VIT, channels=5), **DECODER, channels=5)
    assert task.reconstruct(torch.rand(2, 5, 16, 16)).shape == (2, 5, 16, 16)


def test_prefix_tokens_are_kept_and_decoded_without_position() -> None:
    task = MAE(ViT(**VIT, prefix_tokens=3), **DECODER)
    images = torch.rand(2, 3, 16, 16)
    places = task.shuffle(images, noise=torch.rand(2, 16))
    assert task.encode(images, places).shape == (2, 3 + 4, 8)
    assert task(images).isfinite()


def test_overlapping_patches() -> None:
    embed = ConvEmbed(6, 8, stride=4, padding=1)
    assert MAE(ViT(**VIT, embed=embed), **DECODER)(torch.rand(2, 3, 16, 16)).isfinite()


def test_grid_that_does_not_cover_the_image() -> None:
    task = MAE(ViT(**VIT, embed=ConvEmbed(6, 8, stride=4)), **DECODER)
    with pytest.raises(ValueError, match=r"grid of \(3, 3\) from the image, not \(4, 4\)"):
        task(torch.rand(2, 3, 16, 16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_heads": 3}, "multiple of 4 and of decoder_heads, got 8 with 3"),
        ({"decoder_dim": 6}, "multiple of 4"),
        ({"masking_ratio": 1.0}, "masking_ratio must lie between 0 and 1"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mae(**options)


def test_decoder_starts_as_published() -> None:
    task = mae(decoder_dim=64, decoder_heads=4)
    for linear in (m for part in (task.decoder_embed, task.decoder, task.to_pixels) for m in part.modules()):
        if isinstance(linear, nn.Linear):
            bound = (6 / (linear.in_features + linear.out_features)) ** 0.5
            assert 0.9 * bound < linear.weight.abs().max() <= bound
            assert not linear.bias.any()
    assert 0.01 < task.mask_token.std() < 0.03


@pytest.mark.parametrize("given", ["noise", "mask"])
def test_compiles(given: str) -> None:
    task, images = mae().eval(), torch.rand(2, 3, 16, 16)
    noise = torch.rand(2, 16)
    what = {given: noise if given == "noise" else noise.argsort(dim=1).argsort(dim=1) >= 4}
    torch._dynamo.reset()
    compiled = torch.compile(task, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images, **what), task(images, **what))


def test_bfloat16() -> None:
    task, images, noise = mae(), torch.rand(2, 3, 16, 16), torch.rand(2, 16)
    exact = task(images, noise=noise)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = task(images, noise=noise)
    mixed.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())
    torch.testing.assert_close(mixed, exact, rtol=0.05, atol=0.02)
    pure: Tensor = task.bfloat16()(images.bfloat16(), noise=noise)
    assert pure.dtype == torch.float32
    torch.testing.assert_close(pure, exact, rtol=0.05, atol=0.02)


def test_learns() -> None:
    """Images of one colour each: what is hidden can be known from what is not."""
    torch.manual_seed(0)
    task = MAE(ViT(**{**VIT, "dim": 16}), **{**DECODER, "decoder_dim": 16}, masking_ratio=0.5)
    images = torch.randn(16, 3, 1, 1).expand(-1, -1, 16, 16)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        loss = task(images)
        loss.backward()
        optimizer.step()
    assert loss < 0.1 * images.var(), "far better than the mean of all images"


def test_document() -> None:
    model = TINY["ViT"].build()
    task = MAE(encoder=model, masking_ratio=0.75, decoder_dim=512, decoder_depth=1)
    task(torch.rand(2, 3, 16, 16)).backward()
    assert model.stages[0].layers[-1].attn.qkv.weight.grad.any()


def test_parts_of_the_decoder() -> None:
    task = mae(decoder_qkv_bias=False, decoder_norm=layer_norm(1e-3), decoder_activation=nn.ReLU)
    blocks: Any = [layer for layer in task.decoder.layers if isinstance(layer, Block)]
    assert all(block.attn.qkv.bias is None and isinstance(block.mlp.act, nn.ReLU) for block in blocks)
    assert {norm.eps for block in blocks for norm in (block.norm1, block.norm2)} == {task.decoder_norm.eps} == {1e-3}
    assert task(torch.rand(2, 3, 16, 16)).isfinite()
