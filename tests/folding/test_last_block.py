"""The last block for what the pool reads: exact where it applies, and left alone where it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import pytest
import torch
from torch import nn

from tests.zoo.tiny import TINY
from vitblocks import (
    Block,
    ClassAttention,
    ClassBlock,
    ClassMeanPool,
    ClassPool,
    ClassToken,
    ConvFeedForward,
    DecomposedBias,
    GatedMlp,
    GlobalAttention,
    LinearEmbed,
    Mlp,
    Model,
    ParallelBlock,
    PerToken,
    RegisterToken,
    RelativeBias,
    Residual,
    Rotary2d,
    Stage,
    TalkingHeadsAttention,
    fold,
    record_attention,
)
from vitblocks.folding.fold import RULES
from vitblocks.norm import BatchNorm, LayerNorm, rms_norm

from .models import DIM, images, shaken
from .test_folding import Doubled, difference

RULE = "last block for what the pool reads"
CLASS = "class attention without keys and values"

READ = {"CLIP", "DINOv2", "DINOv3", "DeiT3", "PiT", "RoPEViT", "T2TViT", "ViT"}
READ |= {f"Distillable{name}" for name in ("PiT", "T2TViT", "ViT")}


def block(
    attn: nn.Module | None = None, mlp: nn.Module | None = None, kind: type = Block, **options: object
) -> nn.Module:
    return kind(DIM, GlobalAttention(DIM, 2) if attn is None else attn, Mlp(DIM) if mlp is None else mlp, **options)


def model_of(
    *layers: nn.Module, tokens: int = 1, pool: nn.Module | None = None, norm: Callable[[int], nn.Module] = LayerNorm
) -> nn.Module:
    stages: Sequence[Stage] = [Stage([ClassToken(DIM, tokens), *layers])]
    return shaken(Model(LinearEmbed(4, DIM), stages, norm=norm(DIM), pool=ClassPool() if pool is None else pool))


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_model_keeps_its_logits(name: str) -> None:
    model = shaken(TINY[name].build())
    x = images(TINY[name].image_size)
    folded, report = fold(model, x, outputs="logits")
    assert difference(model, folded, x) < 1e-9
    assert report.counts.get(RULE, 0) == (name in READ)


APPLIES: dict[str, Callable[[], nn.Module]] = {
    "two blocks": lambda: model_of(block(), block()),
    "layer scale": lambda: model_of(block(layer_scale=0.5)),
    "two tokens": lambda: model_of(block(), tokens=2, pool=ClassPool(2)),
    "registers": lambda: model_of(RegisterToken(DIM, 2), block()),
    "position bias": lambda: model_of(block(GlobalAttention(DIM, 2, position_bias=RelativeBias(2, 5)))),
    "widths of their own": lambda: model_of(block(GlobalAttention(DIM, 2, head_dim=3, value_dim=5, qkv_bias=False))),
    "normed": lambda: model_of(block(GlobalAttention(DIM, 2, qk_norm=LayerNorm))),
    "rotary": lambda: model_of(block(GlobalAttention(DIM, 2, rotary=Rotary2d(4)))),
    "rotary, bias and norm": lambda: model_of(
        RegisterToken(DIM, 2),
        block(GlobalAttention(DIM, 2, rotary=Rotary2d(4), qk_norm=rms_norm(), position_bias=RelativeBias(2, 5))),
    ),
    "rms norm": lambda: model_of(block(norm=rms_norm()), norm=rms_norm()),
    "batch norm": lambda: model_of(block(norm=BatchNorm), norm=BatchNorm),
    "gated": lambda: model_of(block(mlp=GatedMlp(DIM))),
    "branch by branch": lambda: model_of(
        Residual(DIM, GlobalAttention(DIM, 2)), Residual(DIM, Mlp(DIM)), PerToken(nn.GELU())
    ),
}


@pytest.mark.parametrize("name", APPLIES)
@pytest.mark.parametrize("frozen", [False, True])
def test_the_last_block_is_read(name: str, frozen: bool) -> None:
    model = APPLIES[name]()
    folded, report = fold(model, images() if frozen else None, outputs="logits")
    assert report.counts[RULE] == 1
    for batch in (1, 3):
        assert difference(model, folded, images(batch=batch)) < 1e-9
    assert fold(folded, images(), outputs="logits").report.counts.get(RULE, 0) == 0


def shared() -> nn.Module:
    mlp = Mlp(DIM)
    return model_of(block(mlp=mlp), block(mlp=mlp))


def hooked() -> nn.Module:
    model = model_of(block())
    model.stages[0].layers[1].attn.attend.register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize("tokens", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_class_attention_without_keys_and_values(tokens: int, bias: bool) -> None:
    blocks = [block(ClassAttention(DIM, 2, qkv_bias=bias), kind=ClassBlock) for _ in range(2)]
    model = model_of(block(), *blocks, block(ClassAttention(DIM, 2)), tokens=tokens)
    folded, report = fold(model, images(), outputs="logits")
    assert (report.counts[CLASS], report.counts[RULE]) == (2, 1)  # the block that ends it is read as any other
    assert difference(model, folded, images(batch=3)) < 1e-9
    assert CLASS not in fold(model, images()).report.counts
    blocks[0].attn.register_forward_hook(lambda *_: None)
    assert fold(model, images(), outputs="logits").report.counts[CLASS] == 1


STANDS_ASIDE: dict[str, Callable[[], nn.Module]] = {
    "mean of patches": lambda: model_of(block(), pool=ClassMeanPool()),
    "parallel": lambda: model_of(block(kind=ParallelBlock)),
    "talking heads": lambda: model_of(block(TalkingHeadsAttention(DIM, 2))),
    "a bias of queries": lambda: model_of(block(GlobalAttention(DIM, 2, position_bias=DecomposedBias(4, 5)))),
    "neighbours": lambda: model_of(block(mlp=ConvFeedForward(DIM))),
    "a forward of its own": lambda: model_of(block(mlp=Doubled(DIM))),
    "a layer after it": lambda: model_of(block(), block(kind=ParallelBlock)),
    "shared": shared,
    "hooked": hooked,
}


@pytest.mark.parametrize("name", STANDS_ASIDE)
def test_other_last_blocks_are_left_alone(name: str) -> None:
    model = STANDS_ASIDE[name]()
    folded, report = fold(model, images(), outputs="logits")
    assert RULE not in report.counts
    assert difference(model, folded, images()) < 1e-9


def test_other_outputs_than_logits_leave_it_and_are_named() -> None:
    model = APPLIES["two blocks"]()
    assert RULE not in fold(model, images()).report.counts
    with pytest.raises(ValueError, match="outputs must be"):
        fold(model, outputs="features")


def test_what_is_gone_is_the_last_block_and_nothing_else() -> None:
    model = APPLIES["two blocks"]()
    folded, report = fold(model, images(), outputs="logits")
    (done,) = (fold for fold in report.folds if fold.rule == RULE)
    assert (done.source, done.into) == ("stages.0.layers.2", "pool")
    with record_attention(folded) as records, record_attention(model) as before:
        features, expected = folded.forward_features(images()), model.forward_features(images())
    assert torch.allclose(features, expected, rtol=0, atol=1e-9)
    assert [record.name for record in records] == [before[0].name]
    assert torch.allclose(records[0].weights, before[0].weights, rtol=0, atol=1e-9)
    tokens, grid = folded.encode(images())
    assert (tuple(tokens.shape), grid) == ((2, 26, DIM), (5, 5))


def test_any_size_without_a_sample_and_the_samples_with_one() -> None:
    model = APPLIES["position bias"]()
    assert difference(model, fold(model, outputs="logits").model, images(28)) < 1e-9
    with pytest.raises(ValueError, match=r"was frozen for grid \(5, 5\)"):
        fold(model, images(), outputs="logits").model(images(28))


def test_gradients_of_images_compile_export_and_copies() -> None:
    model = APPLIES["two blocks"]()
    folded, _ = fold(model, images(), outputs="logits")
    gradients = []
    for either in (model, folded):
        x = images().requires_grad_()
        either(x).square().sum().backward()
        gradients.append(x.grad)
    assert torch.allclose(*gradients, rtol=0, atol=1e-9)
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    dynamic = {0: torch.export.Dim("batch")}
    exported = torch.export.export(folded, (images(),), dynamic_shapes=(dynamic,)).module()
    compiled = torch.compile(folded, backend="eager", fullgraph=True)
    with torch.no_grad():
        for other in (exported, compiled, deepcopy(folded)):
            assert difference(folded, other, images(batch=3)) < 1e-12


def test_rules_are_left_out_by_name() -> None:
    model = APPLIES["layer scale"]()
    every = fold(model, images(), outputs="logits").report.counts
    for name in RULES:
        folded, report = fold(model, images(), outputs="logits", without=[name])
        assert difference(model, folded, images(batch=3)) < 1e-9
        assert report.counts != every or name not in ("dropout", "token_norm", "layer_scale", "last_block")
    for wrong in (["last"], "last_block"):
        with pytest.raises(ValueError, match="without must be some of"):
            fold(model, without=wrong)
