"""The models of other libraries that ``python -m benchmarks.compare`` measures, each beside ours of the same size.

timm, transformers and vit-pytorch come with the extra ``bench``. What is random in training (dropout, drop path) is off on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

import vitblocks
from vitblocks import checkpoint
from vitblocks.folding.report import relative_error
from vitblocks.registry import variants

Options: TypeAlias = Mapping[str, Any]
NONE: Options = {}


class Peer(NamedTuple):
    """A model of another library and ours of the same size."""

    architecture: str
    library: str
    theirs: Callable[[], nn.Module]
    ours: Callable[[], nn.Module]
    image_size: int = 224
    layout: str | None = None
    """The key map by which our model takes their weights, so that both compute the same; None where the architectures differ."""
    weights: Callable[[nn.Module], dict[str, Tensor]] = nn.Module.state_dict
    """Their weights as the key map knows them."""

    @property
    def name(self) -> str:
        return f"{self.architecture}/{self.library}"


def allow_torchvision() -> None:
    """Import torchvision, after defining the two operators that it misses beside a torch which it was not built for.

    Defined before a torchvision that has them, they would clash with its own.
    """
    try:
        import_module("torchvision")
    except RuntimeError as error:  # operator torchvision::nms does not exist
        if "torchvision::" not in str(error):
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARIES.append(library)  # the definitions live as long as it does
        import_module("torchvision")


_LIBRARIES: list[torch.library.Library] = []


class Logits(nn.Module):
    """A model of transformers as ``images -> logits``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).logits


def timm_model(name: str, **options: Any) -> Callable[[], nn.Module]:
    """One of timm's by name, fresh weights, nothing random about it."""

    def build() -> nn.Module:
        allow_torchvision()
        # Some have a drop path of their own by default: 0.5 in NesT, 0.1 in Swin.
        return import_module("timm").create_model(name, num_classes=1000, drop_path_rate=0.0, **options)

    return build


def of_timm(architecture: str, theirs: str, ours: str, image_size: int = 224, **options: Any) -> Peer:
    return Peer(architecture, "timm", timm_model(theirs), published(ours, **options), image_size, "timm")


def published(variant: str, **options: Any) -> Callable[[], nn.Module]:
    """One of ours by name, nothing random about it."""

    def build() -> nn.Module:
        return vitblocks.create_model(variant, **options)

    return build


def cvt_of_transformers() -> nn.Module:
    """CvT-13, which is what the configuration's defaults describe."""
    allow_torchvision()
    transformers = import_module("transformers")
    config = transformers.CvtConfig(num_labels=1000, drop_path_rate=[0.0, 0.0, 0.0], drop_rate=[0.0, 0.0, 0.0])
    return Logits(transformers.CvtForImageClassification(config))


def of_vit_pytorch(
    architecture: str, module: str, name: str, sizes: Options, *, ours: Options = NONE, theirs: Options = NONE
) -> Peer:
    """The same arguments for both, since ours takes those of vit-pytorch, but for those that one side alone takes."""

    def built_by(package: str, options: Options) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            allow_torchvision()
            return getattr(import_module(f"{package}.{module}"), name)(**options)

        return build

    beside = built_by("vit_pytorch", {**sizes, **theirs})
    return Peer(architecture, "vit-pytorch", beside, built_by("vitblocks.zoo", {**sizes, **ours}))


def regionvit_of_vit_pytorch() -> nn.Module:
    """With a head for every 32 channels, as in the paper and in ours; of its own it has 4 in every stage, a third of the attention."""
    allow_torchvision()
    module = import_module("vit_pytorch.regionvit")
    model = module.RegionViT(**REGIONVIT_S)
    for i, dim in enumerate(REGIONVIT_S["dim"]):
        model.layers[i][2] = module.R2LTransformer(dim, depth=REGIONVIT_S["depth"][i], window_size=7, heads=dim // 32)
    return model


def pointwise_as_linear(model: nn.Module) -> dict[str, Tensor]:
    """Weights of 1x1 convolutions as those of Linears."""
    return {name: w.flatten(1) if w.shape[2:] == (1, 1) else w for name, w in model.state_dict().items()}


def of_logits(model: nn.Module) -> dict[str, Tensor]:
    return model.model.state_dict()  # type: ignore[union-attr]


VIT_S: Options = {"num_classes": 1000, **variants()["vit_small_patch16_224"].options}
CAIT_XXS24 = {**VIT_S, "dim": 192, "depth": 24, "cls_depth": 2, "heads": 4, "mlp_dim": 768}
DEEPVIT_S = {**VIT_S, "dim": 396, "depth": 16, "heads": 12, "mlp_dim": 1188}
ATS_S = {**VIT_S, "max_tokens_per_depth": (197, 197, 197, 160, 128, 108, 96, 80, 64, 48, 40, 32)}
# What theirs keeps of a batch of 8 with those numbers: it draws with duplicates. Ours keeps as many as it is told, with fresh weights.
ATS_S_KEPT = {**VIT_S, "max_tokens_per_depth": (None, None, None, 118, None, 74, None, None, 45, None, 28, None)}
LEVIT_256 = {
    "image_size": 224,
    "dim": (256, 384, 512),
    "depth": 4,
    "heads": (4, 6, 8),
    "mlp_mult": 2,
    "num_classes": 1000,
}
MOBILEVIT_XS = {
    "image_size": (256, 256),
    "dims": (96, 120, 144),
    "channels": (16, 32, 48, 48, 64, 64, 80, 80, 96, 96, 384),
    "num_classes": 1000,
}
CCT_14 = {
    "img_size": 224,
    "n_conv_layers": 2,
    "kernel_size": 7,
    "stride": 2,
    "padding": 3,
    "num_classes": 1000,
    "positional_embedding": "learnable",
}
T2T_14 = {"image_size": 224, "dim": 384, "depth": 14, "heads": 6, "mlp_dim": 1152, "num_classes": 1000}
CROSSFORMER_S: Options = {"dim": (96, 192, 384, 768), "depth": (2, 2, 6, 2), "num_classes": 1000}
REGIONVIT_S: Options = {"dim": (96, 192, 384, 768), "depth": (2, 2, 8, 2), "num_classes": 1000}

PEERS = (
    of_timm("ViT-S", "vit_small_patch16_224", "vit_small_patch16_224"),
    of_timm("DeiT-S distilled", "deit_small_distilled_patch16_224", "deit_small_distilled_patch16_224"),
    of_timm("CaiT-XXS24", "cait_xxs24_224", "cait_xxs24_224", layer_dropout=0.0),
    of_timm("CrossViT-15", "crossvit_15_240", "crossvit_15_240", 240, drop_path=0.0),
    of_timm("PiT-S", "pit_s_224", "pit_s_224", drop_path=0.0),
    of_timm("LeViT-256", "levit_256", "levit_256_distilled", drop_path=0.0),
    of_timm("LeViT-256", "levit_conv_256", "levit_256_distilled", drop_path=0.0)._replace(
        library="timm, convolutional", weights=pointwise_as_linear
    ),
    of_timm("Twins-SVT-S", "twins_svt_small", "twins_svt_small", drop_path=0.0),
    of_timm("Swin-T", "swin_tiny_patch4_window7_224", "swin_tiny_patch4_window7_224", drop_path=0.0),
    Peer(
        "DINOv2-S",
        "timm",
        timm_model("vit_small_patch14_dinov2", img_size=224),
        published("vit_small_patch14_dinov2", image_size=224, num_classes=1000),
        layout="timm",
    ),
    of_timm("SigLIP-B/16", "vit_base_patch16_siglip_224", "vit_base_patch16_siglip_224", num_classes=1000),
    of_timm("NesT-T", "nest_tiny_jx", "nest_tiny_jx", drop_path=0.0),
    of_timm("MobileViT-XS", "mobilevit_xs", "mobilevit_xs", 256),
    Peer(
        "CvT-13",
        "transformers",
        cvt_of_transformers,
        published("cvt_13_224", drop_path=0.0, activation=nn.GELU),
        layout="hf",
        weights=of_logits,
    ),
    of_vit_pytorch("ViT-S", "vit", "ViT", VIT_S),
    of_vit_pytorch("CaiT-XXS24", "cait", "CaiT", CAIT_XXS24, theirs={"dim_head": 48}),
    of_vit_pytorch("DeepViT-S", "deepvit", "DeepViT", DEEPVIT_S, theirs={"dim_head": 33}),
    of_vit_pytorch("LeViT-256", "levit", "LeViT", LEVIT_256),
    of_vit_pytorch("MobileViT-XS", "mobile_vit", "MobileViT", MOBILEVIT_XS)._replace(image_size=256),
    of_vit_pytorch(
        "CCT-14/7x2",
        "cct",
        "cct_14",
        CCT_14,
        ours={"drop_path": 0.0, "attn_dropout": 0.0},
        theirs={"stochastic_depth_rate": 0.0, "attention_dropout": 0.0},
    ),
    of_vit_pytorch("T2T-ViT-14", "t2t", "T2TViT", T2T_14),
    # A layer of theirs is a pair of attentions, one of ours (and of the paper's count) is one.
    of_vit_pytorch("CrossFormer-S", "crossformer", "CrossFormer", CROSSFORMER_S, theirs={"depth": (1, 1, 3, 1)}),
    of_vit_pytorch("RegionViT-S", "regionvit", "RegionViT", REGIONVIT_S)._replace(theirs=regionvit_of_vit_pytorch),
    of_vit_pytorch("ATS ViT-S", "ats_vit", "ViT", ATS_S, ours={"drop_tokens": True}),
    of_vit_pytorch("ATS ViT-S", "ats_vit", "ViT", ATS_S, ours={"drop_tokens": True, **ATS_S_KEPT})._replace(
        library="vit-pytorch, as many tokens"
    ),
)


def pair(peer: Peer) -> tuple[nn.Module, nn.Module]:
    """Ours and theirs, with the same weights where a key map exists.

    Raises:
        RuntimeError: both have the same weights and do not give the same logits.
    """
    torch.manual_seed(0)
    theirs, ours = peer.theirs(), peer.ours()
    if peer.layout is not None:
        checkpoint.load(ours, peer.weights(theirs), layout=peer.layout)
        require_same(ours, theirs, peer)
    return ours, theirs


@torch.no_grad()
def require_same(ours: nn.Module, theirs: nn.Module, peer: Peer, tolerance: float = 1e-3) -> None:
    """Raise unless both give the same logits in float32, to ``tolerance`` of the largest."""
    images = torch.randn(2, 3, peer.image_size, peer.image_size)
    expected, found = theirs.eval()(images), ours.eval()(images)
    error = relative_error(found, expected)
    if not error <= tolerance:
        raise RuntimeError(
            f"{peer.name}: the logits differ by {error:.2g} of the largest, so timings would say nothing"
        )
