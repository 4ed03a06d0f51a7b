"""Small models of transformers, by the names of their classes; it comes with the extra ``bench``."""

from __future__ import annotations

from typing import Any

from torch import nn

Options = dict[str, Any]

SEVEN = {"num_labels": 7, "num_channels": 1}
VIT: Options = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
MAE = {
    **VIT,
    "decoder_hidden_size": 24,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 40,
}
PATCHES = {**{name: value for name, value in VIT.items() if name != "image_size"}, "num_patches": 16}
"""Of SigLIP 2, which takes patches of images of every size."""
SWIN: Options = {
    "embed_dim": 12,
    "depths": [2, 2],
    "num_heads": [2, 3],
    "window_size": 4,
    "image_size": 32,
    "patch_size": 4,
}
LEVIT: Options = {
    "image_size": 64,
    "hidden_sizes": [16, 24, 32],
    "num_attention_heads": [2, 3, 4],
    "depths": [1, 2, 1],
    "key_dim": [4, 4, 4],
}
MOBILE: Options = {
    "image_size": 32,
    "hidden_sizes": [8, 12, 16],
    "neck_hidden_sizes": [8, 8, 12, 12, 16, 16, 24],
    "num_attention_heads": 2,
    "expand_ratio": 2.0,
}
CVT: Options = {"embed_dim": [8, 16, 24], "depth": [1, 2, 3], "num_heads": [1, 2, 3], "patch_stride": [8, 2, 2]}
SAM: Options = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "output_channels": 8,
    "window_size": 3,
    "global_attn_indexes": [1],
}
HIERA: Options = {
    "image_size": [32, 32],
    "embed_dim": 8,
    "num_heads": [1, 2, 4],
    "depths": [1, 2, 1],
    "num_query_pool": 2,
    "masked_unit_size": [4, 4],
    "masked_unit_attention": [True, True, False],
}


def towers(options: Options, **more: Any) -> Options:
    """Of a model with a tower of images, in whose config there is one of texts, too."""
    texts = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 50,
    }
    ids = {"bos_token_id": 0, "eos_token_id": 1}
    return {"vision_config": options, "text_config": {**texts, **ids}, **more}


def made(name: str, **options: Any) -> nn.Module:
    """A model of a class by its name, ``ViTModel``, with its config."""
    import transformers

    cls = getattr(transformers, name)
    more = {key: options.pop(key) for key in ("add_pooling_layer", "expand_output") if key in options}
    module: nn.Module = cls(cls.config_class(**options), **more)
    return module
