"""The pictures: what is on them, how images are scaled, and what is refused."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from vitblocks import (
    MAE,
    ATSViT,
    CaiT,
    MeanPool,
    SimMIM,
    ViT,
    attention_rollout,
    capture,
    class_attention_map,
    gradient_rollout,
    record_attention,
)
from vitblocks.objectives.masking import Pictures
from vitblocks.viz import (
    class_attention_picture,
    gradient_rollout_picture,
    head_grid,
    kept_tokens_picture,
    mask_picture,
    overlay,
    rollout_picture,
)
from vitblocks.viz.maps import answer_map
from vitblocks.viz.pixels import drawable
from vitblocks.zoo.ats_vit import AdaptiveSampling, TokenSampler

from ..zoo.tiny import TINY

Picture = Callable[[], Figure]


def vit(channels: int = 3, **options: Any) -> ViT:
    sizes: dict[str, Any] = {"image_size": (16, 24), "patch_size": 4, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 16}
    return ViT(**{**sizes, "num_classes": 5, "channels": channels, **options}).eval()


def ats() -> ATSViT:
    return ATSViT(
        image_size=(16, 24),
        patch_size=4,
        num_classes=5,
        dim=16,
        depth=3,
        heads=2,
        mlp_dim=16,
        max_tokens_per_depth=(None, 12, 6),
    ).eval()


def images(channels: int = 3, count: int = 2) -> Tensor:
    return torch.rand(count, channels, 16, 24)


def panels(figure: Figure) -> list[Axes]:
    """The axes that show an image; the colour bar has none."""
    return [axes for axes in figure.axes if axes.get_images()]


def shown(axes: Axes, layer: int = -1) -> Tensor:
    """What one layer of a panel draws."""
    return torch.as_tensor(np.ma.filled(np.ma.asarray(axes.get_images()[layer].get_array())))


def colours(figure: Figure) -> int:
    """How many colours a figure has once it is drawn."""
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=60)
    written.seek(0)
    pixels = matplotlib.image.imread(written)
    return len({tuple(pixel) for pixel in (pixels.reshape(-1, pixels.shape[2]) * 255).astype(int)})


def test_overlay_has_a_panel_for_each_image_and_map() -> None:
    maps = torch.rand(2, 3, 4, 6)
    figure = overlay(images(), maps, columns=["a", "b", "c"], rows=["one", "two"])
    drawn = panels(figure)
    assert len(drawn) == 2 * (1 + 3)
    assert [axes.get_title() for axes in drawn[:4]] == ["image", "a", "b", "c"]
    assert [axes.get_ylabel() for axes in drawn[::4]] == ["one", "two"]
    for i, weights in enumerate(maps.flatten(0, 1)):
        axes = drawn[i // 3 * 4 + 1 + i % 3]
        torch.testing.assert_close(shown(axes), weights / weights.max())
        assert axes.get_xlabel() == f"max {weights.max():.2g}"
        # Coarser than the image, and just as large.
        assert axes.get_images()[0].get_extent() == pytest.approx(axes.get_images()[1].get_extent())


@pytest.mark.parametrize("count", [1, 4, 12])
def test_figures_fit_a_page_and_keep_proportions(count: int) -> None:
    figure = overlay(images(), torch.rand(2, count, 4, 6))
    if count < 9:
        assert figure.get_figwidth() <= 7.0 + 1e-6
    for axes in panels(figure):
        box = axes.get_position()
        height, width = box.height * figure.get_figheight(), box.width * figure.get_figwidth()
        assert height / width == pytest.approx(16 / 24)
        assert 0 <= box.x0 < box.x1 <= 1
        assert 0 <= box.y0 < box.y1 <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_images_from_0_to_1_are_drawn_as_they_are(channels: int) -> None:
    image = images(channels)
    torch.testing.assert_close(drawable(image), image.permute(0, 2, 3, 1).expand(-1, -1, -1, 3))


def test_other_images_are_drawn_from_their_smallest_to_their_largest_value() -> None:
    image = images()
    for other in ((image - 0.4) / 0.2, (image * 255).round().to(torch.uint8)):
        picture = drawable(other).permute(0, 3, 1, 2)
        low, high = (0, 255) if other.dtype == torch.uint8 else (other.min(), other.max())
        torch.testing.assert_close(picture, (other.float() - low) / (high - low))
    assert torch.equal(drawable(torch.full((1, 1, 4, 4), 3.0)), torch.zeros(1, 4, 4, 3))


def test_no_map_at_all_and_negative_weights_are_drawn_as_nothing() -> None:
    maps = torch.tensor([[[0.0, 0.0]], [[-1.0, 0.5]]])
    drawn = panels(overlay(images(), maps))
    assert torch.equal(shown(drawn[1]), torch.zeros(1, 2))
    assert torch.equal(shown(drawn[3]), torch.tensor([[0.0, 1.0]]))


def test_head_grid_shows_the_rows_of_the_query() -> None:
    model, image = vit(), images()
    with record_attention(model) as records:
        model(image)
    drawn = panels(head_grid(records, image[1], (2, 3), index=1))
    assert len(drawn) == 2 * 2
    assert [axes.get_title() for axes in drawn[:2]] == ["head 0", "head 1"]
    assert drawn[2].get_ylabel() == "stages.0\nlayers.4"
    for i, axes in enumerate(drawn):
        weights = records[i // 2].key_map((2, 3))[1, i % 2].detach()
        torch.testing.assert_close(shown(axes), weights / weights.max())
        (mark,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
        assert (mark.get_x(), mark.get_y(), mark.get_width(), mark.get_height()) == (11.5, 7.5, 4.0, 4.0)
    for axes in panels(head_grid(records[0], image[0], 0)):
        assert not axes.patches


def test_head_grid_frames_windows_and_takes_rows_of_fewer_heads() -> None:
    build, size = TINY["TwinsSVT"]
    model, image = build().eval(), torch.rand(1, 3, size, size)
    with record_attention(model, layers=[0, 1]) as both:
        model(image)
    with record_attention(model, layers=1, heads=1) as one:
        model(image)
    windows, _, everywhere, _ = panels(head_grid(both, image[0], (1, 1)))
    assert windows.lines
    assert not everywhere.lines
    *_, second = panels(head_grid([both[0], one[0]], image[0], (1, 1)))
    assert len(panels(head_grid([both[0], one[0]], image[0], (1, 1)))) == 2 + 1
    weights = both[1].key_map((1, 1))[0, 1].detach()
    torch.testing.assert_close(shown(second), weights / weights.max())


def test_rollouts_are_those_of_inspect() -> None:
    model, image = vit(), images()
    (_, first, *_) = panels(rollout_picture(model, image))
    expected = attention_rollout(model, image).key_map(0)[0, 0].detach()
    torch.testing.assert_close(shown(first), expected / expected.max())
    figure = gradient_rollout_picture(model, image, [3, 1], names=["a", "b", "c", "d", "e"])
    drawn = panels(figure)
    assert [axes.get_title() for axes in drawn[:3]] == ["image", "d", "b"]
    expected = gradient_rollout(model, image, 1).key_map(0)[1, 0]
    torch.testing.assert_close(shown(drawn[5]), expected / expected.max())
    assert len(panels(gradient_rollout_picture(model, image))) == 2 * 2


def test_without_a_class_token_a_rollout_is_the_mean_over_patches() -> None:
    model, image = vit(pool="mean"), images()
    record = attention_rollout(model, image)
    maps = answer_map(record)
    assert isinstance(model.pool, MeanPool)
    torch.testing.assert_close(maps, record.matrix().mean(dim=(1, 2)).unflatten(1, (4, 6)))
    assert len(panels(rollout_picture(model, image))) == 4


def test_class_attention_in_a_layer() -> None:
    sizes: dict[str, Any] = {"image_size": 16, "patch_size": 4, "dim": 16, "depth": 1, "heads": 2, "mlp_dim": 16}
    model = CaiT(**sizes, num_classes=5, cls_depth=2, channels=1)
    image = torch.rand(1, 1, 16, 16)
    drawn = panels(class_attention_picture(model, image, 0))
    assert model.training
    heads = class_attention_map(model.eval(), image, 0)[0].detach()
    for axes, weights in zip(drawn[1:], [heads.mean(dim=0), *heads], strict=True):
        torch.testing.assert_close(shown(axes), weights / weights.max())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("objective", [MAE, SimMIM])
def test_masks_lie_where_pixels_were_hidden(objective: type[nn.Module], channels: int) -> None:
    options: dict[str, Any] = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 1} if objective is MAE else {}
    task: Any = objective(vit(channels), channels=channels, masking_ratio=0.5, **options)
    # Zeros in the image itself are no sign of a mask.
    image = images(channels) * (torch.rand(2, channels, 16, 24) > 0.5)
    mask = torch.tensor([[0, 1] * 3, [1, 0] * 3] * 2).expand(2, -1, -1)
    if objective is SimMIM:
        mask = mask[:, : task.mask_grid(image)[0], : task.mask_grid(image)[1]]
    drawn = panels(mask_picture(task.pictures(image, mask=mask), image))
    assert [axes.get_title() for axes in drawn[:4]] == ["shown", "predicted", "both", "image"]
    rows, columns = 16 // mask.shape[1], 24 // mask.shape[2]
    hidden = mask[0].repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    assert torch.equal(shown(drawn[0])[..., 3], hidden.float())
    assert torch.equal(shown(drawn[1])[..., 3], 1 - hidden.float())
    torch.testing.assert_close(shown(drawn[3]), drawable(image)[0])
    assert len(panels(mask_picture(task.pictures(image, mask=mask)))) == 2 * 3


def test_kept_tokens_are_those_the_samplers_kept() -> None:
    model, image = ats(), images()
    with capture(model, TokenSampler) as picks:
        _, ids = model(image, return_sampled_token_ids=True)
    drawn = panels(kept_tokens_picture(model, image))
    assert [axes.get_title() for axes in drawn[:3]] == ["image", "after\nblock 2", "after\nblock 3"]
    for i, (first, last) in enumerate([drawn[1:3], drawn[4:6]]):
        for axes, kept in ((first, picks[0][i]), (last, ids[i])):
            visible = (shown(axes)[..., 3] == 0).flatten().nonzero()[:, 0]
            assert visible.tolist() == sorted(kept[kept >= 0].tolist())
            assert axes.get_xlabel() == f"{len(visible)} kept"


class FirstFour(nn.Module):
    """A sampler of a user's own."""

    picks_patches = True

    def forward(self, scores: Tensor) -> Tensor:
        return torch.arange(4).expand(len(scores), -1)


def test_a_part_that_says_which_patches_it_keeps_is_drawn() -> None:
    model = ats()
    for part in [*model.modules()]:
        if isinstance(part, AdaptiveSampling):
            part.register_module("sampler", FirstFour())
    for axes in panels(kept_tokens_picture(model, images(count=1)))[1:]:
        assert (shown(axes)[..., 3] == 0).flatten().nonzero()[:, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: overlay(torch.rand(2, 4, 8, 8), torch.rand(2, 4, 4)), "1 or 3 channels"),
        (lambda: overlay(torch.rand(3, 8, 8), torch.rand(1, 4, 4)), "images must be"),
        (lambda: overlay(torch.full((1, 3, 8, 8), torch.nan), torch.rand(1, 4, 4)), "images must be finite"),
        (lambda: overlay(images(), torch.rand(3, 4, 6)), r"for 2 image\(s\), got \(3, 4, 6\)"),
        (lambda: overlay(images(), torch.full((2, 4, 6), torch.inf)), "maps must be finite"),
        (lambda: overlay(images(), torch.rand(2, 4, 6), columns=["a", "b"]), "columns must be 1"),
        (lambda: overlay(images(), torch.rand(2, 4, 6), rows=["a"]), "rows must be 2"),
        (lambda: head_grid([], images()[0], 0), "records must hold"),
        (lambda: gradient_rollout_picture(vit(), images(), []), "targets must name"),
        (lambda: class_attention_picture(vit(), images(), 2), "layer must be one of 2"),
        (lambda: class_attention_picture(vit(pool="mean"), images()), "class token"),
        (lambda: kept_tokens_picture(vit(), images()), "no picks_patches"),
        (lambda: mask_picture(Pictures(images(), images(), images()), images(count=1)), "images must be"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call: Picture, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_an_image_that_was_not_recorded_is_refused() -> None:
    model, image = vit(), images()
    with record_attention(model) as records:
        model(image)
    with pytest.raises(ValueError, match="index must"):
        head_grid(records, image[0], 0, index=2)
    with pytest.raises(ValueError, match="token 25 is not"):
        head_grid(records, image[0], 25)


def test_models_are_left_in_their_mode() -> None:
    for model, picture in ((vit(), rollout_picture), (vit(), gradient_rollout_picture), (ats(), kept_tokens_picture)):
        model.train().norm.eval()
        picture(model, images())
        assert model.training
        assert not model.norm.training


def test_figures_are_written_and_leave_pyplot_alone() -> None:
    before = pyplot.get_fignums()
    assert colours(overlay(images(), torch.rand(2, 4, 6))) > 50
    assert colours(kept_tokens_picture(ats(), images())) > 50
    assert pyplot.get_fignums() == before


def test_without_matplotlib_the_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['matplotlib'] = None; import vitblocks\n"
        "try: import vitblocks.viz\n"
        "except ModuleNotFoundError as error: print(error, error.name)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'vitblocks[viz]' matplotlib" in run.stdout
