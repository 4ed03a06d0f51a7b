"""Key maps of SAM's image encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...checkpoint.rules import Computed, KeyMap, Rule, Table, within
from ...checkpoint.transforms import TableFromMap
from ...position import LearnedPosition

if TYPE_CHECKING:
    from .model import SAMViT


def block(fc: str = "mlp.fc", norm: str = "norm") -> tuple[Rule, ...]:
    """A block, whose Linears of the feed-forward and whose norms are named so, and numbered."""
    return (
        Rule("attn.rel_pos_h", "attn.position_bias.rows.table"),
        Rule("attn.rel_pos_w", "attn.position_bias.columns.table"),
        Rule("ls1.gamma", "shortcut1.scale.weight"),
        Rule("ls2.gamma", "shortcut2.scale.weight"),
        *(Rule(f"{fc}{i}.{{p}}", f"mlp.fc{i}.{{p}}") for i in (1, 2)),
        *(Rule(f"{norm}{i}.{{p}}", f"norm{i}.{{p}}") for i in (1, 2)),
        Rule("{p}", "{p}"),
    )


def encoder(model: SAMViT, *, patches: str, blocks: str, necks: tuple[str, str, str, str], rules: Table) -> Table:
    """Everything but the head: the names of the convolution, of the list of blocks, and of the neck's four parts."""
    tables = [part for part in model.modules() if isinstance(part, LearnedPosition)]
    conv1, norm1, conv2, norm2 = necks
    own = tuple(rule for rule in rules if isinstance(rule, Rule))
    return (
        *(
            Rule("pos_embed", "stages.0.learned_position.table", TableFromMap(table.grid, "b h w c"))
            for table in tables
        ),
        Rule(f"{patches}.{{p}}", "embed.conv.{p}"),
        *within(f"{blocks}.{{b}}", "stages.0.blocks.{b}", own),
        Rule(f"{conv1}.weight", "stages.1.transition.conv.conv1.weight"),
        Rule(f"{norm1}.{{p}}", "stages.1.transition.conv.norm1.norm.{p}"),
        Rule(f"{conv2}.weight", "stages.1.transition.conv.conv2.weight"),
        Rule(f"{norm2}.{{p}}", "stages.1.transition.conv.norm2.norm.{p}"),
    )


_NUMBERED = ("neck.0", "neck.1", "neck.2", "neck.3")


def timm(model: SAMViT) -> Table:
    """timm's VisionTransformerSAM, without a neck the norm of which is ``neck``."""
    return (
        *encoder(model, patches="patch_embed.proj", blocks="blocks", necks=_NUMBERED, rules=block()),
        Rule("neck.{p}", "norm.{p}"),
        Rule("head.fc.{p}", "head.{p}"),
    )


_OTHERS = tuple(Computed(f"{name}.{{p}}") for name in ("prompt_encoder", "mask_decoder", "shared_image_embedding"))
"""What else SAM is made of, which no encoder holds."""


def under(name: str, rules: Table) -> Table:
    """Rules whose names there lie below another."""
    return tuple(Rule(f"{name}.{rule.theirs}", rule.ours, rule.transform) for rule in rules if isinstance(rule, Rule))


def official(model: SAMViT) -> Table:
    """The authors' ImageEncoderViT, as it lies in their SAM; it has no classes."""
    rules = encoder(model, patches="patch_embed.proj", blocks="blocks", necks=_NUMBERED, rules=block("mlp.lin"))
    return (*under("image_encoder", rules), Rule("head.{p}", "head.{p}"), *_OTHERS)


def hf(model: SAMViT) -> Table:
    """Hugging Face's SamVisionModel, or the encoder of its SamModel; they have no classes."""
    rules = encoder(
        model,
        patches="patch_embed.projection",
        blocks="layers",
        necks=("neck.conv1", "neck.layer_norm1", "neck.conv2", "neck.layer_norm2"),
        rules=block("mlp.lin", "layer_norm"),
    )
    return (*under("vision_encoder", rules), Rule("classifier.{p}", "head.{p}"), *_OTHERS)


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "official": official, "hf": hf}
