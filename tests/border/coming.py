"""The tables of docs/border.md: ``python -m tests.border.coming`` writes them from what is known of each class and what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .matrix.__main__ import measured

PAGE = Path(__file__).parents[2] / "docs" / "border.md"
START, END = "| there | here | largest error | what differs, and is refused |\n", "\n\nErrors are rounding in float32"


class Coming(NamedTuple):
    """Classes of another library that are read alike.

    Attributes:
        library: whose they are.
        names: their full names; a shared beginning is written once, with the rest of each between ``{`` and ``}``.
        ours: what they become.
        differs: what they may be set to for which there is no part.
    """

    library: str
    names: str
    ours: str
    differs: str = ""

    def full(self) -> list[str]:
        """The names one by one."""
        start, _, rest = self.names.partition("{")
        return [start + name for name in rest.rstrip("}").split(",")] if rest else [start]


def hf(model: str, names: str, ours: str, differs: str = "") -> Coming:
    return Coming("transformers", f"transformers.models.{model}.modeling_{model}.{{{names}}}", ours, differs)


def of_timm(name: str, ours: str, differs: str = "") -> Coming:
    return Coming("timm", f"timm.models.{name}", ours, differs)


ROWS: tuple[Coming, ...] = (
    of_timm(
        "vision_transformer.VisionTransformer",
        "ViT, CLIP, SigLIP",
        "pools of the maximum, norms of queries and keys, SwiGLU, registers without a class token, dropped patches",
    ),
    of_timm("deit.VisionTransformerDistilled", "DistillableViT", "registers, other than one last norm"),
    of_timm(
        "eva.Eva",
        "EVA, DINOv3, RoPEViT",
        "norms of queries and keys, gated attention, a norm before the blocks, layer scale of attention alone, "
        "queries, keys and values of a matrix each without inner norms",
    ),
    of_timm("beit.Beit", "BEiT", "SwiGLU, inner norms, no bias of queries, relative positions both shared and not"),
    of_timm("cait.Cait", "CaiT", "dropout in patch blocks alone"),
    of_timm("xcit.Xcit", "XCiT", "drop path of class blocks"),
    of_timm("swin_transformer.SwinTransformer", "Swin", "heads that are not the width, channels that do not double"),
    of_timm(
        "swin_transformer_v2.SwinTransformerV2", "SwinV2", "full windows on smaller maps, channels that do not double"
    ),
    of_timm(
        "maxxvit.MaxxVit",
        "MaxViT",
        "CoAtNet, blocks of ConvNeXt, grids alone or beside windows, pooling with the maximum, squeeze before the norm",
    ),
    of_timm("pit.PoolingVisionTransformer", "PiT, DistillablePiT"),
    of_timm(
        "levit.{Levit,LevitDistilled}",
        "LeViT",
        "of convolutions, the stem of stride 8, another activation in attention",
    ),
    of_timm("twins.Twins", "TwinsSVT, TwinsPCPVT", "dropout of positions, local attention in other than four stages"),
    of_timm("nest.Nest", "NesT", "other pools"),
    of_timm("crossvit.CrossVit", "CrossViT", "cropped images, class tokens that ask twice"),
    of_timm(
        "byobnet.ByobNet",
        "MobileViT",
        "MobileViT's second version, squeeze and excitation, drop path of convolutions, dilation",
    ),
    of_timm(
        "vision_transformer_sam.VisionTransformerSAM",
        "SAMViT",
        "rotary positions, norms of queries, a hidden layer before the classes",
    ),
    of_timm("hiera.Hiera", "Hiera", "other pools, dropped patches, of videos"),
    hf("vit", "ViTModel,ViTForImageClassification", "ViT", "a mask token"),
    hf(
        "deit",
        "DeiTModel,DeiTForImageClassification,DeiTForImageClassificationWithTeacher",
        "ViT, DistillableViT",
        "a mask token",
    ),
    hf("beit", "BeitModel,BeitForImageClassification", "BEiT", "relative positions of blocks beside shared ones"),
    hf("dinov2", "Dinov2Model,Dinov2ForImageClassification", "DINOv2"),
    hf(
        "dinov2_with_registers",
        "Dinov2WithRegistersModel,Dinov2WithRegistersForImageClassification",
        "DINOv2",
    ),
    hf(
        "dinov3_vit",
        "DINOv3ViTModel",
        "DINOv3",
        "a bias of keys, none of queries or values alone, none of projections or feed-forwards",
    ),
    hf("clip", "CLIPVisionModel,CLIPVisionModelWithProjection,CLIPForImageClassification", "CLIP"),
    hf(
        "siglip",
        "SiglipVisionModel,SiglipForImageClassification",
        "SigLIP",
        "a pool of other heads or another feed-forward than the blocks",
    ),
    hf(
        "siglip2",
        "Siglip2VisionModel,Siglip2ForImageClassification",
        "SigLIP",
        "a pool of other heads or another feed-forward than the blocks",
    ),
    hf(
        "swin",
        "SwinModel,SwinForImageClassification",
        "Swin",
        "absolute positions, a mask token, epsilons other than 1e-5",
    ),
    hf(
        "swinv2",
        "Swinv2Model,Swinv2ForImageClassification",
        "SwinV2",
        "absolute positions, a mask token, epsilons other than 1e-5",
    ),
    hf(
        "levit",
        "LevitModel,LevitForImageClassification,LevitForImageClassificationWithTeacher",
        "LeViT",
        "no feed-forward after an attention, another stem",
    ),
    hf(
        "mobilevit",
        "MobileViTModel,MobileViTForImageClassification",
        "MobileViT",
        "other activations and epsilons, no biases of qkv, dilation",
    ),
    hf(
        "cvt",
        "CvtModel,CvtForImageClassification",
        "CvT",
        "a class token before the last stage, dropout of one stage alone, strides of queries",
    ),
    hf(
        "hiera",
        "HieraModel,HieraForImageClassification,HieraForPreTraining",
        "Hiera, MaskUnitMAE",
        "units that begin anew, or end as several tokens",
    ),
    hf("sam", "SamVisionModel", "SAMViT"),
    hf("vit_mae", "ViTMAEModel,ViTMAEForPreTraining", "ViT, MAE", "dropout of the decoder"),
    Coming("vit-pytorch 1.26", "vit_pytorch.vit.ViT", "ViT"),
    Coming("vit-pytorch 1.26", "vit_pytorch.cct.CCT", "CCT", "no classes"),
    Coming("facebookresearch/dino", "vision_transformer.VisionTransformer", "ViT", "a head, which is in no call there"),
    Coming(
        "facebookresearch/dinov2",
        "dinov2.models.vision_transformer.DinoVisionTransformer",
        "DINOv2",
        "blocks in chunks, antialiasing with an offset",
    ),
)


def table() -> str:
    """All rows as Markdown. An error is the largest that the matrix found of the classes, "-" where it has none of them."""
    return START + "| --- | --- | --- | --- |\n" + "\n".join(_line(row) for row in ROWS)


def _line(row: Coming) -> str:
    found = [
        max(one["adopted"], one["loaded"], key=float) for one in measured().values() if one["origin"] in row.full()
    ]
    worst = max(found, key=float, default="-")
    error = "0" if worst != "-" and float(worst) == 0 else worst
    there = ", ".join(f"`{name.rpartition('.')[2]}`" for name in row.full())
    ours = ", ".join(f"`{name}`" for name in row.ours.split(", "))
    return f"| {row.library} {there} | {ours} | {error} | {row.differs} |"


def page() -> str:
    """The page with the table in its place."""
    text = PAGE.read_text()
    before, after = text[: text.index("| there | here | largest error")], text[text.index(END) :]
    return f"{before}{table()}{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
