"""Twins: Revisiting the Design of Spatial Attention in Vision Transformers (arXiv:2104.13840): Twins-SVT and Twins-PCPVT.

Twins-PCPVT puts a conditional position, a depthwise convolution behind the first block of each stage, in the place of PVT's learned ones,
and thereby takes images of any size. Twins-SVT separates space as depthwise convolutions separate channels: a block attends in windows,
the next to one summary of each window. All of it is plain matrix products, with no shift and no roll.
"""

from .model import VARIANTS, TwinsPCPVT, TwinsSVT

__all__ = ["VARIANTS", "TwinsPCPVT", "TwinsSVT"]
