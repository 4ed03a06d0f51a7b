"""ATS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.golden.case import Case
from tests.golden.check import Builder
from vitblocks.inspect.capture import capture
from vitblocks.zoo.ats_vit import DROPPED, ATSViT, KeepPadding, TokenSampler, original_ids


def ats(config: dict[str, Any]) -> ATSViT:
    """The authors sample at as many points as there are patches, wherever they sample."""
    dim, patches = config["embed_dim"], (config["img_size"] // config["patch_size"]) ** 2
    assert set(config["num_tokens"]) == {patches + 1}
    return ATSViT(
        image_size=config["img_size"],
        patch_size=config["patch_size"],
        num_classes=config["num_classes"],
        dim=dim,
        depth=config["depth"],
        max_tokens_per_depth=[patches if i in config["ats_blocks"] else None for i in range(config["depth"])],
        heads=config["num_heads"],
        mlp_dim=int(dim * config["mlp_ratio"]),
        qkv_bias=config["qkv_bias"],
        drop_tokens=config["drop_tokens"],
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


def at(sampling: int, output: Callable[[ATSViT, Case, int], Tensor]) -> Callable[[ATSViT, Case], Tensor]:
    return lambda model, case: output(model, case, sampling)


OUTPUTS = {
    f"stage{sampling}_{name}": at(sampling, output)
    for sampling in (0, 1)
    for name, output in (
        ("ids", ids),
        ("policy", policy),
        ("scores", recorded_scores),
        ("sampled_sorted_positions", positions),
        ("tokens", block),
    )
}
BUILDERS = {("ATS", "official"): Builder(ats, OUTPUTS)}
