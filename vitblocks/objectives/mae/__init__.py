"""MAE: Masked Autoencoders Are Scalable Vision Learners (arXiv:2111.06377).

Three quarters of the patches are left out, and the encoder sees only the others: training costs a fraction of what it would. A small
decoder, which is thrown away, gets a learned token for each hidden patch and predicts its pixels. Images repeat themselves, so much must
be hidden before the task teaches anything.
"""

from .objective import MAE

__all__ = ["MAE"]
