"""The table of all classes and all transformations, and what is known not to work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import pytest

from tests.zoo.tiny import TINY, Tiny
from vitblocks.deploying.exporting import plain_layers

from .checks import COLUMNS

TRIMMED = "ATSViT(drop_tokens=True)"
ROWS: Mapping[str, Tiny] = {
    **TINY,
    TRIMMED: Tiny(lambda **options: TINY["ATSViT"].build(drop_tokens=True, **options), TINY["ATSViT"].image_size),
}


class Limit(NamedTuple):
    """Why a model does not take a transformation: how PyTorch or the model says so, the reason, and within what it works all the same."""

    error: str
    reason: str
    within: Callable[[], AbstractContextManager[None]] | None = None


ITEM = Limit(
    "calling .item\\(\\) on a Tensor",
    "How many tokens are left depends on the images: a number that `vmap` cannot read. Use `drop_tokens=False`.",
)
LENGTH = Limit(
    "TrimPadding cannot be traced",
    "How many tokens are left depends on the images, and a trace would keep the number of its example. Use `drop_tokens=False`.",
)
GUARD = Limit(
    "data-dependent expression",
    "How many tokens are left depends on the images, and so do the sizes in the graph. Use `drop_tokens=False`.",
)
SIZES = Limit(
    "Guard failed|unhashable type: non-nested SymInt",
    "The way through the model depends on the size: windows that fit or are padded, tables that are resized by other factors. "
    "The program holds for sizes that go the way of its example.",
)
FAST_PATH = Limit(
    "aten::_transformer_encoder_layer_fwd",
    "The transformer plugged in here is PyTorch's `nn.TransformerEncoderLayer`, whose fused operator has no gradient within `vmap`: call "
    "`torch.backends.mha.set_fastpath_enabled(False)` before.",
    plain_layers,
)
OF_SOME_SIZES = (
    *(
        "BEiT",
        "CrossFormer",
        "DINOv2",
        "DistillableT2TViT",
        "Hiera",
        "LeViT",
        "MaxViT",
        "MobileViT",
        "NesT",
        "RegionViT",
        "SAMViT",
    ),
    *("Swin", "SwinV2", "T2TViT"),
)
LIMITS: Mapping[tuple[str, str], Limit] = {
    (TRIMMED, "per-sample gradients"): ITEM,
    (TRIMMED, "ensembles"): ITEM,
    (TRIMMED, "jit.trace"): LENGTH,
    (TRIMMED, "ONNX"): LENGTH,
    (TRIMMED, "ONNX, dynamo"): GUARD,
    (TRIMMED, "torch.export"): GUARD,
    (TRIMMED, "AOTInductor"): GUARD,
    (TRIMMED, "any size"): GUARD,
    (TRIMMED, "torch.compile"): GUARD,
    **{(row, "any size"): SIZES for row in OF_SOME_SIZES},
    **{(row, "ensembles"): FAST_PATH for row in ("EfficientViT", "DistillableEfficientViT")},
}


def check(row: str, column: str) -> None:
    """Check one cell: that the transformation works, or that it fails as its limit says.

    Raises:
        AssertionError: neither is so.
    """
    limit = LIMITS.get((row, column))
    if limit is not None:
        with pytest.raises(Exception, match=limit.error):
            COLUMNS[column](ROWS[row])
        if limit.within is None:
            return
    with nullcontext() if limit is None or limit.within is None else limit.within():
        COLUMNS[column](ROWS[row])


HEAD = """# What PyTorch makes of a model

Every class of the zoo, in a tiny configuration, beside the model called as it stands:

- **per-sample gradients**: `vmap(grad(loss))` over the images of a batch is a loop over them;
- **ensembles**: `torch.func.stack_module_state` and `vmap(functional_call)` over two models give the outputs and the gradients of each;
- **jit.trace**: `torch.jit.trace`, run with other batches;
- **ONNX**: `deploying.to_onnx`, a trace, as `deploy` takes it: a dynamic batch, run with other batches by ONNX Runtime;
- **ONNX, dynamo**: `deploying.to_onnx(dynamo=True)`, made of `torch.export`'s program, run in the same way;
- **torch.export**: `deploying.to_program`, a dynamic batch, run with other batches;
- **AOTInductor**: a library of such a program, folded and with constant weights as `deploy` has it, run with other batches;
- **any size**: `deploying.to_program(sizes=True)`: batch, height and width are open, run with others of each;
- **torch.compile**: `fullgraph=True`, outputs and gradients. The compiler traces how einops (from 0.8.2 on) reads each pattern, which is
  most of what it takes for a model; after `torch.compiler.allow_in_graph(einops.rearrange)`, and the same for `reduce` and `repeat`, it
  takes them for operators, with the same logits.

Gradients per sample, ONNX and AOTInductor are compared in float32, all else in float64. Dropout and drop path are off, BatchNorm uses its
running statistics. A trace, and an ONNX file made of it, has the image size of its example. A program of any size is exported at another
size than the model's own, and does not take that one: there positions are not resized, which is another program.

This page is written by `python -m tests.transforms --write docs/transforms.md`, which checks every cell;
`make test` and `make test-slow` check the same ones.

"""


def page() -> str:
    """The table as Markdown, with the limits as numbered notes."""
    notes = list(dict.fromkeys(LIMITS.values()))

    def cell(row: str, column: str) -> str:
        limit = LIMITS.get((row, column))
        return "yes" if limit is None else f"{'no' if limit.within is None else 'yes'} ({notes.index(limit) + 1})"

    lines = [
        f"| class | {' | '.join(COLUMNS)} |",
        "|---" * (len(COLUMNS) + 1) + "|",
        *(f"| `{row}` | {' | '.join(cell(row, column) for column in COLUMNS)} |" for row in sorted(ROWS)),
        "",
        *(f"{i}. {limit.reason}" for i, limit in enumerate(notes, start=1)),
    ]
    return HEAD + "\n".join(lines) + "\n"
