"""CLIP's towers of images."""

from __future__ import annotations

from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder, corner
from tests.golden.config import Config
from vitblocks import ConvEmbed, layer_norm
from vitblocks.position import resize_table
from vitblocks.zoo import CLIP

from .vit import timm_tower


def timm(config: Config) -> CLIP:
    """timm's VisionTransformer with ``pre_norm``; its patch convolution is without a bias then."""
    config.only("pre_norm", True)
    config.only("class_token", True)
    config.only("reg_tokens", 0)
    config.only("no_embed_class", False)
    config.only("global_pool", "token")
    config.only("fc_norm", None)
    options = timm_tower(config)
    if options["embed"] is not None:
        options["embed"] = ConvEmbed(
            options["patch_size"], options["dim"], channels=options["channels"], bias=False, remainder="pad"
        )
    return CLIP(head_bias=True, **options)


def hf(config: Config, *, projection: bool) -> CLIP:
    """What starts or labels other classes has no effect; another image is taken where the call says so."""
    config.unaffected_by("initializer_factor", "num_labels", "projection_dim" if not projection else "num_labels")
    if not config.get("interpolate_pos_encoding", False):
        config.same_size("image_size")
    dim, patch, channels = config["hidden_size"], config["patch_size"], config.get("num_channels", 3)
    return CLIP(
        image_size=config["image_size"],
        patch_size=patch,
        num_classes=config.get("projection_dim", 512) if projection else 0,
        channels=channels,
        dim=dim,
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_dim=config["intermediate_size"],
        norm=layer_norm(config.get("layer_norm_eps", 1e-5)),
        activation=config.activation("hidden_act", "quick_gelu"),
        embed=ConvEmbed(patch, dim, channels=channels, bias=False, remainder="drop"),
        resize=resize_table,
    )


def tokens_before_the_norm(model: CLIP, case: Case) -> Tensor:
    """Hugging Face's last hidden state, which is not normed."""
    return corner(model.forward_stages(case.input)[-1][0], case, "tokens")


HF_OUTPUTS = {"tokens": tokens_before_the_norm, "image_embeds": lambda model, case: model(case.input)}

BUILDERS = {
    ("CLIP", "timm"): Builder(timm),
    ("CLIP", "hf", r"CLIPVisionModelWithProjection$"): Builder(
        lambda config: hf(config, projection=True), outputs=HF_OUTPUTS
    ),
    ("CLIP", "hf", r"CLIPVisionModel$"): Builder(lambda config: hf(config, projection=False), outputs=HF_OUTPUTS),
}
