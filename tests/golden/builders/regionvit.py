"""RegionViT."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import MapEmbed, RegionViT
from vitblocks.grid import split_prefix, to_map


def regionvit(config: Config, *, carry_padding: bool = True) -> RegionViT:
    """With the padding of the authors' code, which makes no difference where windows fit.

    ``kernel_sizes`` are the windows of each stage; a region is as many patches as the first.
    """
    config.only("qk_scale", None)
    config.only("computed_cls_token", True)
    config.only("det_norm", False)
    config.unaffected_by("img_size")  # noted there, but no image is compared with it
    stem, *dims = config["embed_dim"]
    stages, patch, channels = len(dims), config["patch_size"], config.get("in_chans", 3)
    if list(config["downsampling"]) != ["c", *["sc"] * (stages - 1)]:
        raise config.refuse("downsampling", "our model halves the map between stages, and there alone")
    windows, region = config.each("kernel_sizes", stages), patch * config["kernel_sizes"][0]
    if len({side % region == 0 for side in config.image[-2:]}) > 1:
        raise config.refuse(
            "kernel_sizes", "where regions fit one side of the image alone, theirs pads the other by a whole one"
        )
    if carry_padding and not fits(windows, region, patch, list(config.image[-2:])):
        raise config.refuse("kernel_sizes", "our model has a window of each stage for each regional token")
    kind = config.only("patch_conv_type", "3conv", "1conv", "linear")
    if kind == "3conv":
        config.only("patch_size", 4, why="three convolutions have no such option")
    overlap = kind == "1conv"
    conv = nn.Conv2d(channels, stem, (1 + overlap) * patch, patch, (patch - 1) * overlap)
    return RegionViT(
        dim=dims,
        stem_dim=stem,
        depth=config["depth"],
        window_size=windows[0],
        window_sizes=windows,
        num_classes=config["num_classes"],
        channels=channels,
        tokenize_local_3_conv=kind == "3conv",
        tokenizer=None if kind == "3conv" else MapEmbed(conv),
        use_peg=config.get("peg", False),
        heads=config.each("num_heads", stages),
        mlp_ratio=config.each("mlp_ratio", stages),
        qkv_bias=config.get("qkv_bias", True),
        carry_padding=carry_padding,
    )


def fits(windows: list[int], region: int, patch: int, sides: list[int]) -> bool:
    """Whether every stage has as many windows as regional tokens, along these sides of the image."""
    for side in sides:
        regions, places = -(-side // region), -(-side // patch)
        for window in windows:
            if -(-places // window) != regions:
                return False
            regions, places = -(-regions // 2), -(-places // 2)
    return True


def regional(model: Any, case: Case) -> Tensor:
    """The regional tokens of the last stage as a map."""
    x, grid = model.forward_stages(case.input)[-1]
    window = case.config["kernel_sizes"][-1]
    return to_map(split_prefix(x, grid)[0], (-(-grid[0] // window), -(-grid[1] // window)))[:, :8]


def local(model: Any, case: Case) -> Tensor:
    return model.feature_maps(case.input)[-1].map[:, :6, :3, :3]


BUILDERS = {("RegionViT", "official"): Builder(regionvit, {"regional": regional, "local": local})}
