"""DINO: the loss, the schedules, the teacher, the views, and every model of the zoo."""

from __future__ import annotations

import copy
import sys
from math import cos, log, pi
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import Tensor, nn

from tests.zoo.tiny import TINY
from vitblocks import Dino, DinoHead, TwinsSVT, ViT
from vitblocks.grid import Size
from vitblocks.model import Stage
from vitblocks.objectives.dino import follow
from vitblocks.objectives.dino_loss import Centering, DinoSchedule, cross_view_entropy, monitor
from vitblocks.objectives.views import ColorAugmentation, MultiCrop, RandomCrop, random_box

TWO_TOKENS = {name for name in TINY if name.startswith("Distillable")}


def same(images: Tensor) -> Tensor:
    return images


def learner(net: nn.Module | None = None, image_size: Size = 16, **options: Any) -> Dino:
    sizes = {"projection_hidden_size": 16, "projection_bottleneck_size": 8, "num_classes_K": 12, "local_crops": 2}
    net = TINY["ViT"].build() if net is None else net
    return Dino(net, image_size, **{**sizes, "augment_fn": same, "steps_per_epoch": 4, "epochs": 10, **options})


def crops(batch: int = 4, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.rand(batch, 3, size, size, dtype=dtype) for size in (16, 16, 8, 8)]


def train(objective: Dino, steps: int = 1, **options: Any) -> None:
    optimizer = torch.optim.SGD(objective.parameters(), **{"lr": 0.1, **options})
    for _ in range(steps):
        loss = objective(crops())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.update_moving_average()


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in module.state_dict().items()}


@pytest.mark.parametrize("name", sorted(TINY.keys() - TWO_TOKENS))
def test_trains_every_model_of_the_zoo(name: str) -> None:
    build, size = TINY[name]
    net = build()
    objective = learner(net, size, freeze_epochs=0)
    before = weights(net)
    loss = objective(torch.rand(3, 3, size, size))
    loss.backward()
    assert loss.isfinite()
    assert not [key for key, p in objective.named_parameters() if p.requires_grad and p.grad is None]
    assert all(p.grad.isfinite().all() for p in objective.parameters() if p.grad is not None)
    torch.optim.SGD(objective.parameters(), lr=0.1).step()
    objective.update_moving_average()
    after = net.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert all(torch.equal(before[key], after[key]) for key in before if key.startswith("head."))


@pytest.mark.parametrize("name", sorted(TWO_TOKENS))
def test_two_tokens_are_for_distillation(name: str) -> None:
    build, size = TINY[name]
    with pytest.raises(ValueError, match="DistillWrapper"):
        learner(build(), size)


def test_other_modules_need_features_and_a_head() -> None:
    with pytest.raises(ValueError, match=r"Sequential must be a vitblocks.Model.*DistillWrapper"):
        learner(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8)))


def test_the_loop_of_the_document() -> None:
    model = TINY["ViT"].build()
    objective = learner(model, hidden_layer="to_latent")
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-4)
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    before = weights(model)
    for _ in range(2):
        loss = objective(torch.randn(4, 3, 16, 16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.update_moving_average()
    assert {id(p) for p in objective.parameters()} == known
    assert int(objective.step) == 2
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) == key.startswith("head."), key


def test_the_papers_values() -> None:
    objective = Dino(TINY["ViT"].build(), 16)
    assert objective.student_temp == 0.1
    assert objective.centering.decay == 0.9
    assert objective.momentum == 0.996
    assert objective.student.head.last.direction.shape == (65536, 256)
    assert [m.out_features for m in objective.student.head.mlp if isinstance(m, nn.Linear)] == [2048, 2048, 256]
    assert not objective.student.head.last.scale.requires_grad
    temperatures = []
    for epoch in (0, 29, 30, 99):
        objective.start_epoch(epoch)
        temperatures.append(objective.teacher_temp)
    assert temperatures == pytest.approx([0.04, 0.07, 0.07, 0.07])
    assert objective.views.local_crops == 8
    assert (objective.views.crop.scale, objective.views.local_crop.scale) == ((0.4, 1.0), (0.05, 0.4))


def test_local_crops_have_the_papers_proportion_where_the_model_takes_it() -> None:
    net = ViT(image_size=224, patch_size=16, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=8)
    assert learner(net, 224).views.local_crop.size == (96, 96)
    wide = ViT(image_size=(112, 224), patch_size=16, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=8)
    assert learner(wide, (112, 224)).views.local_crop.size == (48, 96)
    sizes = {f"s{i}_emb_dim": 8 for i in (1, 2, 3, 4)} | {f"s{i}_depth": 1 for i in (1, 2, 3, 4)}
    options: dict[str, Any] = {"num_classes": 5, "heads": (1, 1, 1, 1), **sizes, "s4_global_k": 5}
    assert learner(TwinsSVT(**options), 224).views.local_crop.size == (160, 160)


def test_loss_is_the_mean_cross_entropy_of_all_pairs_of_different_views() -> None:
    logits, seen = torch.randn(5, 3, 7).double(), torch.randn(2, 3, 7).double()
    targets = seen.softmax(dim=-1)
    pairs = [
        -(targets[t] * (logits[s] / 0.1).log_softmax(dim=-1)).sum(dim=-1).mean()
        for t in range(2)
        for s in range(5)
        if s != t
    ]
    assert len(pairs) == 8
    torch.testing.assert_close(cross_view_entropy(logits.unbind(), targets.unbind(), 0.1), torch.stack(pairs).mean())
    with pytest.raises(ValueError, match="2 views"):
        cross_view_entropy(logits[:1].unbind(), targets.unbind(), 0.1)


def test_crops_of_one_size_are_one_batch_and_keep_their_order() -> None:
    calls: list[tuple[int, ...]] = []
    objective = learner().eval()
    objective.student.encoder.register_forward_pre_hook(lambda _, args: calls.append(tuple(args[0].shape)))
    a, b, c, d = crops()
    features, logits = objective.student([c, a, d, b])
    assert calls == [(8, 3, 8, 8), (8, 3, 16, 16)]
    for i, crop in enumerate((c, a, d, b)):
        torch.testing.assert_close((features[i], logits[i]), tuple(x[0] for x in objective.student([crop])))


def test_loss_uses_the_centre_before_this_batch() -> None:
    objective, batch = learner().eval(), crops()
    objective.train()
    first = objective(batch)
    assert torch.equal(objective(batch), first)
    assert not objective.centering.center.any()
    objective.update_moving_average()
    assert objective.centering.center.any()
    assert not torch.equal(objective(batch), first)


def test_centre_of_accumulated_batches_is_that_of_the_joined_one() -> None:
    one, several = Centering(7).double(), Centering(7).double()
    logits = torch.randn(2, 6, 7).double()
    one.observe(logits)
    for part in logits.split(2, dim=1):
        several.observe(part)
    one.update()
    several.update()
    torch.testing.assert_close(one.center, several.center)
    torch.testing.assert_close(one.center, 0.1 * logits.mean(dim=(0, 1))[None])
    still = one.center.clone()
    one.update()
    assert torch.equal(one.center, still)


def test_evaluation_leaves_the_centre_alone() -> None:
    objective = learner().eval()
    objective(crops())
    objective.update_moving_average()
    assert not objective.centering.center.any()


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_last_layer_is_frozen_in_the_first_epoch(optimizer: type[torch.optim.Optimizer]) -> None:
    objective = learner(learn_last_scale=True, steps_per_epoch=3)
    before, trained = weights(objective.student.head.last), objective.student.head.mlp[0].weight.detach().clone()
    steps: Any = optimizer(objective.parameters(), lr=0.1, weight_decay=0.1)  # type: ignore[call-arg]
    for step in range(4):
        steps.zero_grad()
        objective(crops()).backward()
        gradient = objective.student.head.last.direction.grad
        assert bool(gradient is not None and gradient.any()) == (step == 3)
        steps.step()
        objective.update_moving_average()
        same_weights = [torch.equal(x, before[key]) for key, x in objective.student.head.last.state_dict().items()]
        assert all(same_weights) if step < 3 else not any(same_weights)
    assert not torch.equal(objective.student.head.mlp[0].weight, trained)


def test_rows_of_the_last_layer_have_length_one() -> None:
    head = DinoHead(6, 9, hidden_dim=8, bottleneck_dim=4)
    bottleneck = F.normalize(head.mlp(torch.randn(5, 6)), dim=1)
    logits = head.last(bottleneck)
    assert (logits.abs() <= 1 + 1e-6).all()
    for layers in (1, 2, 4):
        deeper = DinoHead(6, 9, hidden_dim=8, bottleneck_dim=4, layers=layers, norm=nn.BatchNorm1d)
        assert sum(isinstance(m, nn.Linear) for m in deeper.mlp) == layers
        assert sum(isinstance(m, nn.BatchNorm1d) for m in deeper.mlp) == layers - 1
        assert deeper(torch.randn(5, 6)).shape == (5, 9)
    wide = DinoHead(300, 9)
    assert all(
        0.9 * 0.02 < m.weight.std() < 1.1 * 0.02 and not m.bias.any() for m in wide.mlp if isinstance(m, nn.Linear)
    )
    with pytest.raises(ValueError, match="layers must be at least 1, got 0"):
        DinoHead(6, 9, layers=0)


def test_schedule() -> None:
    schedule = DinoSchedule(epochs=10, steps_per_epoch=20, momentum=0.9, warmup_epochs=4)
    assert [schedule.momentum_at(step) for step in (0, 50, 200, 300)] == pytest.approx(
        [0.9, 1 - 0.05 * (1 + cos(pi / 4)), 1.0, 1.0]
    )
    assert [schedule.teacher_temp_at(e) for e in (0, 1, 3, 4)] == pytest.approx([0.04, 0.05, 0.07, 0.07])
    assert DinoSchedule(warmup_epochs=0).teacher_temp_at(0) == 0.07
    assert DinoSchedule(warmup_epochs=1).teacher_temp_at(0) == 0.04


def test_steps_and_epochs_are_counted() -> None:
    objective = learner(moving_average_decay=0.5)
    found = []
    for _ in range(9):
        found.append((objective.epoch, objective.frozen, round(objective.momentum, 6)))
        objective.update_moving_average()
    assert [epoch for epoch, _, _ in found] == [0] * 4 + [1] * 4 + [2]
    assert [frozen for _, frozen, _ in found] == [True] * 4 + [False] * 5
    momenta = [momentum for _, _, momentum in found]
    assert momenta == sorted(momenta)
    assert momenta[0] == 0.5
    objective.start_epoch(7)
    assert objective.epoch == 7


def test_end_of_the_schedule_is_said() -> None:
    objective = learner(epochs=1, steps_per_epoch=1)
    objective.update_moving_average()
    with pytest.warns(UserWarning, match="schedule of 1 epochs of 1 steps is over"):
        objective.update_moving_average()


def test_teacher_is_a_moving_average_with_buffers() -> None:
    objective = learner(TINY["LeViT"].build(), 32, moving_average_decay=0.75, projection_norm=nn.BatchNorm1d)
    old = weights(objective.teacher)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    objective([torch.rand(4, 3, 32, 32) for _ in range(3)]).backward()
    optimizer.step()
    assert all(torch.equal(x, old[key]) for key, x in objective.teacher.state_dict().items())
    objective.update_moving_average()
    student = objective.student.state_dict()
    for key, value in objective.teacher.state_dict().items():
        expected = 0.75 * old[key] + 0.25 * student[key] if value.is_floating_point() else student[key]
        torch.testing.assert_close(value, expected, msg=key)
    moved = [key for key, x in objective.teacher.state_dict().items() if not torch.equal(x, old[key])]
    assert any(key.endswith("running_mean") for key in moved)
    assert any(key.endswith("num_batches_tracked") for key in moved)


def test_infinite_constants_stay() -> None:
    teacher, student = nn.Module(), nn.Module()
    for module in (teacher, student):
        module.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
    follow(teacher, student, 0.9)
    assert torch.equal(teacher.mask, torch.tensor([0.0, float("-inf")]))


def test_teacher_is_apart_from_training() -> None:
    objective = learner(TINY["ViT"].build(dropout=0.5), freeze_epochs=0).train()
    assert objective.student.training
    assert not any(module.training for module in objective.teacher.modules())
    assert not any(p.requires_grad for p in objective.teacher.parameters())
    assert not {*map(id, objective.teacher.parameters())} & {*map(id, objective.student.parameters())}
    objective(crops()).backward()
    assert all(p.grad is None for p in objective.teacher.parameters())


def test_building_it_leaves_the_model_as_it_was() -> None:
    net = TINY["LeViT"].build().train()
    net.get_submodule("stages.0").eval()
    modes, before = [m.training for m in net.modules()], weights(net)
    learner(net, 32, projection_hidden_size=1)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(x, before[key]) for key, x in net.state_dict().items())


def test_a_hidden_layer_can_be_a_transition() -> None:
    net = TINY["LeViT"].build().eval()
    names = [name for name, _ in net.blocks()]
    number = next(i for i, name in enumerate(names) if name.endswith("transition"))
    objective = learner(net, 32, hidden_layer=number, projection_hidden_size=1)
    stage = net.get_submodule(names[number].rpartition(".")[0])
    assert isinstance(stage, Stage)
    image = torch.rand(2, 3, 32, 32)
    x, grid = net.embed(image)
    for before in net.stages[: list(net.stages).index(stage)]:
        x, grid = before(x, grid)
    assert stage.transition is not None
    torch.testing.assert_close(objective.encoder.eval()(image), net.pool(*stage.transition(x, grid)))


def test_hidden_layer_by_name_or_number() -> None:
    net = TINY["ViT"].build()
    names = [name for name, _ in net.blocks()]
    by_name, by_number = learner(net, hidden_layer=names[0]), learner(net, hidden_layer=0)
    from_end = learner(net, hidden_layer=-2)
    image = torch.rand(2, 3, 16, 16)
    x, grid = net.embed(image)
    for layer in net.stages[0].layers[: int(names[0].rpartition(".")[2]) + 1]:
        x = layer(x, grid)
    for objective in (by_name, by_number, from_end):
        torch.testing.assert_close(objective.encoder(image), x[:, 0])
        assert not any(key.startswith((names[1], "norm", "head")) for key in objective.encoder.state_dict())
        objective(crops()).backward()
        assert all(p.grad is not None for p in objective.parameters() if p.requires_grad)
    pyramid = learner(TINY["NesT"].build(), hidden_layer="stages.0")
    assert pyramid.encoder(image).shape == (2, 8)
    for wrong in ("to_logits", 2, -3, "stages.0.layers.99"):
        with pytest.raises(ValueError, match="hidden_layer must be 'to_latent'"):
            learner(net, hidden_layer=wrong)
    with pytest.raises(ValueError, match="hidden_layer of a CrossViT can only be 'to_latent'"):
        learner(TINY["CrossViT"].build(), hidden_layer=0)
    with pytest.raises(ValueError, match="ClassToken"):
        learner(TINY["CaiT"].build(), hidden_layer=0)


@pytest.mark.parametrize("name", ["ViT", "CrossViT", "LeViT"])
def test_encoder_is_the_model_without_its_head(name: str) -> None:
    build, size = TINY[name]
    net = build()
    objective = learner(net, size)
    plain = build(num_classes=0)
    plain.load_state_dict(objective.encoder.state_dict())
    image = torch.rand(2, 3, size, size)
    expected = net.eval().forward_features(image)
    assert torch.equal(plain.eval()(image), expected)
    assert torch.equal(objective.encoder.eval()(image), expected)
    loaded = build()
    missing, unexpected = loaded.load_state_dict(objective.encoder.state_dict(), strict=False)
    assert not unexpected
    assert missing
    assert all(key.startswith("head.") for key in missing)


def test_goes_on_from_what_was_saved() -> None:
    torch.manual_seed(1)
    first = learner(moving_average_decay=0.5, steps_per_epoch=2)
    train(first, steps=3)
    first(crops()).backward()  # in the middle of accumulating: what the centre has seen is kept, too
    second = learner(moving_average_decay=0.5, steps_per_epoch=2)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.epoch == first.epoch == 1
    losses = []
    for objective in (first, second):
        torch.manual_seed(2)
        train(objective, steps=3)
        losses.append(objective(crops()).item())
    assert losses[0] == losses[1]
    for (key, x), y in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(x, y), key


def test_monitors_tell_both_collapses() -> None:
    classes, features = 8, torch.randn(2, 400, 6)
    healthy = F.one_hot(torch.arange(800) % classes, classes).float().unflatten(0, (2, 400))
    silent, constant = torch.full_like(healthy, 1 / classes), healthy[:, :1].expand_as(healthy)
    for targets, entropy, divergence in ((healthy, 0.0, 0.0), (silent, log(8), 0.0), (constant, 0.0, log(8))):
        found = monitor(features, targets)
        torch.testing.assert_close(found["teacher_entropy"], torch.tensor(entropy), atol=1e-5, rtol=0)
        torch.testing.assert_close(found["kl_to_uniform"], torch.tensor(divergence), atol=1e-5, rtol=0)
    assert monitor(features, healthy)["feature_std"] > 0.95
    assert monitor(features[:1, :1].expand_as(features), healthy)["feature_std"] < 0.1
    objective = learner()
    objective(crops())
    assert set(objective.monitors) == {"teacher_entropy", "kl_to_uniform", "feature_std"}
    assert not any(value.requires_grad for value in objective.monitors.values())


def test_half_precision() -> None:
    objective = learner(freeze_epochs=0).bfloat16()
    loss = objective([crop.bfloat16() for crop in crops()])
    loss.backward()
    assert loss.isfinite()
    objective.update_moving_average()
    assert learner(TINY["ViT"].build().double())(crops(dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 4}, "does not take crops of .16, 16. and 4 channels"),
        ({"image_size": 18}, "does not take crops of .18, 18."),
        ({"local_size": 7}, "does not take crops of .7, 7."),
        ({"student_temp": 0.0}, "student_temp must be positive"),
        ({"teacher_temp": 0.0}, "teacher_temp must be positive"),
        ({"moving_average_decay": 1.5}, "moving_average_decay must lie in"),
        ({"center_moving_average_decay": -1.0}, "center_moving_average_decay must lie in"),
        ({"local_crops": -1}, "local_crops must be at least 0"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"warmup_epochs": -1}, "warmup_epochs must be at least 0"),
        ({"local_upper_crop_scale": 1.1}, "two rising shares"),
        ({"global_lower_crop_scale": 0.0}, "global_lower_crop_scale must be positive"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learner(**options)


def test_bad_crops() -> None:
    objective = learner()
    with pytest.raises(ValueError, match="2 global ones"):
        objective(crops()[:1])
    with pytest.raises(ValueError, match="all of the same images"):
        objective([*crops()[:3], crops(batch=2)[3]])


def test_two_global_crops_are_enough() -> None:
    objective = learner(local_crops=0, local_size=7)
    assert [view.shape for view in objective.views(torch.rand(2, 3, 20, 30))] == [(2, 3, 16, 16)] * 2
    assert objective(torch.rand(2, 3, 20, 30)).isfinite()


def test_each_crop_gets_its_own_augmentation() -> None:
    fills = [lambda images, value=value: torch.full_like(images, value) for value in (1.0, 2.0, 3.0)]
    for given_fills, expected in (
        (fills, [1, 2, 3, 3]),
        ([fills[0], None, None], [1, 1, 1, 1]),
        ([fills[0], fills[1], None], [1, 2, 1, 1]),
    ):
        names = ("augment_fn", "augment_fn2", "augment_local")
        options: dict[str, Any] = dict(zip(names, given_fills, strict=True))
        objective = learner(**options)
        views = objective.views(torch.rand(2, 3, 24, 24))
        assert [view.mean().item() for view in views] == expected


def test_without_kornia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia", None)
    assert learner()(torch.rand(2, 3, 16, 16)).isfinite()
    by_kornia = learner(augment_fn=None)
    assert by_kornia(crops()).isfinite()
    with pytest.raises(ImportError, match=r"vitblocks\[train\]"):
        by_kornia(torch.rand(2, 3, 16, 16))


def test_with_kornia() -> None:
    pytest.importorskip("kornia")
    augment = ColorAugmentation((20, 24), blur=0.5, solarize=0.5)
    images = torch.rand(64, 3, 20, 24)
    changed = augment(images)
    assert changed.shape == images.shape
    assert changed.isfinite().all()
    mean, std = (torch.tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pixels = changed * std + mean
    assert pixels.min() > -1e-3
    assert pixels.max() < 1 + 1e-3
    grey = (pixels.amax(dim=1) - pixels.amin(dim=1)).flatten(1).amax(dim=1) < 1e-3
    assert 0 < grey.sum() < 32
    assert learner(augment_fn=None)(torch.rand(2, 3, 30, 40)).isfinite()
    with pytest.raises(ValueError, match="3 channels"):
        augment(torch.rand(2, 1, 20, 24))


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.05, 1.0), st.integers(0, 2**31))
def test_boxes_lie_within_the_image(rows: int, columns: int, lowest: float, seed: int) -> None:
    torch.manual_seed(seed)
    top, left, height, width = random_box((rows, columns), (lowest, 1.0))
    assert 0 <= top <= top + height <= rows
    assert 0 <= left <= left + width <= columns
    assert height >= 1
    assert width >= 1


def test_boxes_have_their_share_and_proportion() -> None:
    boxes = [random_box((200, 200), (0.1, 0.3)) for _ in range(300)]
    shares = [height * width / 200**2 for *_, height, width in boxes]
    ratios = [width / height for *_, height, width in boxes]
    assert 0.09 < min(shares) < 0.12
    assert 0.28 < max(shares) < 0.31
    assert 0.73 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.36


def test_crops_show_the_image() -> None:
    rows = torch.linspace(0, 1, 64)[:, None].expand(64, 48)
    columns = torch.linspace(0, 1, 48)[None].expand(64, 48)
    views = RandomCrop((20, 12), (0.2, 0.5))(torch.stack([rows, columns])[None].repeat(6, 1, 1, 1))
    assert views.shape == (6, 2, 20, 12)
    # A crop of a slope is a slope: it rises along its own axis and is constant along the other.
    assert (views[:, 0].diff(dim=1) > -1e-4).all()
    assert (views[:, 1].diff(dim=2) > -1e-4).all()
    torch.testing.assert_close(views[:, 0], views[:, 0, :, :1].expand(-1, -1, 12), atol=1e-4, rtol=0)
    assert len({view[0, 0, 0].item() for view in views}) == 6
    half = RandomCrop(8, (1.0, 1.0))(torch.rand(2, 3, 16, 16).bfloat16())
    assert half.dtype == torch.bfloat16


def test_views_are_two_global_then_local() -> None:
    views = MultiCrop(
        (16, 24), 8, scale=(0.4, 1.0), local_scale=(0.05, 0.4), local_crops=3, augment=(same, same, same)
    )(torch.rand(2, 3, 32, 48, requires_grad=True))
    assert [tuple(view.shape) for view in views] == [(2, 3, 16, 24)] * 2 + [(2, 3, 8, 8)] * 3
    assert not any(view.requires_grad for view in views)


def test_recomputation_changes_no_gradient() -> None:
    net = TINY["ViT"].build()
    plain, recomputing = copy.deepcopy(net), copy.deepcopy(net).gradient_checkpointing()
    batch, found = crops(), []
    for model in (plain, recomputing):
        torch.manual_seed(3)
        for hidden_layer in ("to_latent", 0):
            learner(model, hidden_layer=hidden_layer)(batch).backward()
        found.append([p.grad for p in model.parameters()])
    for p, q in zip(*found, strict=True):
        assert (p is None) == (q is None)
        if p is not None:
            torch.testing.assert_close(p, q)
