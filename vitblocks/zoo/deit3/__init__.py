"""DeiT III: Revenge of the ViT (arXiv:2204.07118).

The model is a plain ViT with layer scale; what is new is how it is trained. Three mild augmentations (grey, solarised, blurred), a loss
of each class by itself and a simple crop bring supervised training up to what self-supervised pre-training gave. Training at a lower
resolution than the model is used at makes it cheaper.
"""

from .model import VARIANTS, DeiT3

__all__ = ["VARIANTS", "DeiT3"]
