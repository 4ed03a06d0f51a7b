"""MAE: Masked Autoencoders Are Scalable Vision Learners (arXiv:2111.06377)."""

from .objective import MAE

__all__ = ["MAE"]
