"""LocalViT."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks import (
    Chain,
    DropPath,
    EfficientChannelAttention,
    GlobalAttention,
    LocalViT,
    Mlp,
    Residual,
    SqueezeExcite,
)
from vitblocks.testing import check_layer

from .common import check_model

ECA = EfficientChannelAttention.for_channels


def tiny(**options: Any) -> LocalViT:
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 24}
    return LocalViT(**{**sizes, **options})


def test_does_what_every_model_does() -> None:
    check_model(tiny(dropout=0.1, emb_dropout=0.1, drop_path=0.1), torch.randn(2, 3, 32, 32), classes=5)


@pytest.mark.parametrize(
    ("activation", "channel_attention"),
    [
        (nn.ReLU6, None),
        (nn.Hardswish, None),
        (nn.Hardswish, partial(SqueezeExcite, reduction=8)),
        (nn.Hardswish, ECA),
        (nn.Hardswish, partial(ECA, gate=nn.Hardsigmoid)),
    ],
)
@pytest.mark.parametrize("size", [(32, 48), (64, 16)])
def test_every_feed_forward_on_rectangles(activation: Any, channel_attention: Any, size: tuple[int, int]) -> None:
    model = tiny(image_size=(16, 24), channels=2, activation=activation, channel_attention=channel_attention).eval()
    assert model(torch.randn(2, 2, *size)).isfinite().all()
    assert {type(m) for m in model.modules()} >= {activation, Chain}


def test_the_class_token_bypasses_the_convolutions() -> None:
    """Those of the last block reach the patches alone."""
    model, image = tiny().eval(), torch.randn(2, 3, 32, 32)
    (tokens, _), logits = model.encode(image), model(image)
    blocks = [block for _, block in model.blocks()]
    assert len(blocks) == 2
    with torch.no_grad():
        blocks[-1].conv.layer.conv2.weight.mul_(3)
    changed, _ = model.encode(image)
    assert torch.equal(model(image), logits)
    assert torch.equal(changed[:, 0], tokens[:, 0])
    assert (changed[:, 1:] - tokens[:, 1:]).abs().amin(dim=-1).amax() > 0


def test_neighbours_meet_in_the_convolutions() -> None:
    """What changes in one patch reaches its eight neighbours in a block without attention, and no further."""
    block: Any = next(tiny(channel_attention=None).eval().blocks())[1]
    x = torch.randn(1, 1 + 5 * 5, 16)
    moved = x.clone()
    moved[:, 1 + 12] += 1
    reached = (block.conv(x, (5, 5)) - block.conv(moved, (5, 5))).abs().amax(dim=-1)[0] > 0
    assert not reached[0]
    rows, columns = reached[1:].view(5, 5).nonzero(as_tuple=True)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(r, c) for r in (1, 2, 3) for c in (1, 2, 3)]


def test_drop_path_covers_the_attention_alone() -> None:
    model = tiny(depth=3, drop_path=0.2)
    rates = {
        branch: [part.rate for _, b in model.blocks() for part in getattr(b, branch).modules() if drops(part)]
        for branch in ("attn", "conv")
    }
    assert rates == {"attn": [0.0, 0.1, 0.2], "conv": [0.0, 0.0, 0.0]}


def drops(part: nn.Module) -> bool:
    return isinstance(part, DropPath)


@pytest.mark.parametrize(("channels", "kernel_size"), [(8, 3), (64, 3), (256, 5), (512, 5), (768, 5), (2048, 7)])
def test_channel_attention_reaches_further_with_more_channels(channels: int, kernel_size: int) -> None:
    """The odd number nearest above or at |log2(channels) + 1| / 2, rounded down first."""
    assert ECA(channels).conv.kernel_size == (kernel_size,)


def test_a_chain_runs_in_order_and_counts_as_one_block() -> None:
    seen: list[str] = []

    class Step(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
            seen.append(self.name)
            return x + 1

    chain = Chain(zeta=Step("first"), alpha=Residual(4, Step("second"), norm=nn.Identity))
    torch.testing.assert_close(chain(torch.zeros(1, 2, 4), (1, 2)), torch.full((1, 2, 4), 3.0))
    assert seen == ["first", "second"]
    assert [name for name, _ in chain.named_children()] == ["zeta", "alpha"]


def test_initial_weights() -> None:
    model = tiny(dim=64, mlp_dim=128, heads=4)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert not module.bias.any()
            if module.weight.numel() > 1000:
                assert 0.018 < module.weight.std() < 0.022
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 1000:
            # PyTorch's own start: uniform up to 1 / sqrt(fan in).
            bound = module.weight[0].numel() ** -0.5
            assert module.weight.abs().max() <= bound
            assert 0.9 < module.weight.std() * 3**0.5 / bound < 1.1


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(24, 32\) or \(32, 32\)"):
        tiny(image_size=(30, 32))
    with pytest.raises(ValueError, match="3 heads"):
        tiny(heads=3)
    with pytest.raises(ValueError, match="reduction 32 leaves nothing of 24 channels"):
        tiny(channel_attention=partial(SqueezeExcite, reduction=32))
    assert tiny(num_classes=0).eval()(torch.randn(2, 3, 32, 32)).shape == (2, 16)


def test_the_chain_keeps_the_contract() -> None:
    check_layer(lambda: Chain(attn=Residual(8, GlobalAttention(8, 2)), mlp=Residual(8, Mlp(8))), 8)
