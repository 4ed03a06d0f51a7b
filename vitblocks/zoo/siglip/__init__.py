"""SigLIP: Sigmoid Loss for Language Image Pre-Training (arXiv:2303.15343), and SigLIP 2 (arXiv:2502.14786): towers of images."""

from .model import VARIANTS, SigLIP

__all__ = ["VARIANTS", "SigLIP"]
