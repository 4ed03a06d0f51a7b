"""Multiply-adds of published variants beside a count of timm's own models, one of every kind of builder, without weights."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitblocks import create_model, summary

from . import cases as cases  # which lets timm import torchvision

timm = pytest.importorskip("timm")

NAMES = [
    "beit_base_patch16_224",
    "beitv2_base_patch16_224",
    "deit3_small_patch16_224",
    "eva02_small_patch14_224",
    "eva02_base_patch14_224",
    "eva02_base_patch16_clip_224",
    "eva_large_patch14_196",
    "flexivit_small",
    "maxvit_rmlp_pico_rw_256",
    "maxvit_tiny_tf_224",
    "maxxvit_rmlp_nano_rw_256",
    "maxxvitv2_nano_rw_256",
    "swinv2_tiny_window8_256",
    "vit_base_patch16_clip_224",
    "vit_base_patch16_siglip_224",
    "vit_base_patch16_siglip_gap_224",
    "vit_base_patch16_rope_reg1_gap_256",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
    "vit_small_patch16_rope_224",
    "vit_small_patch16_rope_ape_224",
    "vit_small_patch16_rope_mixed_224",
    "vit_small_plus_patch16_dinov3",
    "vit_small_patch8_224",
    "xcit_nano_12_p16_224",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_multiply_adds_are_those_of_timm(name: str) -> None:
    """Within a hundredth: timm looks biases up by products, and angles of learned frequencies are products of ours."""
    with torch.device("meta"):
        theirs = timm.create_model(name).eval().requires_grad_(False)
        ours = create_model(name, num_classes=theirs.num_classes)
    size = theirs.pretrained_cfg["input_size"]
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        theirs(torch.empty(1, *size, device="meta"))
    counted = summary(ours, size[1:])
    assert counted.params == sum(parameter.numel() for parameter in theirs.parameters())
    assert counted.macs == pytest.approx(counter.get_total_flops() / 2, rel=0.01)
