"""CrossViT."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import vitblocks
from vitblocks import Attend, CrossViT, DropPath, checkpoint as ck
from vitblocks.model import is_block
from vitblocks.zoo.cross_vit import Rescale, ThreeConvStem

from .common import check_model


def tiny(**options: object) -> CrossViT:
    sizes: dict[str, object] = {"image_size": 48, "num_classes": 5, "depth": 2, "cross_attn_heads": 2}
    for branch, dim, patch, depth in (("sm", 8, 12, 1), ("lg", 16, 16, 2)):
        sizes |= {f"{branch}_dim": dim, f"{branch}_patch_size": patch, f"{branch}_enc_depth": depth}
        sizes |= {f"{branch}_enc_heads": 2, f"{branch}_enc_mlp_dim": 2 * dim}
    return CrossViT(**{**sizes, **options})


def test_does_what_every_model_does() -> None:
    model = tiny(depth=1, lg_enc_depth=1, lg_image_size=32, drop_path=0.1, dropout=0.1, emb_dropout=0.1)
    check_model(model, torch.randn(2, 3, 48, 96), classes=5)


def test_dagger_stem_in_every_branch() -> None:
    model, image = tiny(stem=ThreeConvStem, channels=2).eval(), torch.randn(2, 2, 48, 48)
    assert model(image).shape == (2, 5)
    assert [grid for _, grid in model.encode(image)] == [(4, 4), (3, 3)]


@pytest.mark.parametrize("patch_size", [12, 16])
def test_three_convolutions_have_a_place_for_each_patch(patch_size: int) -> None:
    embed = ThreeConvStem(patch_size, 8)
    assert embed.stride == (patch_size, patch_size)
    for rows, columns in ((1, 2), (3, 1), (4, 5)):
        x, grid = embed(torch.randn(1, 3, rows * patch_size, columns * patch_size))
        assert grid == (rows, columns)
        assert x.shape == (1, rows * columns, 8)
    with pytest.raises(ValueError, match=f"{2 * patch_size}, {patch_size}"):
        embed(torch.zeros(1, 3, 2 * patch_size - 1, patch_size))


@pytest.mark.parametrize(("options", "match"), [((8, 8), "12 or 16"), (((12, 16), 8), "12 or 16"), ((12, 6), "by 4")])
def test_three_convolutions_refuse_other_sizes(options: tuple[object, int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ThreeConvStem(*options)


def test_encode_gives_both_branches() -> None:
    model, image = tiny().eval(), torch.randn(2, 3, 48, 96)
    (small, small_grid), (large, large_grid) = model.encode(image)
    assert (small.shape, small_grid) == ((2, 1 + 4 * 8, 8), (4, 8))
    assert (large.shape, large_grid) == ((2, 1 + 3 * 6, 16), (3, 6))
    assert torch.equal(model.forward_features(image), torch.cat([small[:, 0], large[:, 0]], dim=1))


def test_logits_are_the_mean_of_the_branches() -> None:
    model, image = tiny().eval(), torch.randn(2, 3, 48, 48)
    features = model.forward_features(image)
    first, second = (head(part) for head, part in zip(model.head.heads, features.split([8, 16], dim=1), strict=True))
    torch.testing.assert_close(model(image), (first + second) / 2)
    bare = tiny(num_classes=0).eval()
    assert torch.equal(bare(image), bare.forward_features(image))


def test_a_branch_may_see_the_image_at_its_own_size() -> None:
    model = tiny(sm_image_size=36, lg_image_size=(32, 64)).eval()
    grids = [grid for _, grid in model.encode(torch.randn(1, 3, 48, 48))]
    assert grids == [(3, 3), (2, 4)]
    assert [grid for _, grid in model.encode(torch.randn(1, 3, 96, 50))] == [(6, 3), (4, 4)]
    assert sum(isinstance(m, Rescale) for m in model.modules()) == 2
    assert not any(isinstance(m, Rescale) for m in tiny(sm_image_size=48).modules())


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(48, 48\) or \(60, 60\)"):
        tiny(image_size=50)
    with pytest.raises(ValueError, match=r"\(32, 32\) or \(48, 48\)"):
        tiny(lg_image_size=40)
    with pytest.raises(ValueError, match=r"\(48, 48\) or \(60, 48\)"):
        tiny()(torch.zeros(1, 3, 52, 48))


def test_heads_and_depths_one_by_one() -> None:
    model = tiny(cross_attn_heads=(4, 1), sm_enc_depth=(1, 3), cross_attn_depth=2)
    for block in model.stages:
        assert [[attn.layer.heads for attn in fusion.rounds] for fusion in block.fusions] == [[4, 4], [1, 1]]
    assert [len(tower.layers) for block in model.stages for tower in block.towers] == [1, 2, 3, 2]
    with pytest.raises(ValueError, match="sm_enc_depth must be a number or 2 of them"):
        tiny(sm_enc_depth=(1, 2, 3))
    with pytest.raises(ValueError, match="at least one attention"):
        tiny(cross_attn_depth=0)


def test_blocks_hold_every_attend_once() -> None:
    model = tiny()
    blocks = dict(model.blocks())
    assert list(blocks)[:5] == [
        "stages.0.towers.0.layers.0",
        "stages.0.towers.1.layers.0",
        "stages.0.towers.1.layers.1",
        "stages.0.fusions.0",
        "stages.0.fusions.1",
    ]
    assert all(model.get_submodule(name) is block and is_block(block) for name, block in blocks.items())
    attends = [m for block in blocks.values() for m in block.modules() if isinstance(m, Attend)]
    assert len(attends) == len({*attends}) == sum(isinstance(m, Attend) for m in model.modules())


def test_drop_path_rises_with_the_longer_branch() -> None:
    model = tiny(drop_path=0.3, lg_enc_depth=2)
    rates = [sorted({m.rate for m in block.modules() if isinstance(m, DropPath)}) for _, block in model.blocks()]
    expected = [[0.0], [0.0], [0.1], [0.1], [0.1], [0.2], [0.2], [0.3], [0.3], [0.3]]
    assert [[round(rate, 6) for rate in block] for block in rates] == expected


def test_starts_as_the_authors_do() -> None:
    model = tiny(sm_dim=32, lg_dim=64, num_classes=50)
    for name, parameter in model.named_parameters():
        if name.endswith(("token", "table")) or (name.endswith("weight") and parameter.dim() == 2):
            assert 0.7 * 0.02 < parameter.std() < 1.3 * 0.02, name
        elif name.endswith("bias") and not name.startswith("embeds"):
            assert not parameter.any(), name
    for module in model.modules():
        if isinstance(module, nn.Conv2d):  # PyTorch's own: uniform by the fan in
            assert 0.9 < module.weight.std() * (3 * module.weight[0].numel()) ** 0.5 < 1.1


@pytest.mark.parametrize("options", [{}, {"stem": ThreeConvStem}, {"lg_image_size": 32}])
def test_layouts_hold_the_same_weights(options: dict[str, object]) -> None:
    source, image = tiny(**options).eval(), torch.randn(1, 3, 48, 48)
    target = tiny(**options).eval()
    ck.load(target, ck.export(source, "official"), layout="official")
    assert torch.equal(target(image), source(image))
    renamed = {"pos_embed.0", "pos_embed.1", "cls_token.0", "cls_token.1"}
    assert ck.export(source, "official").keys() - ck.export(source, "timm").keys() == renamed


def test_positions_are_resized_at_load() -> None:
    source, target = tiny().eval(), tiny(image_size=96).eval()
    image = torch.randn(1, 3, 96, 96)
    with pytest.warns(UserWarning, match="taken for square"):
        report = ck.load(target, ck.export(source, "official"), layout="official", resize=True)
    assert len(report.resized) == 2
    torch.testing.assert_close(target(image), source(image))


def test_more_rounds_have_no_counterpart() -> None:
    with pytest.raises(ValueError, match=r"no key for .*rounds\.1"):
        ck.export(tiny(cross_attn_depth=2), "official")


def test_published_variants_see_two_sizes() -> None:
    with torch.device("meta"):
        model = vitblocks.create_model("crossvit_9_dagger_240")
        grids = [grid for _, grid in model.encode(torch.empty(1, 3, 240, 240))]
    assert grids == [(20, 20), (14, 14)]


def test_summary_lists_the_parts_of_both_towers() -> None:
    model = tiny()
    counted = vitblocks.summary(model)
    assert sum(layer.params for layer in counted.layers) == counted.params == sum(p.numel() for p in model.parameters())
    assert sum(layer.macs for layer in counted.layers) == counted.macs
    assert {name for name, _ in model.blocks()} <= {layer.name for layer in counted.layers}
