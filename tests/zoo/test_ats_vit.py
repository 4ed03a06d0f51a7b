"""ATS."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitblocks
from vitblocks import Mlp
from vitblocks.inspect.capture import capture
from vitblocks.testing import check_layer
from vitblocks.zoo import ats_vit
from vitblocks.zoo.ats_vit import DROPPED, AdaptiveSampling, ATSViT, KeepPadding, TokenSampler, original_ids

from .common import (
    check_bfloat16,
    check_compiles,
    check_exports,
    check_gradients,
    check_logits,
    check_recomputation,
)

PATCHES = 64


def tiny(**options: Any) -> ATSViT:
    sizes = {"image_size": 32, "patch_size": 4, "num_classes": 5, "dim": 16, "depth": 4, "heads": 2, "mlp_dim": 24}
    return ATSViT(**{**sizes, "max_tokens_per_depth": (None, 64, None, 16), **options})


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, 32, 32)


def test_does_what_every_model_does() -> None:
    """But for feature maps: the tokens that are left lie on no grid."""
    points = (None, 16, None)
    model = tiny(depth=3, max_tokens_per_depth=points, dropout=0.1, emb_dropout=0.1, drop_path=0.1)
    image = images(2)
    check_logits(model, image, 5)
    check_gradients(model, image)
    check_compiles(model, image)
    check_exports(model, image)
    check_bfloat16(model, image)
    check_recomputation(model, image)
    with pytest.raises(ValueError, match=r"tokens were dropped"):
        model.feature_maps(image)


def test_with_tokens_cut_off_too() -> None:
    """The lengths depend on the data there, so that it is no single graph."""
    model, image = tiny(drop_tokens=True), images(2)
    check_logits(model, image, 5)
    check_gradients(model, image)
    check_bfloat16(model, image)
    torch._dynamo.reset()
    with pytest.raises(Exception, match=r"item|data-dependent"):
        torch.compile(model, fullgraph=True, backend="eager")(image)


def lengths(model: ATSViT, image: Tensor) -> list[int]:
    return [x.shape[1] - 1 for x, _ in model.eval().forward_stages(image)]


def test_tokens_become_fewer() -> None:
    model, image = tiny(), images()
    assert lengths(model, image) == [64, 64, 64, 16, 16]
    cut = tiny(drop_tokens=True)
    cut.load_state_dict(model.state_dict())
    shapes = lengths(cut, image)
    assert shapes[0] == shapes[1] == PATCHES
    assert all(after <= before for before, after in pairwise(shapes))
    assert shapes[2] < PATCHES
    with capture(cut, TokenSampler) as picks:
        cut(image)
    assert [int((pick != DROPPED).sum(dim=1).max()) for pick in picks] == [shapes[2], shapes[4]]


def test_the_document() -> None:
    model = ats_vit.ViT(
        image_size=64,
        patch_size=4,
        num_classes=10,
        dim=32,
        depth=6,
        max_tokens_per_depth=(256, 128, 64, 32, 16, 8),
        heads=4,
        mlp_dim=64,
        dropout=0.1,
        emb_dropout=0.1,
    )
    image = torch.randn(2, 3, 64, 64)
    logits, ids = model(image, return_sampled_token_ids=True)
    assert logits.shape == model(image).shape == (2, 10)
    assert ids.shape == (2, 8)
    assert ((ids >= DROPPED) & (ids < 256)).all()


def still(model: ATSViT) -> ATSViT:
    """No branch adds anything: tokens stay what they were after the positions."""
    for module in model.modules():
        if isinstance(module, (Mlp, vitblocks.GlobalAttention)):
            last = module.fc2 if isinstance(module, Mlp) else module.proj
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    return model.eval()


@pytest.mark.parametrize("drop_tokens", [False, True])
def test_ids_say_where_in_the_image_the_tokens_left_were(drop_tokens: bool) -> None:
    model, image = still(tiny(drop_tokens=drop_tokens)), images()
    before, _ = model.forward_stages(image)[0]
    after, _ = model.forward_stages(image)[-1]
    logits, ids = model(image, return_sampled_token_ids=True)
    assert torch.equal(logits, model(image))
    for first, last, kept in zip(before, after, ids, strict=True):
        count = int((kept != DROPPED).sum())
        assert (kept[count:] == DROPPED).all()
        assert len(set(kept[:count].tolist())) == count > 1
        assert torch.equal(last[1 : 1 + count], first[1:][kept[:count]])
        assert not last[1 + count :].any()


def test_ids_follow_the_samplers_and_their_padding() -> None:
    picks = [torch.tensor([[5, 2, 9], [4, 1, -1]]), torch.tensor([[2, 0], [1, -1]])]
    assert original_ids(picks).tolist() == [[9, 5], [1, -1]]


def test_compiled_models_give_ids_too() -> None:
    model, image = tiny(depth=2, max_tokens_per_depth=(None, 16)).eval(), images(2)
    _, expected = model(image, return_sampled_token_ids=True)
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, backend="eager")
    compiled(image)
    assert torch.equal(compiled(image, return_sampled_token_ids=True)[1], expected)


def test_images_do_not_depend_on_their_batch() -> None:
    """As long as no tokens are cut off. Every image keeps patches of its own."""
    model, image = tiny().eval().double(), images(4).double()
    logits, ids = model(image, return_sampled_token_ids=True)
    alone = [model(one[None], return_sampled_token_ids=True) for one in image]
    torch.testing.assert_close(torch.cat([each[0] for each in alone]), logits, rtol=0, atol=1e-12)
    assert torch.equal(torch.cat([each[1] for each in alone]), ids)
    assert len({frozenset(row.tolist()) for row in ids}) > 1


def test_sampling_is_deterministic() -> None:
    model, image = tiny().train(), images()
    assert torch.equal(model(image), model(image))
    assert torch.equal(model.eval()(image), model.train()(image))


def test_padding_stays_out_of_every_stage() -> None:
    """Its rows stay zero to the end, whatever biases the norms and feed-forwards have."""
    model, image = tiny(max_tokens_per_depth=(None, 64, None, 64)).eval(), images()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    with capture(model, TokenSampler) as picks:
        outputs = model.forward_stages(image)
    for pick, stages in zip(picks, (outputs[1:3], outputs[3:5]), strict=True):
        real = (pick != DROPPED).sum(dim=1)
        assert (real < pick.shape[1]).any()
        for x, _ in stages:
            assert torch.equal((x != 0).any(dim=-1).sum(dim=1), real + 1)


def test_a_layer_around_which_padding_is_kept() -> None:
    layer = KeepPadding(vitblocks.Residual(4, Mlp(4)))
    x = torch.randn(2, 5, 4)
    x[1, 3:] = 0
    y = layer(x, (4,))
    assert not y[1, 3:].any()
    torch.testing.assert_close(y[0], layer.layer(x, (4,))[0])


@pytest.mark.parametrize("size", [(32, 48), (16, 8)])
def test_other_sizes_channels_and_features(size: tuple[int, int]) -> None:
    model = tiny(channels=2, num_classes=0).eval()
    logits, ids = model(torch.randn(2, 2, *size), return_sampled_token_ids=True)
    assert logits.shape == (2, 16)
    assert ids.max() < size[0] * size[1] // 16


def test_blocks_that_sample_are_where_they_were_asked_for() -> None:
    def sampling(*points: int | None) -> list[int]:
        model = tiny(depth=len(points), max_tokens_per_depth=points)
        return [m.sampler.samples for m in model.modules() if isinstance(m, AdaptiveSampling)]

    assert sampling(None, 7, 9) == [7, 9]
    assert sampling(3) == [3]
    for points in [(None, None), ()]:
        with pytest.raises(ValueError, match=r"max_tokens_per_depth must be 2 numbers or None"):
            tiny(depth=2, max_tokens_per_depth=points)
    with pytest.raises(ValueError, match="samples must be at least 2, got 1"):
        sampling(1)
    with pytest.raises(ValueError, match=r"\(28, 32\) or \(32, 32\)"):
        tiny(image_size=(30, 32))


def test_drop_path_rises_through_all_blocks() -> None:
    model = tiny(drop_path=0.3)
    rates = [m.rate for m in model.modules() if isinstance(m, vitblocks.DropPath)]
    assert rates == pytest.approx([0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3])


def test_initial_weights() -> None:
    model = tiny(dim=64, mlp_dim=128)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert not module.bias.any()
            assert 0.018 < module.weight.std() < 0.022 or module.weight.numel() < 1000
    tables = [p for name, p in model.named_parameters() if name.endswith(("token", "table"))]
    assert len(tables) == 2
    assert all(0.015 < table.std() < 0.025 for table in tables)


def test_counts_without_computing() -> None:
    """Sampled depths cost less."""
    sampled, plain = tiny(max_tokens_per_depth=(16, 16, 16, 16)), tiny(max_tokens_per_depth=(None, None, None, 16))
    assert vitblocks.summary(sampled).macs < vitblocks.summary(plain).macs


def test_capture_collects_in_the_order_of_calls() -> None:
    model, image = tiny().eval(), images(2)
    with capture(model, Mlp) as outputs:
        model(image)
    assert [output.shape[1] for output in outputs] == [65, 65, 65, 17]
    model(image)
    assert len(outputs) == 4
    with pytest.raises(ValueError, match="ATSViT, it has no Conv1d"), capture(model, nn.Conv1d):
        pass
    compiled: Any = torch.compile(model)
    with pytest.raises(ValueError, match="must not be compiled"), capture(compiled, Mlp):
        pass


def test_the_layer_that_keeps_padding_keeps_the_contract() -> None:
    check_layer(lambda: KeepPadding(vitblocks.Residual(4, Mlp(4))), 4)
