"""The image encoder of Segment Anything (arXiv:2304.02643), a ViTDet backbone (arXiv:2203.16527).

A plain ViT, pre-trained as a masked autoencoder, reads images of 1024 pixels once; all prompts are answered from that one map. Most
blocks attend in windows, four evenly spaced ones globally, so the weights of a plain ViT fit. Relative positions are a table for rows and
one for columns, each multiplied by the query.
"""

from .model import VARIANTS, SAMViT, neck

__all__ = ["VARIANTS", "SAMViT", "neck"]
