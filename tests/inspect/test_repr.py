"""What is found is printed in a line: shapes, not numbers."""

from __future__ import annotations

import torch

from vitblocks import Model, extract, record_attention, summary
from vitblocks.objectives.masking import Details, Pictures, shuffle
from vitblocks.objectives.mpp import Corruption
from vitblocks.zoo import ViT


def vit() -> Model:
    return ViT(image_size=16, patch_size=4, num_classes=3, dim=8, depth=2, heads=2, mlp_dim=8)


IMAGE = torch.zeros(2, 3, 16, 16)


def test_attention_records() -> None:
    model = vit()
    with record_attention(model) as records:
        model(IMAGE)
    first = records[0]
    assert repr(first) == (
        f"AttentionRecord(name={first.name!r}, weights=(2, 1, 2, 17, 17), heads=(0, 1), "
        "queries=Places(ids=(1, 17), prefix=1, grid=(4, 4)), keys=Places(ids=(1, 17), prefix=1, grid=(4, 4)))"
    )
    assert repr(records) == "AttentionRecords(2 of shape (2, 1, 2, 17, 17))"
    assert str(records).splitlines() == [
        "attention                      images  groups  heads  queries  keys",
        "stages.0.layers.3.attn.attend       2       1      2       17    17",
        "stages.0.layers.4.attn.attend       2       1      2       17    17",
    ]
    records.clear()
    assert repr(records) == "AttentionRecords(none)"


def test_tokens_and_feature_maps() -> None:
    model = vit()
    with extract(model, "stages.*") as tokens:
        model(IMAGE)
    assert repr(tokens) == "{'stages.0': TokenRecord(name='stages.0', x=(2, 17, 8), grid=(4, 4), stride=(4, 4))}"
    assert repr(model.feature_maps(IMAGE)) == "[FeatureMap(map=(2, 8, 4, 4), stride=(4, 4))]"


def test_summary() -> None:
    counted = summary(vit())
    assert repr(counted) == (
        f"Summary(model='ViT', image=(3, 16, 16), params={counted.params}, macs={counted.macs}, "
        f"activations={counted.activations}, layers={len(counted.layers)} of them)"
    )


def test_what_objectives_give() -> None:
    x = torch.zeros(2, 3)
    given = [Details(x, x, x), Pictures(x, x, x), Corruption(x, x, x), shuffle(x, 1)]
    assert [repr(found) for found in given] == [
        "Details(loss=(2, 3), mask=(2, 3), reconstruction=(2, 3))",
        "Pictures(masked=(2, 3), reconstruction=(2, 3), pasted=(2, 3))",
        "Corruption(chosen=(2, 3), masked=(2, 3), source=(2, 3))",
        "Shuffle(kept=(2, 1), restore=(2, 3), mask=(2, 3))",
    ]
