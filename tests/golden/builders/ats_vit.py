"""ATS."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks.inspect.capture import capture
from vitblocks.zoo.ats_vit import DROPPED, ATSViT, KeepPadding, TokenSampler, original_ids
from vitblocks.zoo.sizes import patch_grid


def ats(config: Config) -> ATSViT:
    """The authors sample at as many points as there are patches, wherever they sample.

    Of ``num_tokens`` the authors' code can use no number but that of the tokens a block gets, to which it cuts larger ones down.
    """
    for absent in ("qk_scale", "representation_size", "hybrid_backbone", "norm_layer"):
        config.only(absent, None)
    dim, depth, sampling = config["embed_dim"], config["depth"], config["ats_blocks"]
    rows, columns = patch_grid(pair(config["img_size"]), pair(config["patch_size"]))
    patches = rows * columns
    if any(not 0 <= block < depth for block in sampling):
        raise config.refuse("ats_blocks", f"there are {depth} blocks")
    counts = config.get("num_tokens", [patches + 1] * depth)
    drop_tokens = config.get("drop_tokens", False)
    # Without dropping, no block gets fewer tokens than the first that samples.
    certain = sorted(sampling)[:1] if drop_tokens else sampling
    if len(counts) != depth or any(counts[block] <= patches for block in certain):
        raise config.refuse("num_tokens", f"the authors' code needs {patches + 1} or more for each of {depth} blocks")
    return ATSViT(
        image_size=config["img_size"],
        patch_size=config["patch_size"],
        num_classes=config["num_classes"],
        channels=config.get("in_channels", 3),
        dim=dim,
        depth=depth,
        max_tokens_per_depth=[patches if i in sampling else None for i in range(depth)],
        heads=config["num_heads"],
        mlp_dim=int(dim * config["mlp_ratio"]),
        qkv_bias=config["qkv_bias"],
        drop_tokens=drop_tokens,
    )


def captured(model: ATSViT, case: Case, kind: type[nn.Module]) -> list[Any]:
    with capture(model, kind) as outputs:
        model(case.input)
    return outputs


def scores(model: ATSViT, case: Case, sampling: int) -> tuple[TokenSampler, Tensor]:
    """A sampler, and the scores it was given."""
    sampler = [module for module in model.modules() if isinstance(module, TokenSampler)][sampling]
    given: list[Tensor] = []
    hook = sampler.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    model(case.input)
    hook.remove()
    return sampler, given[0]


def ids(model: ATSViT, case: Case, sampling: int) -> Tensor:
    """The tokens left, the class token as 0 and the patches from 1 on, without the columns of padding beyond the recorded ones."""
    width = case.outputs[f"stage{sampling}_ids"].shape[1]
    patches = original_ids(captured(model, case, TokenSampler)[: sampling + 1])
    tokens = torch.cat([patches.new_zeros(len(patches), 1), torch.where(patches == DROPPED, DROPPED, patches + 1)], 1)
    return tokens[:, :width] if (tokens[:, width:] == DROPPED).all() else tokens


def policy(model: ATSViT, case: Case, sampling: int) -> Tensor:
    """1 for the tokens left, 0 for padding."""
    return (captured(model, case, KeepPadding)[sampling] != 0).any(dim=-1)


def positions(model: ATSViT, case: Case, sampling: int) -> Tensor:
    sampler, given = scores(model, case, sampling)
    return sampler.picks(given)[0]


def recorded_scores(model: ATSViT, case: Case, sampling: int) -> Tensor:
    width = case.outputs[f"stage{sampling}_scores"].shape[1]
    return scores(model, case, sampling)[1][:, :width]


def block(model: ATSViT, case: Case, sampling: int) -> Tensor:
    return captured(model, case, KeepPadding)[sampling][:, :2, :6]


OUTPUTS = {
    "stage{}_ids": ids,
    "stage{}_policy": policy,
    "stage{}_scores": recorded_scores,
    "stage{}_sampled_sorted_positions": positions,
    "stage{}_tokens": block,
}
BUILDERS = {("ATS", "official"): Builder(ats, OUTPUTS)}
