"""CvT: Introducing Convolutions to Vision Transformers (arXiv:2103.15808).

Tokens are embedded by overlapping convolutions at the start of each of three stages. Queries, keys and values come from depthwise
convolutions, those of keys and values with stride 2, so attention is cheaper and knows the neighbourhood. Therefore nothing has
positions, and the class token joins only in the last stage.
"""

from .model import VARIANTS, CvT

__all__ = ["VARIANTS", "CvT"]
