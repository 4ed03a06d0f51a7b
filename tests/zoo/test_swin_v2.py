"""Swin V2."""

from __future__ import annotations

import pytest
import torch

from vitblocks import CosineAttend, LogSpacedBias, QVBiasLinear, SwinV2, WindowAttention
from vitblocks.attention.windows import Partition
from vitblocks.zoo.swin_v2 import AlwaysShiftedWindows

from .common import check_eager


def tiny(**options: object) -> SwinV2:
    sizes = {"num_classes": 5, "dim": 8, "depths": (2, 2), "heads": (2, 4), "window": 4, "branch_weight": 1.0}
    return SwinV2(**{**sizes, **options})


def test_does_what_every_model_does() -> None:
    """Compiled and exported it is by tests/transforms."""
    check_eager(tiny(dropout=0.1), torch.randn(2, 3, 16, 24), classes=5)


def test_starts_as_the_identity() -> None:
    model = tiny(branch_weight=0.0).eval()
    before, grid = model.embed(torch.randn(1, 3, 32, 32))
    assert torch.equal(model.stages[0](before, grid)[0], before)


def windows(model: SwinV2) -> list[Partition]:
    return [part.windows for part in model.modules() if isinstance(part, WindowAttention)]


def test_windows_of_transformers_are_those_of_the_image_size() -> None:
    model = tiny(padding="hf", image_size=(32, 16))  # maps of 8 x 4 and 4 x 2
    found = windows(model)
    assert [isinstance(part, AlwaysShiftedWindows) for part in found] == [False, True, False, False]
    assert [part.window((8, 8)) for part in found] == [(4, 4)] * 4
    assert found[1].labels((4, 4)) is not None


def test_a_bias_of_another_window_reads_offsets_of_the_one_it_was_trained_with() -> None:
    bias = LogSpacedBias(2, 16, pretrained=4).double()
    small, large = bias.offsets((4, 4)), bias.offsets((7, 7))
    torch.testing.assert_close(large[:, 3:-3, 3:-3], small)
    anew = LogSpacedBias(2, 16).double()
    anew.load_state_dict(bias.state_dict())
    torch.testing.assert_close(anew.offsets((4, 4)), small)
    assert (anew.offsets((7, 7))[:, 3:-3, 3:-3] - small).abs().max() > 1e-3


def test_offsets_are_read_by_their_logarithm() -> None:
    ninth = torch.tensor(9.0).log() / torch.tensor(8.0).log()
    torch.testing.assert_close(LogSpacedBias(1).side(2, 2), torch.stack([-ninth, 0 * ninth, ninth]))
    places = LogSpacedBias(1, span=None, limit=None)
    torch.testing.assert_close(places.side(3, 3)[2:], torch.tensor([1.0, 2.0, 3.0]).log())
    assert LogSpacedBias(1, limit=2.0)((3, 3)).abs().max() <= 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"span": 1.0}, "span"),
        ({"limit": 0.0}, "limit"),
        ({"span": None, "pretrained": 4}, "no meaning without a span"),
    ],
)
def test_what_a_bias_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogSpacedBias(2, **options)


def test_cosines_are_multiplied_by_a_hundred_at_most() -> None:
    attend = CosineAttend(2).double()
    q, k = torch.randn(2, 1, 2, 3, 4, dtype=torch.float64)
    torch.nn.init.constant_(attend.logit_scale, 100.0)
    cosines = torch.nn.functional.cosine_similarity(q[..., :, None, :], k[..., None, :, :], dim=-1)
    torch.testing.assert_close(attend.logits(q, k), 100 * cosines)
    assert attend.half()(torch.zeros(1, 2, 3, 4).half(), k.half(), k.half()).isfinite().all()


def test_keys_have_no_bias_until_they_are_a_linear() -> None:
    qkv = QVBiasLinear(4, (4, 4, 6)).double()
    for bias in (qkv.q_bias, qkv.v_bias):
        torch.nn.init.normal_(bias)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    assert torch.equal(qkv.bias[4:8], torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(qkv.to_linear()(x), qkv(x))
