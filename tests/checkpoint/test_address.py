"""Addresses of weights."""

from __future__ import annotations

from torch import nn

from vitblocks import (
    PEG,
    Block,
    ConvDownsample,
    GlobalAttention,
    Mlp,
    PerToken,
    Stage,
    checkpoint as ck,
)

from .common import twins


def test_addresses_do_not_depend_on_list_positions() -> None:
    def block() -> Block:
        return Block(8, GlobalAttention(8, 2), Mlp(8, 8))

    plain = nn.ModuleDict({"tower": nn.ModuleList([Stage([block(), PEG(8), block(), PEG(8)]), Stage([block()])])})
    padded = nn.ModuleDict(
        {
            "tower": nn.ModuleList(
                [
                    Stage([PerToken(nn.Identity()), block(), PEG(8), PerToken(nn.ReLU()), block(), PEG(8)]),
                    Stage([PerToken(nn.Identity()), block()]),
                ]
            )
        }
    )
    assert list(ck.addresses(plain)) == list(ck.addresses(padded))
    places = ck.addresses(padded)
    assert places["tower.0.blocks.1.attn.qkv.weight"] == ("tower.0.layers.4.attn.qkv.weight", 1)
    assert places["tower.0.peg.conv.weight"].key == "tower.0.layers.2.conv.weight"
    assert places["tower.0.peg_1.conv.weight"].key == "tower.0.layers.5.conv.weight"
    assert places["tower.1.blocks.0.norm1.bias"].blocks_before == 2


def test_addresses_reach_every_entry_of_a_pyramid() -> None:
    model = twins()
    places = ck.addresses(model)
    assert [place.key for place in places.values()] == list(model.state_dict())
    assert places["stages.1.transition.conv.weight"].blocks_before == 2
    assert places["head.weight"] == ("head.weight", None)


def test_addresses_of_a_lone_stage_and_of_a_stage_in_a_layer() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Stage([Block(8, GlobalAttention(8, 2), Mlp(8, 8))])

    places = ck.addresses(Stage([Holder()], transition=ConvDownsample(8, 8)))
    assert places["blocks.0.inner.layers.0.norm1.weight"].key == "layers.0.inner.layers.0.norm1.weight"
    assert places["transition.conv.weight"].key == "transition.conv.weight"
