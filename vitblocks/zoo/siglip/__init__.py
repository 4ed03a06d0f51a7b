"""SigLIP: Sigmoid Loss for Language Image Pre-Training (arXiv:2303.15343), and SigLIP 2 (arXiv:2502.14786): towers of images.

As CLIP, but each pair of an image and a text is judged by itself, matching or not, by a sigmoid. So the loss needs no norm over the whole
batch, and small batches do well, too. There is no class token: a learned query attends to the patches and gives the feature. SigLIP 2
adds captions, self-distillation and masked prediction to the training, the model stays.
"""

from .model import VARIANTS, SigLIP

__all__ = ["VARIANTS", "SigLIP"]
