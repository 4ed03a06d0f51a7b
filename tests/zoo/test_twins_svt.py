"""Twins-SVT and Twins-PCPVT."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import PEG, Block, LocalWindowAttention, ReducedAttention, TwinsPCPVT, TwinsSVT

from .common import check_model


def svt(**options: Any) -> TwinsSVT:
    sizes = {f"s{i}_emb_dim": 8 * i for i in range(1, 5)} | {f"s{i}_depth": 1 for i in range(1, 5)}
    windows = {f"s{i}_local_patch_size": 4 for i in range(1, 5)} | {
        f"s{i}_global_k": k for i, k in enumerate((4, 2, 2, 1), start=1)
    }
    return TwinsSVT(
        **{"num_classes": 5, "heads": (1, 2, 2, 2), "mlp_ratios": (2, 2, 2, 2), **sizes, **windows, **options}
    )


def pcpvt(**options: Any) -> TwinsPCPVT:
    sizes = {"dims": (8, 8, 16, 16), "depths": (1, 1, 2, 1), "heads": (1, 2, 2, 2), "mlp_ratios": (2, 2, 2, 2)}
    return TwinsPCPVT(**{"num_classes": 5, "reductions": (4, 2, 2, 1), **sizes, **options})


@pytest.mark.parametrize("build", [svt, pytest.param(pcpvt, marks=pytest.mark.slow)])
def test_does_what_every_model_does(build: Any) -> None:
    check_model(build(drop_path=0.1, dropout=0.1, attn_dropout=0.1), torch.randn(2, 3, 64, 64), classes=5)


def test_local_and_global_attention_take_turns_with_a_peg_after_the_first_block() -> None:
    for stage in svt(s3_depth=2).stages:
        layers = list(stage.layers)
        assert [type(layer) for layer in layers[:3]] == [Block, PEG, Block]
        attns = [layer.attn for layer in layers if isinstance(layer, Block)]
        assert all(isinstance(attn, LocalWindowAttention) for attn in attns[::2])
        assert all(isinstance(attn, ReducedAttention) for attn in attns[1::2])


def test_one_head_for_every_32_channels() -> None:
    heads = [attn.heads for attn in TwinsSVT(num_classes=2).modules() if isinstance(attn, ReducedAttention)]
    assert sorted(set(heads)) == [2, 4, 8, 16]


def test_sizes_that_windows_do_not_divide_are_padded() -> None:
    assert svt().eval()(torch.randn(1, 3, 96, 160)).isfinite().all()


def test_what_fills_no_whole_patch_is_left_out() -> None:
    model = svt().eval()
    image = torch.randn(1, 3, 103, 75)
    assert [grid for _, grid in model.forward_stages(image)] == [(25, 18), (12, 9), (6, 4), (3, 2)]
    assert torch.equal(model(image), model(image[..., :100, :72]))
    with pytest.raises(ValueError, match=r"\(2, 2\) or more would do"):
        pcpvt(reductions=(1, 1, 1, 1))(image[..., :31])


def test_padding_is_masked_unless_asked_for() -> None:
    masked, attended = svt().double().eval(), svt(padding="attended").double().eval()
    attended.load_state_dict(masked.state_dict())
    image = torch.randn(1, 3, 75, 75, dtype=torch.float64)
    assert (masked(image) - attended(image)).abs().max() > 1e-4 * masked(image).abs().max()


def test_a_map_smaller_than_the_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match=r"smaller than the reduction \(16, 16\)"):
        svt(s1_global_k=16)(torch.randn(1, 3, 32, 32))


def test_strides() -> None:
    assert svt().strides == [(4, 4), (8, 8), (16, 16), (32, 32)]


def test_initial_weights() -> None:
    for module in svt(s4_emb_dim=64, s3_emb_dim=64).modules():
        if isinstance(module, nn.Linear):
            if module.weight.numel() > 500:
                assert 0.8 * 0.02 < module.weight.std() < 1.2 * 0.02
            assert module.bias is None or not module.bias.any()
        elif isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            if module.weight.numel() > 500:
                assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.2)
            assert module.bias is None or not module.bias.any()


def test_an_odd_number_of_blocks_ends_with_a_local_one() -> None:
    model = svt(depths=(1, 2, 3, 1), qkv_bias=False)
    kinds = [[type(block.attn) for _, block in model.blocks() if block in stage.layers] for stage in model.stages]
    local, reduced = LocalWindowAttention, ReducedAttention
    assert kinds == [[local], [local, reduced], [local, reduced, local], [local]]
    assert not any(key.endswith((".qkv.bias", ".q.bias", ".kv.bias")) for key in model.state_dict())
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 5)


def test_pcpvt_without_bias() -> None:
    assert not any(key.endswith((".q.bias", ".kv.bias")) for key in pcpvt(qkv_bias=False).state_dict())
