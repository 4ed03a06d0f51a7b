"""Extractor, as the document this library started from shows it, and on every other model."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks import CrossViT, Model
from vitblocks.zoo.extractor import Extractor
from vitblocks.zoo.vit import ViT

from ..zoo.tiny import TINY
from .test_record import Failing, image, no_hooks


def tiny_vit() -> Any:
    return TINY["ViT"].build().eval()


def test_the_documents_example() -> None:
    v: Any = ViT(image_size=256, patch_size=32, num_classes=1000, dim=1024, depth=1, heads=16, mlp_dim=64, dropout=0.1)
    v = Extractor(v)
    logits, embeddings = v(torch.randn(1, 3, 256, 256))
    assert logits.shape == (1, 1000)
    assert embeddings.shape == (1, 65, 1024)


@pytest.mark.parametrize("name", TINY)
def test_final_tokens_of_every_model(name: str) -> None:
    build, size = TINY[name]
    model, x = build().eval(), image(size)
    output, embeddings = Extractor(model)(x)
    torch.testing.assert_close(output, model(x))
    assert isinstance(model, (Model, CrossViT))
    encoded = model.encode(x)
    if isinstance(model, CrossViT):
        assert isinstance(embeddings, tuple)
        for tokens, (expected, _) in zip(embeddings, encoded, strict=True):
            torch.testing.assert_close(tokens, expected)
    else:
        torch.testing.assert_close(embeddings, encoded[0])
    assert no_hooks(model)


def test_any_layer_by_name_or_itself_and_its_input() -> None:
    model, x = tiny_vit(), image()
    block = "stages.0.layers.3"
    _, given = Extractor(model, layer_name=block, layer_save_input=True)(x)
    _, gave = Extractor(model, layer=model.get_submodule(block))(x)
    torch.testing.assert_close(model.get_submodule(block)(given, (4, 4)), gave)
    _, stage = Extractor(model, layer_name="stages.0")(x)
    torch.testing.assert_close(stage, model.forward_stages(x)[0][0])
    assert Extractor(model, layer_name="head", layer_save_input=True)(x)[1].shape == (2, 8)


def test_a_layer_of_that_name_is_that_layer() -> None:
    class Foreign(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.transformer(x).mean(dim=1)

    assert Extractor(Foreign())(torch.randn(2, 5, 4))[1].shape == (2, 5, 3)


def test_layers_that_are_not_there_or_not_called_are_errors() -> None:
    model = tiny_vit()
    with pytest.raises(ValueError, match="layer_name must name"):
        Extractor(model, layer_name="stages.1")
    with pytest.raises(ValueError, match="layer must be"):
        Extractor(model, layer=nn.Identity())
    with pytest.raises(ValueError, match="layer_name must name"):
        Extractor(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(TypeError, match=r"nn\.Module"):
        Extractor(lambda x: x)
    model.unused = nn.Identity()
    with pytest.raises(RuntimeError, match="not called"):
        Extractor(model, layer_name="unused")(image())
    assert no_hooks(model)


def test_embeddings_alone() -> None:
    model, x = tiny_vit(), image()
    assert torch.equal(Extractor(model, return_embeddings_only=True)(x), Extractor(model)(x)[1])


def test_several_calls_are_a_tuple() -> None:
    build, size = TINY["RegionViT"]
    _, embeddings = Extractor(build().eval(), layer_name="stages.0.layers.0.attn")(image(size))
    assert [tokens.shape for tokens in embeddings] == [(2, 16, 8), (2, 80, 8)]


def test_gradients_flow_unless_detached() -> None:
    model, x = tiny_vit(), image().requires_grad_()
    _, embeddings = Extractor(model)(x)
    assert torch.autograd.grad(embeddings.square().sum(), x)[0].abs().sum() > 0
    logits, embeddings = Extractor(model, "meta", detach=True)(x)
    assert logits.requires_grad
    assert not embeddings.requires_grad
    assert embeddings.device.type == "meta"


def test_recomputed_and_compiled_models() -> None:
    model, x = tiny_vit(), image()
    expected = Extractor(model, layer_name="stages.0.layers.3.attn")(x)
    recomputing = copy.deepcopy(model).gradient_checkpointing()
    extractor = Extractor(recomputing, layer_name="stages.0.layers.3.attn")
    logits, embeddings = extractor(x)
    (logits.square().sum() + embeddings.square().sum()).backward()
    torch.testing.assert_close((logits, embeddings), expected)
    compiled: Any = torch.compile(copy.deepcopy(model), backend="aot_eager")
    for _ in range(2):
        torch.testing.assert_close(Extractor(compiled, layer_name="stages.0.layers.3.attn")(x), expected)
        compiled(x)
    assert Extractor(compiled)(x)[1].shape == (2, 17, 8)


def test_clear_gives_memory_back_and_eject_ends_it() -> None:
    model = tiny_vit()
    extractor = Extractor(model)
    held = weakref.ref(extractor(image())[1])
    assert held() is extractor.embeddings
    extractor.clear()
    gc.collect()
    assert held() is None
    extractor(image())
    assert extractor.eject() is model
    assert extractor.embeddings is None
    for again in (lambda: extractor(image()), extractor.eject):
        with pytest.raises(RuntimeError, match="ejected"):
            again()


def test_an_exception_leaves_nothing() -> None:
    model = tiny_vit()
    extractor = Extractor(model, layer_name="embed")
    extractor(image())
    model.stages[0].layers[-1].mlp = Failing()
    with pytest.raises(KeyError):
        extractor(image())
    assert extractor.embeddings is None
    assert no_hooks(model)


def test_a_layer_given_is_no_second_submodule() -> None:
    model = tiny_vit()
    extractor = Extractor(model, layer=model.norm)
    assert list(extractor.state_dict()) == [f"model.{name}" for name in model.state_dict()]
