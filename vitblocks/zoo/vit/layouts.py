"""Key maps of ViT."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from ...checkpoint.block import HF_BLOCK, PACKED_GATE, TIMM_BLOCK
from ...checkpoint.rules import Computed, KeyMap, Rule, Table, within
from ...checkpoint.transforms import Concat, Inverted, PatchPixels, Same, Transform, Unsqueeze
from ...embed import LinearEmbed, MapEmbed
from ...feedforward import GatedMlp
from ...pool import ClassPool
from ...position import LearnedPosition
from ...prefix import ClassToken

if TYPE_CHECKING:
    from ...model import Model
    from .model import ViT


def timm(model: Model) -> Table:
    """timm's VisionTransformer; the authors' code of DeiT and DINO has the same names. Its patch embedding is a convolution.

    It holds for every model of ViT's blocks in one stage.
    """
    gated = any(isinstance(part, GatedMlp) for part in model.modules())
    embed = model.embed
    pixels: Transform = Same()
    if isinstance(embed, LinearEmbed):
        pixels = Inverted(PatchPixels(embed.patch_size, embed.channels))
    token = next((part.token for part in model.modules() if isinstance(part, ClassToken)), None)
    registers = 0 if token is None else token.shape[1] - 1
    return (
        Rule(("cls_token", "reg_token"), "stages.0.class_token.token", Concat((1, registers), dim=1))
        if registers
        else Rule("cls_token", "stages.0.class_token.token"),
        Rule("pos_embed", "stages.0.learned_position.table"),
        Rule("patch_embed.proj.weight", "embed.proj.weight", pixels),
        Rule("patch_embed.proj.bias", "embed.proj.bias"),
        Rule("patch_embed.proj.{p}", "embed.conv.{p}"),
        *within("blocks.{b}", "stages.0.blocks.{b}", (*(PACKED_GATE if gated else ()), *TIMM_BLOCK)),
        Rule("norm.{p}", "norm.{p}"),
        Rule("fc_norm.{p}", "pool.norm.{p}"),
        Rule("head.{p}", "head.{p}"),
    )


# vit-pytorch up to 0.26: norms wrap the layers (`fn`), and the final norm belongs to the head.
_WRAPPED = (
    *within(
        "transformer.layers.{b}.0",
        "stages.0.blocks.{b}",
        (
            Rule("norm.{p}", "norm1.{p}"),
            Rule("fn.to_qkv.{p}", "attn.qkv.{p}"),
            Rule("fn.to_out.0.{p}", "attn.proj.{p}"),
        ),
    ),
    *within(
        "transformer.layers.{b}.1",
        "stages.0.blocks.{b}",
        (
            Rule("norm.{p}", "norm2.{p}"),
            Rule("fn.net.0.{p}", "mlp.fc1.{p}"),
            Rule("fn.net.3.{p}", "mlp.fc2.{p}"),
        ),
    ),
    Rule("mlp_head.1.{p}", "head.{p}"),
)

# vit-pytorch from 1.0: norms inside the layers, dual patch norm, tokens and positions without a batch axis.
_CURRENT = (
    Rule("cls_token", "stages.0.class_token.token", Unsqueeze(0)),
    Rule("pos_embedding", "stages.0.learned_position.table", Unsqueeze(0)),
    Rule("to_patch_embedding.{i+1}.{p}", "embed.proj.{i}.{p}"),
    *within(
        "transformer.layers.{b}.0",
        "stages.0.blocks.{b}",
        (
            Rule("norm.{p}", "norm1.{p}"),
            Rule("to_qkv.{p}", "attn.qkv.{p}"),
            Rule("to_out.0.{p}", "attn.proj.{p}"),
        ),
    ),
    *within(
        "transformer.layers.{b}.1",
        "stages.0.blocks.{b}",
        (
            Rule("net.0.{p}", "norm2.{p}"),
            Rule("net.1.{p}", "mlp.fc1.{p}"),
            Rule("net.4.{p}", "mlp.fc2.{p}"),
        ),
    ),
    Rule("transformer.norm.{p}", "norm.{p}"),
    Rule("mlp_head.{p}", "head.{p}"),
)


def _no_token(model: ViT) -> Tensor:
    table = cast(LearnedPosition, model.stages[0].get_submodule("layers.0")).table
    return table.new_empty(0, table.shape[2])


def vit_pytorch(model: ViT) -> Table:
    """vit-pytorch's ViT: of 1.26 if the patches are normed before and after their Linear, otherwise of 0.26.

    With ``pool="mean"`` that of 0.26 needs :class:`~vitblocks.pool.TokenMeanPool`, since its class token is in the mean, and that of 1.26
    has an empty table of class tokens.
    """
    patches: Table = ()
    match model.embed:
        case LinearEmbed(proj=nn.Sequential()):
            return (
                _CURRENT if isinstance(model.pool, ClassPool) else (*_CURRENT, Computed("cls_token", None, _no_token))
            )
        case LinearEmbed():
            patches = (Rule("to_patch_embedding.1.{p}", "embed.proj.{p}"),)
        case MapEmbed(conv=nn.Conv2d(kernel_size=(rows, columns), in_channels=channels)):
            pixels = PatchPixels((rows, columns), channels)
            patches = (
                Rule("to_patch_embedding.1.weight", "embed.conv.weight", pixels),
                Rule("to_patch_embedding.1.bias", "embed.conv.bias"),
            )
    return (
        Rule("cls_token", "stages.0.class_token.token"),
        Rule("pos_embedding", "stages.0.learned_position.table"),
        *patches,
        *_WRAPPED,
        Rule("mlp_head.0.{p}", "norm.{p}" if isinstance(model.pool, ClassPool) else "pool.norm.{p}"),
    )


def hf_encoder(prefix: str, tokens: Rule) -> tuple[Rule, ...]:
    """Hugging Face's ViT or DeiT under a prefix, without heads."""
    return (
        tokens,
        Rule(f"{prefix}embeddings.position_embeddings", "stages.0.learned_position.table"),
        Rule(f"{prefix}embeddings.patch_embeddings.projection.{{p}}", "embed.conv.{p}"),
        *within(f"{prefix}encoder.layer.{{b}}", "stages.0.blocks.{b}", HF_BLOCK, also=f"{prefix}layers.{{b}}"),
        Rule(f"{prefix}layernorm.{{p}}", "norm.{p}"),
        Rule("pooler.dense.{p}", "head.0.{p}"),
        Rule("classifier.{p}", "head.{p}"),
    )


def hf_vit(prefix: str) -> Table:
    """Hugging Face's ViTForImageClassification with the prefix ``vit.``, its ViTModel with none."""
    return hf_encoder(prefix, Rule(f"{prefix}embeddings.cls_token", "stages.0.class_token.token"))


def hf_deit(prefix: str) -> Table:
    """Hugging Face's DeiTForImageClassification with the prefix ``deit.``, its DeiTModel with none; both tokens, a head for the first."""
    tokens = (f"{prefix}embeddings.cls_token", f"{prefix}embeddings.distillation_token")
    return hf_encoder(prefix, Rule(tokens, "stages.0.class_token.token", Concat(2, dim=1)))


def hf(model: ViT) -> Table:
    """Hugging Face's ViTForImageClassification, or of a model without classes its ViTModel; their DeiT, where there are two tokens.

    Their norms have an epsilon of 1e-12: build the model with ``norm=layer_norm(1e-12)``.
    """
    tokens = [layer.token.shape[1] for layer in model.modules() if isinstance(layer, ClassToken)]
    distilled, classifies = tokens == [2], isinstance(model.head, nn.Linear)
    return hf_deit("deit." if classifies else "") if distilled else hf_vit("vit." if classifies else "")


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "official": timm, "vit_pytorch": vit_pytorch, "hf": hf}
