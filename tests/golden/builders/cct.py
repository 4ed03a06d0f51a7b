"""CCT, CVT and ViT-Lite."""

from __future__ import annotations

from tests.golden.check import Builder
from vitblocks import CCT, CompactViT, ViTLite

BUILDERS = {
    ("CCT", "official"): Builder(lambda config: CCT(**config)),
    "cvt_compact": Builder(lambda config: CompactViT(**config)),
    "vit_lite": Builder(lambda config: ViTLite(**config)),
}
