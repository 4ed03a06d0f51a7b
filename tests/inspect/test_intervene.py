"""intervene: on every model it changes what it is asked to, and nothing else, to the bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from vitblocks import (
    Block,
    ClassAttention,
    ConvProjectionAttention,
    CrossCovarianceAttention,
    DilatedWindowAttention,
    GlobalAttention,
    KernelAttend,
    LocalWindowAttention,
    Mlp,
    ReAttention,
    ReducedAttention,
    TalkingHeadsAttention,
    intervene,
    record_attention,
)
from vitblocks.attention import Attention
from vitblocks.inspect import sites
from vitblocks.inspect.sites import OF_ATTEND, find_sites

from ..zoo.tiny import TINY

FOREIGN = ("DistillableEfficientViT", "EfficientViT")
"""Models whose transformer is another package's."""

ZOO = [name for name in TINY if name not in FOREIGN]

KINDS: dict[str, Any] = {
    "global": GlobalAttention,
    "talking heads": TalkingHeadsAttention,
    "re-attention": ReAttention,
    "windows": lambda dim, heads: LocalWindowAttention(dim, heads, window=3),
    "shifted": lambda dim, heads: LocalWindowAttention(dim, heads, window=2, shift=1),
    "dilated": lambda dim, heads: DilatedWindowAttention(dim, heads, window=None, dilation=2),
    "reduced": lambda dim, heads: ReducedAttention(dim, heads, reduction=2),
    "kernel": lambda dim, heads: GlobalAttention(dim, heads, attend=KernelAttend(dim // heads)),
    "convolutional": ConvProjectionAttention,
    "class": ClassAttention,
    "cross covariance": CrossCovarianceAttention,
}


def shaken(model: nn.Module) -> nn.Module:
    """With weights that make every part count."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


def vit() -> Any:
    return shaken(TINY["ViT"].build())


def image(size: int = 16, batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ZOO)
def test_putting_back_what_was_there_changes_nothing_to_the_bit(name: str) -> None:
    model, images = shaken(TINY[name].build()), image(TINY[name].image_size)
    names = list(find_sites(model))
    with torch.no_grad():
        before = model(images)
        with intervene(model) as at:
            runs = {site: at[site].read() for site in names}
            assert torch.equal(model(images), before)
        with intervene(model) as at:
            for site in names:
                at[site].patch(runs[site])
            assert torch.equal(model(images), before)
        assert torch.equal(model(images), before)  # and no hook stays


@pytest.mark.parametrize("kind", KINDS)
def test_ablating_a_head_is_zeroing_its_columns_of_proj(kind: str) -> None:
    layer: Attention = shaken(KINDS[kind](8, 4))  # type: ignore[assignment]
    x, grid = torch.randn(2, 1 + 4 * 4, 8), (4, 4)
    with torch.no_grad():
        with intervene(layer) as at:
            at["heads"].ablate(heads=[1, 2])
            ablated = layer(x, grid)
        assert not torch.equal(ablated, layer(x, grid))
        assert isinstance(layer.proj, nn.Linear)
        by_head = rearrange(layer.proj.weight, "out (h d) -> h out d", h=4)
        by_head[1:3] = 0
        torch.testing.assert_close(layer(x, grid), ablated, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("kernel", "cross covariance")])
def test_logits_and_weights_are_those_that_make_the_output(kind: str) -> None:
    layer = shaken(KINDS[kind](8, 4))
    x, grid = torch.randn(2, 1 + 4 * 4, 8), (4, 4)
    with torch.no_grad(), intervene(layer) as at:
        weights = at["weights"].read()
        values, heads, logits = at["v"].read(), at["heads"].read(), at["logits"].read()
        at["logits"].replace(torch.zeros_like)
        flat = at["weights"].read()
        layer(x, grid)
    assert len(logits) == len(weights)
    for name, value in weights.items():
        torch.testing.assert_close(
            value @ values[name.replace("weights", "v")], heads[name.replace("weights", "heads")]
        )
    if kind in ("global", "reduced", "class"):
        for value in flat.values():
            torch.testing.assert_close(value, torch.full_like(value, 1 / value.shape[-1]))


def test_weights_are_those_that_are_recorded() -> None:
    model = TINY["TwinsSVT"].build().eval()
    with torch.no_grad(), record_attention(model) as records, intervene(model) as at:
        weights = {name: at[name].read() for name in at.names if name.endswith(".weights")}
        model(image(64, 1))
    for (name, read), record in zip(weights.items(), records, strict=True):
        torch.testing.assert_close(read[name], record.weights)


def test_what_is_chosen_changes_and_nothing_else_does() -> None:
    model, images = vit(), image()
    with torch.no_grad():
        with intervene(model) as at:
            before = at["blocks.0.*.heads"].read()
            model(images)
        with intervene(model) as at:
            at["blocks.0.attn.heads"].scale(2.0, heads=1, tokens=[(0, 1), 0], images=[2], channels=slice(0, 2))
            after = at["blocks.0.attn.heads"].read()
            model(images)
    old, new = before["blocks.0.attn.heads"], after["blocks.0.attn.heads"]
    meant = torch.zeros_like(old, dtype=torch.bool)
    for token in (0, 2):  # the class token, and the second patch of the first row
        meant[2, 0, 1, token, :2] = True
    assert torch.equal(new, torch.where(meant, 2 * old, old))


def test_tokens_are_found_in_windows() -> None:
    layer = shaken(LocalWindowAttention(8, 2, window=3))  # pads a map of 4x4 to 6x6
    x = torch.randn(1, 16, 8)
    with torch.no_grad(), intervene(layer) as at:
        at["heads"].ablate(tokens=(3, 3))
        out = layer(x, (4, 4))
    assert isinstance(layer.proj, nn.Linear)
    torch.testing.assert_close(out[0, 15], layer.proj.bias)
    torch.testing.assert_close(out[0, :15], layer(x, (4, 4))[0, :15])


def test_keys_are_cut_off() -> None:
    model, images = vit(), image()
    with torch.no_grad(), intervene(model) as at:
        at["blocks.*.attn.logits"].replace(lambda x: torch.full_like(x, float("-inf")), keys="patches", tokens="prefix")
        weights = at["blocks.1.attn.weights"].read()
        model(images)
    rows = weights["blocks.1.attn.weights"]
    assert torch.equal(rows[..., 0, :], torch.eye(17)[0].expand(3, 1, 2, 17))
    assert (rows[..., 1:, 1:] > 0).all()


def test_ablations() -> None:
    model, images = vit(), image()
    with torch.no_grad(), intervene(model) as at:
        old = at["blocks.0.residual"].read()
        at["blocks.0.residual"].ablate("mean", tokens="patches")
        mean = at["blocks.0.residual"].read()
        at["blocks.0.residual"].replace(lambda x: old["blocks.0.residual"]).ablate("other image", order=[1, 2, 0])
        other = at["blocks.0.residual"].read()
        model(images)
    x = old["blocks.0.residual"]
    torch.testing.assert_close(mean["blocks.0.residual"][:, 1:], x[:, 1:].mean(dim=(0, 1)).expand(3, 16, 8))
    assert torch.equal(mean["blocks.0.residual"][:, :1], x[:, :1])
    assert torch.equal(other["blocks.0.residual"], x[[1, 2, 0]])


def test_padding_is_no_part_of_a_mean() -> None:
    layer = shaken(LocalWindowAttention(8, 2, window=3))
    with torch.no_grad(), intervene(layer) as at:
        old = at["v"].read()
        at["v"].ablate("mean")
        new = at["v"].read()
        layer(torch.randn(2, 16, 8), (4, 4))
    bias = layer.get_submodule("qkv").bias
    padding = (old["v"][0, :, 0] == bias[16:20]).all(dim=-1)
    real = rearrange(old["v"], "b g h n d -> b h (g n) d")[:, :, ~padding.flatten()]
    torch.testing.assert_close(new["v"][0, 0, :, 0], real.mean(dim=(0, 2)))


def test_patching_from_another_run() -> None:
    model = vit()
    clean, corrupt = image(batch=1), image(batch=2)[1:]
    with torch.no_grad():
        want = model(clean)
        with intervene(model) as at:
            run = at["blocks.*.residual"].read()
            model(clean)
        with intervene(model) as at:
            at["blocks.1.residual"].patch(run)
            assert torch.equal(model(corrupt), want)
            at.clear()
            assert torch.equal(model(corrupt), model(corrupt))
            at["blocks.0.residual"].patch(run, tokens="prefix")
            partly = model(corrupt)
    assert not torch.equal(partly, want)
    assert not torch.equal(partly, model(corrupt))


def test_gradients_flow_through_what_is_read_and_what_is_put() -> None:
    model, images = vit().double(), image().double()
    put = torch.randn(1, 1, 2, 17, 4, dtype=torch.float64, requires_grad=True)
    with intervene(model) as at:
        read = {word: at[f"blocks.1.attn.{word}"].read() for word in OF_ATTEND}
        at["blocks.0.attn.heads"].replace(put, heads=0)
        model(images).sum().backward(retain_graph=True)
        total = model(images).sum()
    assert put.grad is not None
    assert put.grad[:, :, 0].abs().sum() > 0
    assert put.grad[:, :, 1].abs().sum() == 0
    for word, values in read.items():
        assert torch.autograd.grad(total, values[f"blocks.1.attn.{word}:1"], retain_graph=True)[0].abs().sum() > 0


def test_the_gradient_by_way_of_weights_is_the_gradient() -> None:
    layer = shaken(GlobalAttention(8, 2)).double()
    x = torch.randn(2, 9, 8, dtype=torch.float64, requires_grad=True)
    plain = torch.autograd.grad(layer(x, (3, 3)).square().sum(), x)[0]
    with intervene(layer) as at:
        at["weights"].read()
        seen = torch.autograd.grad(layer(x, (3, 3)).square().sum(), x)[0]
    torch.testing.assert_close(seen, plain)


def test_gradient_checkpointing_reads_once_and_changes_both_times() -> None:
    grads, first = [], vit()
    for checkpointing in (False, True):
        model = copy.deepcopy(first).gradient_checkpointing(checkpointing)
        with intervene(model) as at:
            at["blocks.*.attn.heads"].ablate(heads=0)
            read = at["blocks.0.residual"].read()
            model(image()).sum().backward()
        assert list(read) == ["blocks.0.residual"]
        grads.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*grads)


def test_names_count_blocks_wherever_they_stand() -> None:
    assert {"blocks.0.attn.q", "blocks.2.residual", "pool.weights"} - set(sites(TINY["CaiT"].build())) == {
        "pool.weights"
    }
    assert "blocks.1.attn.out" in sites(TINY["XCiT"].build())
    assert "blocks.1.mlp.hidden" in sites(TINY["LocalViT"].build())
    foreign = nn.Module()
    foreign.blocks = nn.ModuleList(Block(8, GlobalAttention(8, 2), Mlp(8)) for _ in range(2))
    assert "blocks.1.attn.out" in sites(foreign)


def test_hidden_is_what_the_second_linear_reads() -> None:
    model, images = vit(), image()
    with torch.no_grad(), intervene(model) as at:
        at["blocks.*.mlp.hidden"].ablate()
        at["blocks.*.attn.heads"].ablate()
        read = at["blocks.*.residual"].read()
        model(images)
    block = model.stages[0].layers[-1]
    moved = read["blocks.1.residual"] - read["blocks.0.residual"]
    torch.testing.assert_close(moved, (block.attn.proj.bias + block.mlp.fc2.bias).expand_as(moved))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda at: at["blocks.9.attn.q"], "no site"),
        (lambda at: at["blocks.0.residual"].ablate(heads=1), "heads cannot be chosen"),
        (lambda at: at["blocks.0.attn.q"].ablate(keys=1), "keys can be chosen"),
        (lambda at: at["blocks.0.attn.weights"].ablate(channels=1), "channels cannot be chosen"),
        (lambda at: at["blocks.0.attn.q"].ablate("nothing"), "to must be one of"),
        (lambda at: at["blocks.0.attn.q"].patch({}), "was not read"),
    ],
)
def test_errors_at_once(act: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message), intervene(vit()) as at:
        act(at)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda at: at["blocks.0.attn.q"].ablate(heads=7), "heads must lie in"),
        (lambda at: at["blocks.0.attn.q"].ablate(tokens=(9, 9)), "no \\(row, column\\)"),
        (lambda at: at["blocks.0.attn.q"].replace(torch.zeros(5)), "must broadcast"),
        (lambda at: at["blocks.0.residual"].ablate("other image", order=[0]), "order must name"),
    ],
)
def test_errors_in_the_forward(act: Any, message: str) -> None:
    with intervene(vit()) as at:
        act(at)
        with pytest.raises(ValueError, match=message):
            at.model(image())
        at.reset()


def test_what_never_happened_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"nothing was done at blocks\.0\.residual"), intervene(vit()) as at:
        at["blocks.0.residual"].ablate()


def test_a_model_without_sites_says_so() -> None:
    with pytest.raises(ValueError, match="has none"), intervene(nn.Linear(2, 2)) as at:
        at["q"]
