"""What objectives take of a model, and which models they take."""

from __future__ import annotations

import copy
import io
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.zoo.common import wake
from tests.zoo.tiny import TINY, VIT
from vitblocks import (
    MAE,
    MPP,
    ClassToken,
    LayerNorm,
    LearnedPosition,
    LinearEmbed,
    MeanPool,
    Mlp,
    Model,
    Residual,
    SimMIM,
    Stage,
    ViT,
    zoo,
)
from vitblocks.objectives import Corruption
from vitblocks.objectives.encoder import Encoder, PairError

WITHOUT_GRID = {"ATSViT", "CrossViT"}
TAKES_DROPPED = {
    "CCT",
    "CLIP",
    "CaiT",
    "CompactViT",
    "DINOv2",
    "DeepViT",
    "DeiT3",
    "DistillableEfficientViT",
    "DistillableViT",
    "EfficientViT",
    "SigLIP",
    "ViT",
    "ViTLite",
}
OBJECTIVES: dict[str, Any] = {
    "MAE": lambda model: MAE(model, decoder_dim=8, decoder_depth=1, decoder_heads=2),
    "SimMIM": lambda model: SimMIM(model, mask_patch_size=model.strides[0]),
    "MPP": MPP,
}
LEGAL = {"MAE": TAKES_DROPPED, "SimMIM": TINY.keys() - WITHOUT_GRID, "MPP": TINY.keys() - WITHOUT_GRID}
PAIRS = [(objective, model) for objective in OBJECTIVES for model in sorted(LEGAL[objective])]
ILLEGAL = [(objective, model) for objective in OBJECTIVES for model in sorted(TINY.keys() - LEGAL[objective])]
SIDES = {"LeViT": 64, "MobileViT": 64}  # their last grid would be a single patch


@cache
def pair(objective: str, name: str) -> tuple[Any, Any, Tensor]:
    """A model, an objective on it, and images; copy before changing anything."""
    torch.manual_seed(0)
    model: Any = TINY[name].build()
    wake(model)
    side = SIDES.get(name, TINY[name].image_size)
    return model, OBJECTIVES[objective](model), torch.rand(3, 3, side, side)


@pytest.mark.parametrize(("objective", "name"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_pair_takes_a_training_step(objective: str, name: str) -> None:
    _, task, images = copy.deepcopy(pair(objective, name))
    optimizer = torch.optim.SGD(task.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)
    loss = task(images, generator=generator)
    loss.backward()
    assert loss.isfinite()
    without = [key for key, p in task.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without
    # The last bias of a dynamic position bias adds the same to all logits of a query.
    named = [(key, p) for key, p in task.named_parameters() if not key.endswith("position_bias.layers.2.2.bias")]
    idle = [key for key, p in named if not p.grad.any()]
    assert not idle, "parameters that the loss does not depend on"
    optimizer.step()
    assert not torch.equal(task(images, generator=generator.manual_seed(1)), loss)


def draw(task: Any, images: Tensor) -> Tensor:
    """A mask ``(B, h, w)`` of what is hidden."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(task, MPP):
        return task.corruption(images, generator).masked.unflatten(1, task.grid(images))
    mask: Tensor = task(images, generator=generator, details=True).mask
    return mask


def predict(task: Any, images: Tensor, mask: Tensor) -> Tensor:
    """What is predicted, everywhere, from what the mask leaves to see."""
    if not isinstance(task, MPP):
        return task.reconstruct(images, mask=mask)
    hidden = mask.flatten(1)
    return task.predict(images, Corruption(hidden, hidden, torch.arange(hidden.shape[1]).expand_as(hidden)))


@pytest.mark.parametrize(("objective", "name"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
@torch.no_grad()
def test_hidden_pixels_do_not_show(objective: str, name: str) -> None:
    _, task, images = pair(objective, name)
    task.eval()
    mask = draw(task, images)
    pixels = nn.functional.interpolate(mask[:, None].float(), images.shape[2:]) > 0
    assert pixels.any()
    found = predict(task, images, mask)
    torch.testing.assert_close(predict(task, torch.where(pixels, 1 - images, images), mask), found)
    assert not torch.allclose(predict(task, torch.where(pixels, images, 1 - images), mask), found, atol=1e-4)


@pytest.mark.parametrize(("objective", "name"), ILLEGAL, ids=["-".join(pair) for pair in ILLEGAL])
def test_illegal_pair_says_what_would_work(objective: str, name: str) -> None:
    model: Any = TINY[name].build()
    instead = "DINO" if name in WITHOUT_GRID else "SimMIM"
    with pytest.raises(ValueError, match=rf"(?s){name}.*{instead}.* would work") as raised:
        MAE(model) if objective == "MAE" else OBJECTIVES["MPP"](model) if objective == "MPP" else SimMIM(model)
    assert raised.type is PairError


def test_layer_that_needs_the_grid_is_named() -> None:
    with pytest.raises(ValueError, match=r"stages\.1\.layers\.0: .*\(H, W\) grid"):
        MAE(zoo.LocalViT(**VIT))


def test_every_class_of_the_zoo_is_tried() -> None:
    classes = {name for name in zoo.__all__ if isinstance(getattr(zoo, name), type)}
    assert classes == TINY.keys()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_saving(objective: str) -> None:
    model, task, images = copy.deepcopy(pair(objective, "ViT"))
    task(images).backward()
    with torch.no_grad():
        for parameter in task.parameters():
            parameter += 0.1
    # The objective's own state is enough to go on.
    torch.save(task.state_dict(), file := io.BytesIO())
    file.seek(0)
    fresh = OBJECTIVES[objective](ViT(**VIT))
    fresh.load_state_dict(torch.load(file))
    assert torch.equal(
        fresh(images, generator=torch.Generator().manual_seed(1)),
        task(images, generator=torch.Generator().manual_seed(1)),
    )
    # The model trained along, and its own state is that of any ViT.
    plain = ViT(**VIT)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain.eval()(images), model.eval()(images))
    assert all(
        torch.equal(p, q) for p, q in zip(task.encoder.embed.parameters(), plain.embed.parameters(), strict=True)
    )


def test_only_what_makes_patches_is_owned() -> None:
    model: Any = TINY["CaiT"].build()
    task = SimMIM(model)
    owned = {id(parameter) for parameter in task.parameters()}
    left = {key.rpartition(".layers.")[2][:1] for key, p in model.named_parameters() if id(p) not in owned}
    assert left == {"4", "5", "h"}, "the class token, the class block and the head"
    assert len(model.stages[0].layers) == 6, "the model keeps all of its layers"
    assert len(task.encoder.stages[0].layers) == 4


@pytest.mark.parametrize("name", ["ViT", "LeViT", "DeepViT"])
def test_model_is_left_as_it_was(name: str) -> None:
    model: Any = TINY[name].build(dropout=0.1, drop_path=0.1)
    before = {key: (id(value), value.clone()) for key, value in (*model.named_parameters(), *model.named_buffers())}
    random = torch.get_rng_state()
    Encoder(model)
    assert torch.equal(torch.get_rng_state(), random)
    after = dict((*model.named_parameters(), *model.named_buffers()))
    assert all(id(after[key]) == name and torch.equal(after[key], value) for key, (name, value) in before.items())
    assert all(module.training for module in model.modules())


def test_recomputation_is_taken_over() -> None:
    model = ViT(**VIT).gradient_checkpointing()
    assert all(stage.checkpointing for stage in MAE(model, decoder_dim=8, decoder_heads=2).encoder.stages)


def test_encoder_can_be_on_the_meta_device() -> None:
    with torch.device("meta"):
        task = SimMIM(TINY["CaiT"].build())
    assert task(torch.empty(2, 3, 16, 16, device="meta")).shape == ()


def test_wrong_channels() -> None:
    with pytest.raises(ValueError, match=r"4 channels \(give channels=\)"):
        MAE(ViT(**VIT), channels=4)


def no_attention() -> Model:
    layers = [ClassToken(8), LearnedPosition(8, 4, num_prefix=1), Residual(8, Mlp(8, 16))]
    return Model(LinearEmbed(4, 8), [Stage(layers)], norm=LayerNorm(8), pool=MeanPool(), image_size=16)


def test_mae_needs_an_attention_to_drop_before() -> None:
    with pytest.raises(ValueError, match="none holds an Attend"):
        MAE(no_attention())
    assert SimMIM(no_attention())(torch.rand(2, 3, 16, 16)).isfinite()
