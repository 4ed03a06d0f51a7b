"""Writes the table of published weights, from what the installed timm knows: ``python -m tests.border.published``.

A name is in it if timm's model has as many parameters as ours, which both are counted for without weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

import vitblocks
from vitblocks import create_model, list_models
from vitblocks.border.about import from_timm

from . import cases as cases  # which lets timm import torchvision

TABLE = Path(vitblocks.__file__).parent / "border" / "published.json"


def rows() -> dict[str, Any]:
    """Of every name with a tag: the variant that it is, its place on the Hub, classes, licence, and preprocessing."""
    import timm

    known = set(list_models())
    found = {}
    pretrained = set(timm.list_pretrained())
    for name in sorted(pretrained):
        config = timm.get_pretrained_cfg(name)
        base = name.partition(".")[0]
        candidates = [variant for variant in (base, f"{base}_distilled") if variant in known]
        if not candidates or not config.hf_hub_id:
            continue
        with torch.device("meta"):
            theirs = sum(p.numel() for p in timm.create_model(base, num_classes=config.num_classes).parameters())
        equal = [variant for variant in candidates if _count(variant, config.num_classes) == theirs]
        quick = base.replace("_clip_", "_clip_quickgelu_")
        if quick != base and f"{quick}.{name.partition('.')[2]}" in pretrained:
            equal = [quick]  # as these weights were trained
        if equal:
            size = config.input_size[1:]
            found[name] = {
                "variant": equal[0],
                "hub": config.hf_hub_id,
                "num_classes": config.num_classes,
                "license": config.license,
                "preprocessing": from_timm(config.to_dict(), size).data(),
            }
    return found


def _count(variant: str, num_classes: int) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in create_model(variant, num_classes=num_classes).parameters())


def text() -> str:
    lines = [f" {json.dumps(name)}: {json.dumps(row)}" for name, row in rows().items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    TABLE.write_text(text())
