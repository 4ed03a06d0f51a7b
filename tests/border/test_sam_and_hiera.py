"""timm's and transformers' SAM encoders and Hieras come in as they are, whatever they were made with."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks.border import adopt
from vitblocks.border.configs import reader_of
from vitblocks.checkpoint import load, other_names

from .cases import check, randomised

EPS = partial(nn.LayerNorm, eps=1e-3)

SAM: dict[str, dict[str, Any]] = {
    "plain": {},
    "no head, no neck, no positions": {"num_classes": 0, "neck_chans": None, "use_abs_pos": False},
    "rectangle, 7 classes, 1 channel": {"img_size": (32, 48), "num_classes": 7, "in_chans": 1, "qkv_bias": False},
    "other norms, drop rates": {"norm_layer": EPS, "proj_drop_rate": 0.1, "attn_drop_rate": 0.2, "drop_path_rate": 0.3},
    "all global, layer scale": {"window_size": 0, "init_values": 1e-3},
    "all in windows, no relative positions": {"global_attn_indexes": (), "use_rel_pos": False},
}


def timm_sam(**options: Any) -> nn.Module:
    timm = pytest.importorskip("timm")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "neck_chans": 8}
    blocks = {"window_size": 3, "global_attn_indexes": (1,), "use_rel_pos": True, "num_classes": 5}
    made: nn.Module = timm.models.vision_transformer_sam.VisionTransformerSAM(**sizes | blocks | options)
    return made


@pytest.mark.parametrize("options", SAM.values(), ids=SAM)
def test_timm_sam(options: dict[str, Any]) -> None:
    check(lambda: timm_sam(**options), sizes=2)


HIERA: dict[str, dict[str, Any]] = {
    "plain": {},
    "rectangle, no head, 1 channel": {"img_size": (64, 32), "num_classes": 0, "in_chans": 1, "drop_path_rate": 0.3},
    "absolute window positions": {
        "abs_win_pos_embed": True,
        "global_pos_size": (3, 5),
        "init_values": 1e-3,
        "use_expand_proj": False,
    },
    "one pooling, units to the end": {"q_pool": 1, "mask_unit_attn": (True, True, True)},
    "no units, other widths": {
        "mask_unit_attn": (False, False, False),
        "stages": (2, 1, 3),
        "mlp_ratio": 2.7,
        "dim_mul": 1.5,
        "head_mul": 1,
        "num_heads": 3,
        "embed_dim": 12,
    },
    "other strides and units": {
        "q_stride": (2, 1),
        "mask_unit_size": (4, 1),
        "patch_kernel": (3, 5),
        "patch_padding": (1, 2),
    },
}


def timm_hiera(**options: Any) -> nn.Module:
    timm = pytest.importorskip("timm")
    sizes = {"img_size": (32, 32), "embed_dim": 8, "num_heads": 1, "stages": (1, 2, 1), "num_classes": 5}
    units = {"q_pool": 2, "mask_unit_size": (4, 4), "mask_unit_attn": (True, True, False)}
    made: nn.Module = timm.models.hiera.Hiera(**sizes | units | options)
    return made


@pytest.mark.parametrize("options", HIERA.values(), ids=HIERA)
def test_timm_hiera(options: dict[str, Any]) -> None:
    check(lambda: timm_hiera(**options))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "SAM: rotary": (lambda: timm_sam(use_rel_pos=False, use_rope=True), "rope of blocks.0"),
    "SAM: q and k normed": (lambda: timm_sam(qk_norm=True), "blocks.0.attn.q_norm"),
    "SAM: norm before": (lambda: timm_sam(pre_norm=True), "norm_pre"),
    "SAM: hidden layer": (lambda: timm_sam(head_hidden_size=8), "head"),
    "Hiera: maxima": (lambda: timm_hiera(global_pool="max"), "global_pool"),
    "Hiera: drop rate": (lambda: timm_hiera(drop_rate=0.1), "drop_rate"),
    "Hiera: patches dropped": (lambda: timm_hiera(patch_drop_rate=0.1), "patch_drop_rate"),
}


@pytest.mark.parametrize(("make", "setting"), REFUSED.values(), ids=REFUSED)
def test_refused_by_name(make: Callable[[], nn.Module], setting: str) -> None:
    with pytest.raises(ValueError, match=f"has {re.escape(setting)} = "):
        adopt(make())


HF_SAM: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias, no positions": {"qkv_bias": False, "use_abs_pos": False, "use_rel_pos": False},
    "another epsilon and activation": {"layer_norm_eps": 1e-3, "hidden_act": "relu", "mlp_dim": 24},
}
HF_HIERA: dict[str, dict[str, Any]] = {
    "plain": {},
    "rectangle": {"image_size": [32, 64], "num_channels": 1},
    "units to the end": {"masked_unit_attention": [True, True, True], "layer_norm_eps": 1e-3},
    "one pooling": {"num_query_pool": 1, "masked_unit_attention": [True, False, False], "num_heads": [2, 2, 2]},
}


def hf_sam(**options: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    blocks = {"output_channels": 8, "window_size": 3, "global_attn_indexes": [1]}
    return transformers.SamVisionConfig(**sizes | blocks | options)


def hf_hiera(**options: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    sizes = {"image_size": [32, 32], "embed_dim": 8, "num_heads": [1, 2, 4], "depths": [1, 2, 1], "num_query_pool": 2}
    units = {"masked_unit_size": [4, 4], "masked_unit_attention": [True, True, False], "num_labels": 5}
    return transformers.HieraConfig(**sizes | units | options)


MODELS: dict[str, tuple[Callable[..., Any], dict[str, dict[str, Any]]]] = {
    "SamVisionModel": (hf_sam, HF_SAM),
    "HieraModel": (hf_hiera, HF_HIERA),
    "HieraForImageClassification": (hf_hiera, HF_HIERA),
}


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, (_, cases) in MODELS.items() for case in cases])
def test_transformers(name: str, case: str) -> None:
    """As it is, and as its config.json and its file say."""
    transformers = pytest.importorskip("transformers")
    configure, cases = MODELS[name]
    config = configure(**cases[case])
    model, _ = check(lambda: getattr(transformers, name)(config))
    read = reader_of({**config.to_dict(), "architectures": [name]})({**config.to_dict(), "architectures": [name]})
    theirs = randomised(getattr(transformers, name)(config))
    for ours in (model, read):
        load(ours, theirs.state_dict(), layout=other_names(type(ours).layouts["hf"]))
    size = tuple(int(side) for side in model.image_size)
    images = torch.rand(2, model.embed.conv.in_channels, *size)
    torch.testing.assert_close(read.eval()(images), model.eval()(images))


@pytest.mark.parametrize("options", [{}, {"normalize_pixel_loss": False, "image_size": [32, 64]}])
def test_pretraining(options: dict[str, Any]) -> None:
    """All predicted pixels and the loss, where both hide the same units."""
    transformers = pytest.importorskip("transformers")
    decoder = {"decoder_hidden_size": 16, "decoder_depth": 2, "decoder_num_heads": 4, "image_size": [64, 64]}
    config = hf_hiera(**decoder | options)
    model, _ = check(lambda: transformers.HieraForPreTraining(config))
    said = {**config.to_dict(), "architectures": ["HieraForPreTraining"]}
    assert repr(reader_of(said)(said)) == repr(model)


def test_the_encoder_of_a_whole_sam_is_read() -> None:
    config = hf_sam()
    read = reader_of({"architectures": ["SamModel"]})
    model = read({"architectures": ["SamModel"], "vision_config": config.to_dict()})
    transformers = pytest.importorskip("transformers")
    theirs = transformers.SamVisionModel(config).state_dict()
    others = {"mask_decoder.iou_token.weight": torch.zeros(1), "prompt_encoder.no_mask_embed.weight": torch.zeros(1)}
    report = load(model, {**theirs, **others}, layout="hf")
    assert sorted(report.ignored) == sorted(others)
