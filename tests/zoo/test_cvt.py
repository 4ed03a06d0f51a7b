"""CvT."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vitblocks import ClassToken, ConvProjectionAttention, CvT, DropPath, QuickGELU, checkpoint as ck

from .common import check_model


def tiny(**options: object) -> CvT:
    sizes: dict[str, object] = {"num_classes": 5}
    for i, (dim, heads, depth) in enumerate(((8, 1, 1), (12, 3, 1), (16, 4, 2)), start=1):
        sizes |= {f"s{i}_emb_dim": dim, f"s{i}_heads": heads, f"s{i}_depth": depth, f"s{i}_mlp_mult": 2}
    return CvT(**{**sizes, **options})


def test_does_what_every_model_does() -> None:
    check_model(tiny(drop_path=0.1, dropout=0.1), torch.randn(2, 3, 64, 48), classes=5)


def test_class_token_joins_in_the_third_stage() -> None:
    model = tiny()
    assert [sum(isinstance(layer, ClassToken) for layer in stage.layers) for stage in model.stages] == [0, 0, 1]
    outputs = model.eval().forward_stages(torch.randn(1, 3, 64, 64))
    assert [(x.shape[1], grid) for x, grid in outputs] == [(256, (16, 16)), (64, (8, 8)), (17, (4, 4))]


@pytest.mark.parametrize("size", [(3, 3), (3, 40), (50, 31), (65, 66)])
def test_every_size_from_three_pixels_on(size: tuple[int, int]) -> None:
    assert tiny(channels=1).eval()(torch.randn(1, 1, *size)).isfinite().all()


def test_a_smaller_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 3\) or more"):
        tiny()(torch.randn(1, 3, 2, 8))


def test_logits_are_scaled_by_the_whole_embedding() -> None:
    attentions = [m for m in tiny(attn_dropout=0.1).modules() if isinstance(m, ConvProjectionAttention)]
    assert [attn.attend.scale for attn in attentions] == [8**-0.5, 12**-0.5, 16**-0.5, 16**-0.5]
    assert all(attn.attend.dropout == 0.1 for attn in attentions)


def test_drop_path_rises_over_the_third_stage_alone() -> None:
    model = tiny(drop_path=0.2, s2_depth=2, s3_depth=3)
    rates = [[m.rate for m in stage.modules() if isinstance(m, DropPath)] for stage in model.stages]
    assert rates == [[0.0] * 2, [0.0] * 4, [0.0, 0.0, 0.1, 0.1, 0.2, 0.2]]


def test_quick_gelu() -> None:
    x = torch.linspace(-4, 4, 33)
    torch.testing.assert_close(QuickGELU()(x), x * torch.sigmoid(1.702 * x))
    assert 0.01 < (QuickGELU()(x) - F.gelu(x)).abs().max() < 0.03
    assert sum(isinstance(m, QuickGELU) for m in tiny().modules()) == 4
    assert not any(isinstance(m, QuickGELU) for m in tiny(activation=nn.GELU).modules())


def test_no_classes_are_features() -> None:
    model, image = tiny(num_classes=0).eval(), torch.randn(2, 3, 32, 32)
    assert torch.equal(model(image), model.forward_features(image))
    assert model(image).shape == (2, 16)


def test_starts_as_the_authors_do() -> None:
    model = tiny(s3_emb_dim=64, num_classes=100)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert 0.8 * 0.02 < module.weight.std() < 1.2 * 0.02, name
            assert name == "head" or not module.bias.any(), name
        if isinstance(module, nn.Conv2d):  # PyTorch's own: uniform by the fan in
            assert module.weight.abs().max() <= module.weight[0].numel() ** -0.5, name
    assert model.head.bias.any()
    assert 0.01 < model.stages[2].layers[0].token.std() < 0.03


def test_layouts_hold_the_same_weights() -> None:
    source, image = tiny().eval(), torch.randn(1, 3, 32, 32)
    official, hf = (ck.export(source, layout) for layout in ("official", "hf"))
    assert len(official) == len(hf) == len(source.state_dict())
    assert not official.keys() & hf.keys()
    target = tiny().eval()
    ck.load(target, hf, layout="hf")
    assert torch.equal(target(image), source(image))


def test_padding_and_bias_of_each_stage() -> None:
    model = tiny(s1_emb_padding=3, s2_emb_padding=0, s1_kv_proj_padding=0, qkv_bias=(True, False, True))
    assert model.embed.conv.padding == (3, 3)
    assert [stage.transition.conv.padding for stage in model.stages[1:]] == [(0, 0), (1, 1)]
    attns = [part for part in model.modules() if isinstance(part, ConvProjectionAttention)]
    assert attns[0].k.conv.padding == (0, 0)
    assert {attn.q.conv.padding for attn in attns} == {(1, 1)}
    assert [model.stages[i].layers[-1].attn.q.linear.bias is None for i in range(3)] == [False, True, False]
    assert model(torch.randn(1, 3, 64, 48)).shape == (1, 5)
    with pytest.raises(ValueError, match="qkv_bias must be a bool or one for each of 3 stages"):
        tiny(qkv_bias=(True, False))


def test_mean_of_the_patches() -> None:
    model = tiny(pool="mean").double().eval()
    assert not any(isinstance(part, ClassToken) for part in model.modules())
    image = torch.randn(2, 3, 48, 64, dtype=torch.float64)
    tokens, _ = model.encode(image)
    torch.testing.assert_close(model.forward_features(image), tokens.mean(1))
    with pytest.raises(ValueError, match="pool must be one of 'cls', 'mean'"):
        tiny(pool="max")
