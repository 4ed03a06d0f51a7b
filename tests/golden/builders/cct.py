"""CCT, CVT and ViT-Lite."""

from __future__ import annotations

from typing import Any

from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import CCT, CompactViT, ViTLite

_TOKENIZER = (
    "n_conv_layers",
    "stride",
    "padding",
    "pooling_kernel_size",
    "pooling_stride",
    "pooling_padding",
)
_SIZES = ("img_size", "embedding_dim", "kernel_size", "num_layers", "num_heads", "mlp_ratio", "num_classes")


def options(config: Config, *names: str) -> dict[str, Any]:
    """The references' arguments, which ours are called after. Theirs has a Linear without outputs where there are no classes."""
    if config["num_classes"] < 1:
        raise config.refuse("num_classes", "the authors' code needs at least one")
    return {
        "channels": config.get("n_input_channels", 3),
        "positional_embedding": config.only("positional_embedding", "learnable", "sine", "none"),
        **{name: config[name] for name in (*_SIZES, *names) if name in config},
    }


BUILDERS = {
    ("CCT", "official", r"\bCCT\b"): Builder(lambda config: CCT(**options(config, *_TOKENIZER))),
    ("CCT", "official", r"\bCVT\b"): Builder(lambda config: CompactViT(**options(config))),
    ("CCT", "official", r"\bViTLite\b"): Builder(lambda config: ViTLite(**options(config))),
}
