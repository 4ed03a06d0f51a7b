"""Recorder, as the document this library started from shows it, and on every other model."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks import record_attention
from vitblocks.zoo.recorder import Recorder
from vitblocks.zoo.vit import ViT

from ..zoo.tiny import TINY
from .test_record import ATTENDING, FOREIGN, image, no_hooks


def tiny_recorder() -> Recorder:
    return Recorder(TINY["ViT"].build().eval())


def test_the_documents_example() -> None:
    """At its sizes but for the width, which no shape here shows."""
    v: Any = ViT(image_size=256, patch_size=32, num_classes=1000, dim=64, depth=6, heads=16, mlp_dim=64, dropout=0.1)
    vit = v
    v = Recorder(v)
    preds, attns = v(torch.randn(1, 3, 256, 256))
    assert preds.shape == (1, 1000)
    assert attns.shape == (1, 6, 16, 65, 65)
    v = v.eject()
    assert v is vit
    assert no_hooks(v)


@pytest.mark.parametrize("name", ATTENDING)
def test_maps_of_every_model_are_stacked_or_named(name: str) -> None:
    build, size = TINY[name]
    model, x = build().eval(), image(size)
    output, attention = Recorder(model)(x)
    torch.testing.assert_close(output, model(x))
    with record_attention(model) as records:
        model(x)
    if isinstance(attention, Tensor):
        assert attention.shape[:2] == (2, len(records))
        each = list(attention.unbind(dim=1))
    else:
        assert len({record.weights.shape for record in records}) > 1 or records[0].weights.shape[1] > 1
        assert [name.split(":")[0] for name in attention] == [record.name for record in records]
        each = list(attention.values())
    for weights, record in zip(each, records, strict=True):
        torch.testing.assert_close(weights.reshape(record.weights.shape), record.weights)


@pytest.mark.parametrize("name", ["CCT", "DeepViT", "DistillableViT", "LocalViT", "ViT", "ViTLite"])
def test_isotropic_models_are_stacked(name: str) -> None:
    build, size = TINY[name]
    assert isinstance(Recorder(build().eval())(image(size))[1], Tensor)


def test_layers_called_twice_are_both_named() -> None:
    build, size = TINY["RegionViT"]
    _, attention = Recorder(build().eval(), layers=0)(image(size))
    assert list(attention) == ["stages.0.layers.0.attn.attend", "stages.0.layers.0.attn.attend:1"]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_model_without_attends_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="other packages"):
        Recorder(TINY[name].build())


def test_options_restrict_what_is_recorded() -> None:
    model = TINY["ViT"].build().eval()
    _, attention = Recorder(model, "meta", layers=-1, heads=1, queries="prefix", detach=True)(image())
    assert attention.shape == (2, 1, 1, 1, 17)
    assert attention.device.type == "meta"
    assert not attention.requires_grad
    with pytest.raises(ValueError, match="layers must name"):
        Recorder(model, layers="stages.1")


def test_gradients_flow_through_maps_and_output() -> None:
    recorder, x = tiny_recorder(), image().requires_grad_()
    preds, attns = recorder(x)
    assert torch.autograd.grad(attns.square().sum(), x, retain_graph=True)[0].abs().sum() > 0
    assert torch.autograd.grad(preds.square().sum(), x)[0].abs().sum() > 0


def test_clear_gives_memory_back_and_eject_ends_it() -> None:
    recorder = tiny_recorder()
    held = weakref.ref(recorder(image())[1])
    assert recorder.records is not None
    kept = weakref.ref(recorder.records[0].weights)
    assert kept() is not None
    recorder.clear()
    gc.collect()
    assert held() is None
    assert kept() is None
    recorder(image())
    model = recorder.eject()
    assert vars(recorder)["records"] is None
    assert model(image()).shape == (2, 5)
    with pytest.raises(RuntimeError, match="ejected"):
        recorder(image())
    with pytest.raises(RuntimeError, match="ejected"):
        recorder.eject()


def test_an_exception_leaves_nothing() -> None:
    recorder = tiny_recorder()
    recorder(image())
    with pytest.raises(ValueError, match="divide"):
        recorder(torch.randn(2, 3, 17, 16))
    assert recorder.records is None
    assert no_hooks(recorder)
    assert recorder(image())[1].shape == (2, 2, 2, 17, 17)


def test_a_compiled_model_is_recorded_and_given_back_compiled() -> None:
    model, x = TINY["ViT"].build().eval(), image()
    compiled: Any = torch.compile(copy.deepcopy(model), backend="aot_eager")
    recorder = Recorder(compiled)
    for _ in range(2):
        preds, attns = recorder(x)
        torch.testing.assert_close(preds, model(x))
        torch.testing.assert_close(attns, Recorder(model)(x)[1])
        compiled(x)
    assert recorder.eject() is compiled


def test_a_wrapper_is_a_module_like_others() -> None:
    recorder = tiny_recorder()
    assert isinstance(recorder, nn.Module)
    assert sum(p.numel() for p in recorder.parameters()) == sum(p.numel() for p in recorder.eject().parameters())
