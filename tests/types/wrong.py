"""Calls that are wrong, each with ``# wrong`` behind it: a type checker must say so of these lines and of no other. It is never run."""

from __future__ import annotations

from torch import nn

import vitblocks
from vitblocks import (
    AttentionPool,
    Block,
    ClassAttention,
    ConvEmbed,
    ConvProjectionAttention,
    DilatedWindowAttention,
    DistillablePiT,
    DistillableViT,
    GlobalAttention,
    LocalWindowAttention,
    MeanPool,
    Mlp,
    Model,
    QuickGELU,
    ReAttention,
    ReducedAttention,
    Residual,
    SoftmaxAttend,
    Stage,
    TalkingHeadsAttention,
    ViT,
    ViTLite,
    WindowAttention,
    Windows,
    create_model,
    fold,
    list_models,
    swap_attention,
)
from vitblocks.zoo.cct import cct_2

# A keyword that there is not.
LocalWindowAttention(16, 2, windw=7)  # wrong
LocalWindowAttention(16, 2, windows=Windows(7))  # wrong
DilatedWindowAttention(16, 2, shift=2)  # wrong
WindowAttention(16, 2)  # wrong
GlobalAttention(16, 2, head_dims=8)  # wrong
ReducedAttention(16, 2, rotary=nn.Identity())  # wrong
ReAttention(16, 2, attend=SoftmaxAttend())  # wrong
TalkingHeadsAttention(16, 2, attend=SoftmaxAttend())  # wrong
ClassAttention(16, 2, value_dim=8)  # wrong
ConvProjectionAttention(16, 2, qkv=nn.Linear(16, 48))  # wrong
AttentionPool(16, 2, position_bias=nn.Identity())  # wrong
Block(16, GlobalAttention(16, 2), Mlp(16), droppath=0.1)  # wrong
QuickGELU(True)  # wrong
ViT(image_size=32, patch_size=16, num_class=10, dim=16, depth=1, heads=2, mlp_dim=32)  # wrong
cct_2(embedding_dim=64)  # wrong
cct_2(num_class=10)  # wrong
ViTLite(class_token=False)  # wrong
DistillableViT(image_size=32, patch_size=16, num_classes=10, dim=16, depth=1, heads=2)  # wrong
DistillablePiT(image_size=32, patch_size=16, num_classes=10, dim=16, depth=[1], heads=2, mlp_dim=32, stem=1)  # wrong
list_models(patern="vit*")  # wrong

# A value of another type.
LocalWindowAttention(16, 2, window="7")  # wrong
LocalWindowAttention(16, 2, window=(7, 7, 7))  # wrong
GlobalAttention(16, heads="2")  # wrong
GlobalAttention(16, 2, attend=nn.Softmax(-1))  # wrong
WindowAttention(16, 2, windows=7)  # wrong
ReAttention(16, 2, dropout=None)  # wrong
Block(16, GlobalAttention, Mlp(16))  # wrong
Residual(16, None)  # wrong
Stage(GlobalAttention(16, 2))  # wrong
Model(ConvEmbed(4, 16), [Block(16, GlobalAttention(16, 2), Mlp(16))], pool=MeanPool())  # wrong
Model(ConvEmbed(4, 16), [Stage()])  # wrong
Model(ConvEmbed(4, 16), [Stage()], pool=MeanPool)  # wrong
ViT(image_size=32, patch_size=16, num_classes=10, dim=16, depth=1, heads=2, mlp_dim=32, pool="max")  # wrong
cct_2(positional_embedding="cosine")  # wrong
create_model(7)  # wrong
fold("model")  # wrong
swap_attention(nn.Identity(), "window")  # wrong


@vitblocks.part
class Mine(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()


Mine(width=3)  # wrong
vitblocks.part("Mine", "yours")  # wrong

# A name that there is not.
vitblocks.GlobalAttn()  # wrong
vitblocks.zoo.VIT()  # wrong
vitblocks.attention.Softmax()  # wrong

# What comes back is what is said.
number: int = vitblocks.linear_head(16, 10)  # wrong
