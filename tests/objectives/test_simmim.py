"""SimMIM."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.golden.builders.simmim import relative_vit
from tests.golden.config import Config
from tests.zoo.tiny import TINY, VIT
from vitblocks import Block, GlobalAttention, SimMIM, ViT, zoo
from vitblocks.checkpoint import export, load
from vitblocks.position import ClassRelativeBias, RelativeBias


def simmim(**options: Any) -> SimMIM:
    return SimMIM(ViT(**VIT), **{"mask_patch_size": 4, **options})


def test_loss_is_the_error_of_hidden_pixels_over_the_batch() -> None:
    task, images = simmim(), torch.rand(2, 3, 16, 24)
    mask = torch.rand(2, 4, 6) < 0.3  # not as many in each image
    found = task(images, mask=mask, details=True)
    assert torch.equal(found.mask, mask)
    pixels = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand_as(images)
    torch.testing.assert_close(found.loss, (found.reconstruction - images).abs()[pixels].mean())
    torch.testing.assert_close(task(images, mask=mask.flatten(1).int()), found.loss)


def test_mask_token_stands_for_hidden_patches_before_positions() -> None:
    task = simmim()
    images = torch.rand(2, 3, 16, 16)
    seen: list[torch.Tensor] = []
    task.encoder.stages[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    mask = torch.rand(2, 16) < 0.5
    task(images, mask=mask)
    embedded, _ = task.encoder.embed(images)
    assert torch.equal(seen[0], torch.where(mask[:, :, None], task.mask_token, embedded))


def test_places_of_the_mask() -> None:
    images = torch.rand(1, 3, 192, 256)
    swin = SimMIM(zoo.Swin(num_classes=0, dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1)))
    assert swin.place(images) == (32, 32), "as published"
    assert swin.mask_grid(images) == (6, 8)
    vit = SimMIM(ViT(**{**VIT, "image_size": 224, "patch_size": 14}))
    assert vit.place(images) == (28, 28), "whole patches"
    assert simmim(mask_patch_size=None).place(torch.rand(1, 3, 16, 16)) == (8, 8), "two to a side"
    levit = SimMIM(TINY["LeViT"].build())
    assert levit.encoder.strides[-1] == (32, 32)
    assert levit.place(torch.rand(1, 3, 32, 32)) == (16, 16)


def test_pyramid_has_a_mask_coarser_than_its_patches() -> None:
    model: Any = TINY["Swin"].build()
    task, images = SimMIM(model, mask_patch_size=16), torch.rand(2, 3, 32, 48)
    seen: list[torch.Tensor] = []
    task.encoder.stages[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    mask = torch.rand(2, 2, 3) < 0.5
    found = task(images, mask=mask, details=True)
    assert found.reconstruction.shape == images.shape
    replaced = (seen[0] == task.mask_token).all(dim=2).unflatten(1, (8, 12))
    assert torch.equal(replaced, mask.repeat_interleave(4, 1).repeat_interleave(4, 2))
    assert task.decoder.out_features == 8 * 8 * 3


def test_image_that_its_strides_do_not_divide() -> None:
    levit: Any = TINY["LeViT"].build()
    task = SimMIM(levit, mask_patch_size=16)
    images = torch.rand(2, 3, 56, 72)  # grids of 4 x 5 and 2 x 3, which reach beyond the border
    found = task(images, details=True)
    assert found.mask.shape == (2, 4, 5)
    assert found.reconstruction.shape == images.shape
    task.reconstruct(images)


def test_grid_that_does_not_cover_the_image() -> None:
    with pytest.raises(ValueError, match="sides that divide by"):
        SimMIM(zoo.PiT(**{**VIT, "patch_size": 5, "depth": (1,)}, stride=2))(torch.rand(2, 3, 16, 16))


def test_masks_are_reproducible_and_as_many() -> None:
    task, images = simmim(masking_ratio=0.6), torch.rand(4, 3, 16, 16)
    first, again = (task(images, generator=torch.Generator().manual_seed(3), details=True) for _ in range(2))
    assert torch.equal(first.mask, again.mask)
    assert torch.equal(first.mask.sum(dim=(1, 2)), torch.full((4,), 10))  # 9.6 rounded up
    assert not torch.equal(first.mask[0], first.mask[1])


def test_pictures() -> None:
    task, images = simmim(), torch.rand(2, 3, 16, 16)
    mask = torch.rand(2, 4, 4) < 0.5
    masked, reconstruction, pasted = task.pictures(images, mask=mask)
    pixels = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand_as(images)
    assert torch.equal(masked, images.masked_fill(pixels, 0))
    assert torch.equal(pasted, torch.where(pixels, reconstruction, images))
    assert torch.equal(reconstruction, task.reconstruct(images, mask=mask))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_patch_size": 6}, r"multiple of \(4, 4\), the stride of the patches, got 6"),
        ({"masking_ratio": 0.0}, "masking_ratio must lie"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simmim(**options)
    with pytest.raises(ValueError, match=r"mask must be \(2, 4, 4\) or \(2, 16\)"):
        simmim()(torch.rand(2, 3, 16, 16), mask=torch.ones(2, 9))


def test_other_channels_and_rectangular_patches() -> None:
    vit = ViT(**{**VIT, "image_size": (8, 24), "patch_size": (4, 6)}, channels=2)
    task = SimMIM(vit, mask_patch_size=(4, 12), channels=2)
    assert task.mask_grid(torch.rand(1, 2, 8, 24)) == (2, 2)
    assert task.reconstruct(torch.rand(2, 2, 8, 24)).shape == (2, 2, 8, 24)


def test_compiles() -> None:
    task, images, mask = simmim().eval(), torch.rand(2, 3, 16, 16), torch.rand(2, 4, 4) < 0.5
    torch._dynamo.reset()
    compiled = torch.compile(task, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images, mask=mask), task(images, mask=mask))


def test_bfloat16() -> None:
    task, images, mask = simmim(), torch.rand(2, 3, 16, 16), torch.rand(2, 16) < 0.5
    exact = task(images, mask=mask)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = task(images, mask=mask)
    mixed.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())
    torch.testing.assert_close(mixed, exact, rtol=0.05, atol=0.02)
    pure = task.bfloat16()(images.bfloat16(), mask=mask)
    torch.testing.assert_close(pure, exact, rtol=0.05, atol=0.02)


def test_learns() -> None:
    """Images of one colour each: what is hidden can be known from what is not."""
    torch.manual_seed(0)
    task = SimMIM(ViT(**{**VIT, "dim": 16}), mask_patch_size=4)
    images = torch.randn(16, 3, 1, 1).expand(-1, -1, 16, 16)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        loss = task(images)
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * (images - images.mean()).abs().mean(), "far better than the mean of all images"


CONFIG: dict[str, Any] = {
    "patch_size": 4,
    "qkv_bias": True,
    "mlp_ratio": 2.0,
    "img_size": 16,
    "embed_dim": 8,
    "depth": 2,
    "num_heads": 2,
    "init_values": 0.1,
    "use_abs_pos_emb": False,
    "use_rel_pos_bias": False,
    "use_shared_rel_pos_bias": True,
}


def test_shared_bias_is_exported_only_while_the_copies_agree() -> None:
    task = SimMIM(relative_vit(Config(CONFIG)), mask_patch_size=4)
    state = export(task, "official")
    table = "encoder.rel_pos_bias.relative_position_bias_table"
    state[table] = torch.rand_like(state[table])
    load(task, state, layout="official")
    blocks: list[Any] = [layer for layer in task.encoder.stages[0].layers if isinstance(layer, Block)]
    biases = [block.attn.position_bias((4, 4), 1) for block in blocks]
    assert torch.equal(*biases)
    index = export(task, "official")["encoder.rel_pos_bias.relative_position_index"]
    torch.testing.assert_close(state[table][index].permute(2, 0, 1), biases[0])
    with torch.no_grad():
        blocks[1].attn.position_bias.bias.pairs += 1
    with pytest.raises(ValueError, match="tied keys differ"):
        export(task, "official")


def test_bias_of_the_keys_has_no_influence() -> None:
    """Why the published model can do without it, and an export can leave it out."""
    attn = GlobalAttention(8, 2)
    x = torch.rand(2, 16, 8)
    before = attn(x, (4, 4))
    with torch.no_grad():
        attn.qkv.bias[8:16] = torch.randn(8)
    torch.testing.assert_close(attn(x, (4, 4)), before)


def test_relative_bias_with_prefix() -> None:
    bias = ClassRelativeBias(2, (3, 4))
    assert not bias((3, 4), 1).any(), "starts at zero"
    for parameter in bias.parameters():
        nn.init.normal_(parameter)
    found = bias((3, 4), 2)
    patches = RelativeBias(2, (3, 4))
    patches.load_state_dict(bias.patches.state_dict())
    assert torch.equal(found[:, 2:, 2:], patches((3, 4)))
    to_patch, to_prefix, among = bias.pairs[:, :, None, None]
    assert torch.equal(found[:, :2, 2:], to_patch.expand(-1, 2, 12))
    assert torch.equal(found[:, 2:, :2], to_prefix.expand(-1, 12, 2))
    assert torch.equal(found[:, :2, :2], among.expand(-1, 2, 2))
    assert torch.equal(bias((0, 0), 2), among.expand(-1, 2, 2))
    assert bias((5, 3), 1).shape == (2, 16, 16)
